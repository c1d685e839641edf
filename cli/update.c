// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/wire.h"
#include "runtime/cgroup.h"
#include "runtime/client.h"
#include "runtime/sandbox.h"
#include "runtime/scope.h"
#include "runtime/settings.h"

static struct {
	const char *resources;
	const char *memory, *reservation, *swap, *pids, *quota, *period, *shares;
	const char *cpus, *mems;
} opt;

static const struct option options[] = {
	{"resources", 'r', OPTION_STRING, "FILE",
	 "limits as linux.resources of a configuration has them (-: standard input)",
	 &opt.resources},
	{"memory", 0, OPTION_STRING, "BYTES", "memory limit inside the guest", &opt.memory},
	{"memory-reservation", 0, OPTION_STRING, "BYTES", "memory kept for it inside the guest",
	 &opt.reservation},
	{"memory-swap", 0, OPTION_STRING, "BYTES", "limit of memory and swap together", &opt.swap},
	{"pids-limit", 0, OPTION_STRING, "N", "number of processes", &opt.pids},
	{"cpu-quota", 0, OPTION_STRING, "USEC", "CPU time in each period", &opt.quota},
	{"cpu-period", 0, OPTION_STRING, "USEC", "length of the period", &opt.period},
	{"cpu-share", 0, OPTION_STRING, "N", "weight among others, 2 to 262144", &opt.shares},
	{"cpuset-cpus", 0, OPTION_STRING, "LIST", "CPUs of the host to run on", &opt.cpus},
	{"cpuset-mems", 0, OPTION_STRING, "LIST", "memory nodes of the host", &opt.mems},
	{"blkio-weight", 0, OPTION_IGNORED, "N", "taken and ignored", NULL},
	{"cpu-rt-period", 0, OPTION_IGNORED, "USEC", "taken and ignored", NULL},
	{"cpu-rt-runtime", 0, OPTION_IGNORED, "USEC", "taken and ignored", NULL},
	{"kernel-memory", 0, OPTION_IGNORED, "BYTES", "taken and ignored", NULL},
	{"kernel-memory-tcp", 0, OPTION_IGNORED, "BYTES", "taken and ignored", NULL},
	{.name = NULL},
};

/* A size; or -1: no limit. */
static int number(const char *name, const char *text, int64_t *ret, struct error *err)
{
	uint64_t n;

	if (!text)
		return 0;
	if (strcmp(text, "-1") == 0) {
		*ret = -1;
		return 0;
	}
	if (settings_parse_size(text, &n) < 0 || n > INT64_MAX)
		return error_set(err, EINVAL, "--%s '%s' is not a number", name, text);
	*ret = (int64_t)n;
	return 0;
}

/* Options on top of what the file says, in the form of a file, so that both are checked alike. */
static int write_document(char **ret, struct error *err)
{
	int64_t memory = 0, low = 0, swap = 0, pids = 0, quota = 0, period = 0, shares = 0;
	const char *cpus = opt.cpus ?: "", *mems = opt.mems ?: "";

	if (number("memory", opt.memory, &memory, err) < 0 ||
	    number("memory-reservation", opt.reservation, &low, err) < 0 ||
	    number("memory-swap", opt.swap, &swap, err) < 0 ||
	    number("pids-limit", opt.pids, &pids, err) < 0 ||
	    number("cpu-quota", opt.quota, &quota, err) < 0 ||
	    number("cpu-period", opt.period, &period, err) < 0 ||
	    number("cpu-share", opt.shares, &shares, err) < 0)
		return -err->code;
	if (cpus[strspn(cpus, "0123456789,-")] || mems[strspn(mems, "0123456789,-")])
		return error_set(err, EINVAL, "'%s' is not a list of numbers and ranges",
				 cpus[strspn(cpus, "0123456789,-")] ? cpus : mems);
	if (asprintf(ret,
		     "{\"memory\":{\"limit\":%lld,\"reservation\":%lld,\"swap\":%lld},"
		     "\"pids\":{\"limit\":%lld},\"cpu\":{\"quota\":%lld,\"period\":%lld,"
		     "\"shares\":%lld,\"cpus\":\"%s\",\"mems\":\"%s\"}}",
		     (long long)memory, (long long)low, (long long)swap, (long long)pids,
		     (long long)quota, (long long)period, (long long)shares, cpus, mems) < 0)
		return error_set(err, ENOMEM, "out of memory");
	return 0;
}

