// SPDX-License-Identifier: Apache-2.0
#include <errno.h>

#include "cli/command.h"
#include "lib/wire.h"
#include "runtime/client.h"
#include "runtime/sandbox.h"
#include "runtime/settings.h"

static struct {
	const char *memory, *pids, *quota, *period;
} opt;

static const struct option options[] = {
	{"memory", 0, OPTION_STRING, "BYTES", "memory limit inside the guest", &opt.memory},
	{"pids-limit", 0, OPTION_STRING, "N", "number of processes", &opt.pids},
	{"cpu-quota", 0, OPTION_STRING, "USEC", "CPU time in each period", &opt.quota},
	{"cpu-period", 0, OPTION_STRING, "USEC", "length of the period", &opt.period},
	{.name = NULL},
};

static int number(const char *name, const char *text, int64_t *ret, struct error *err)
{
	uint64_t n;

	if (!text)
		return 0;
	if (settings_parse_size(text, &n) < 0 || n > INT64_MAX)
		return error_set(err, EINVAL, "--%s '%s' is not a number", name, text);
	*ret = (int64_t)n;
	return 0;
}

static int run(const struct globals *g, unsigned int argc, char **argv, struct error *err)
{
	struct spec_resources r = {.memory_max = -1,
				   .memory_low = -1,
				   .memory_swap_max = -1,
				   .pids_max = -1,
				   .cpu_quota_us = -1,
				   .cpu_period_us = -1};
	struct wire_update head;
	struct container c;
	struct msg m;
	int rc;

	(void)argc;
	if (number("memory", opt.memory, &r.memory_max, err) < 0 ||
	    number("pids-limit", opt.pids, &r.pids_max, err) < 0 ||
	    number("cpu-quota", opt.quota, &r.cpu_quota_us, err) < 0 ||
	    number("cpu-period", opt.period, &r.cpu_period_us, err) < 0)
		return -err->code;
	if (container_open(&c, g->root, argv[0], false, err) < 0)
		return -err->code;
	head.container = c.state.id;
	msg_init_encode(&m);
	wire_update_codec(&m, &head);
	spec_resources_codec(&m, &r);
	rc = client_call(c.dir_fd, WIRE_UPDATE, &m, NULL, err);
	msg_done(&m);
	container_done(&c);
	return rc < 0 ? error_wrap(err, "%s", argv[0]) : 0;
}

const struct command cmd_update = {
	.name = "update",
	.args = "ID",
	.summary = "change the limits of a container",
	.options = options,
	.args_min = 1,
	.args_max = 1,
	.run = run,
};