static int read_resources(struct config *ret, struct error *err)
{
	_cleanup_free_ char *json = NULL;

	if (opt.resources)
		return config_resources_load(
			ret, strcmp(opt.resources, "-") == 0 ? "/dev/stdin" : opt.resources, err);
	if (write_document(&json, err) < 0)
		return -err->code;
	return config_resources_parse(ret, "the options", json, strlen(json), err);
}

/*
 * What the guest may have no more is given back by its balloon; what it may have again, it takes.
 * The limit is in force already, so what comes of this is no error; and several containers share
 * one machine (EBUSY).  That an engine has no way to give anything back is said: who counts on it
 * would wait for nothing.
 */
static void resize(struct container *c, int64_t limit)
{
	struct wire_machine_memory request = {.bytes = UINT64_MAX}; /* all there is */
	struct error why;
	struct msg m;

	if (c->state.sandbox || limit == SPEC_LIMIT_UNSET)
		return;
	if (limit > 0)
		request.bytes = (uint64_t)limit + SETTINGS_GUEST_OVERHEAD;
	msg_init_encode(&m);
	wire_machine_memory_codec(&m, &request);
	if (client_call(c->dir_fd, WIRE_MACHINE_MEMORY, &m, NULL, &why) == -EOPNOTSUPP)
		log_line("warning", "%s: the limit holds, but the host gets no memory back: %s",
			 c->state.id, why.text);
	msg_done(&m);
}

static int update(struct container *c, const struct config *new, struct error *err)
{
	struct wire_update head = {.container = c->state.id};
	struct spec_resources r = new->container.resources;
	struct msg m;
	int rc;

	if (state_status(&c->state) == STATUS_STOPPED)
		return error_set(err, ESRCH, "the container is stopped");
	msg_init_encode(&m);
	wire_update_codec(&m, &head);
	spec_resources_codec(&m, &r);
	rc = client_call(c->dir_fd, WIRE_UPDATE, &m, NULL, err);
	msg_done(&m);
	if (rc == 0 && c->state.scope)
		rc = scope_update(c->state.scope, &new->host, err);
	else if (rc == 0 && c->state.cgroup)
		rc = cgroup_update(c->state.cgroup, &new->host, err);
	if (rc == 0)
		resize(c, r.memory_max);
	return rc;
}

static int run(const struct globals *g, unsigned int argc, char **argv, struct error *err)
{
	struct container c;
	struct config new;
	int rc;

	(void)argc;
	if (read_resources(&new, err) < 0)
		return -err->code;
	rc = container_open(&c, g->root, argv[0], true, err);
	if (rc == 0) {
		rc = update(&c, &new, err);
		if (rc < 0)
			error_wrap(err, "%s", argv[0]);
		container_done(&c);
	}
	config_done(&new);
	return rc;
}

const struct command cmd_update = {
	.name = "update",
	.args = "ID",
	.summary = "change the limits of a container",
	.details =
		"Limits on memory, processes and CPU time are set in the guest; the host's cgroup "
		"of the sandbox gets CPU time, weight and placement. -1 takes a limit away. Memory "
		"that the guest of a container that has its machine to itself needs no more under "
		"a new limit, it is asked to give back to the host (engine kvm). With --resources "
		"the other options are not looked at.",
	.options = options,
	.args_min = 1,
	.args_max = 1,
	.run = run,
};
