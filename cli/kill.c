// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cli/command.h"
#include "lib/wire.h"
#include "runtime/client.h"
#include "runtime/sandbox.h"

/* How long a container may take to end once its guest has taken the SIGKILL. */
#define KILL_WAIT_MS 10000

static bool all;

static const struct option options[] = {
	{"all", 'a', OPTION_FLAG, NULL, "signal every process of the container", &all},
	{.name = NULL},
};

/* "9", "KILL", "SIGKILL", "RTMIN+3"; -1 if it is no signal. */
static int parse_signal(const char *text)
{
	const char *name = strncasecmp(text, "SIG", 3) == 0 ? text + 3 : text;
	char *end;
	long n = strtol(text, &end, 10);

	if (*text >= '0' && *text <= '9')
		return *end || n < 0 || n > 64 ? -1 : (int)n;
	if (strncasecmp(name, "RTMIN", 5) == 0 || strncasecmp(name, "RTMAX", 5) == 0) {
		n = strtol(name + 5, &end, 10) + (strncasecmp(name, "RTMIN", 5) ? 64 : 34);
		return *end || n < 34 || n > 64 ? -1 : (int)n;
	}
	for (int s = 1; s < 32; s++)
		if (sigabbrev_np(s) && strcasecmp(sigabbrev_np(s), name) == 0)
			return s;
	return -1;
}

/* In the words that containerd's shim and runc's users look for. */
static int not_running(const char *id, const char *status, struct error *err)
{
	return error_set(err, ESRCH, "container not running: '%s' is %s", id, status);
}

static int send_signal(struct container *c, struct wire_signal *request, struct error *err)
{
	struct msg m;
	int rc;

	msg_init_encode(&m);
	wire_signal_codec(&m, request);
	rc = client_call(c->dir_fd, WIRE_SIGNAL, &m, NULL, err);
	msg_done(&m);
	return rc;
}

/* SIGKILL does not depend on the guest's word: one that will not or cannot end its container is
 * ended from outside. */
static int make_sure(const struct container *c, int rc)
{
	if (rc == 0 && state_process_wait_gone(&c->state.init, KILL_WAIT_MS) == 0)
		return 0;
	state_process_signal(&c->state.monitor, SIGKILL);
	state_process_signal(&c->state.init, SIGKILL);
	return 0;
}

static int run(const struct globals *g, unsigned int argc, char **argv, struct error *err)
{
	struct wire_signal request = {.signal = parse_signal(argc > 1 ? argv[1] : "TERM"),
				      .all = all};
	enum state_status status;
	struct container c;
	int rc;

	if (request.signal < 0)
		return error_set(err, EINVAL, "'%s' is not a signal", argv[1]);
	if (container_open(&c, g->root, argv[0], false, err) < 0)
		return -err->code;
	status = state_status(&c.state);
	if (status == STATUS_STOPPED || status == STATUS_CREATING) {
		container_done(&c);
		return not_running(argv[0], state_status_name(status), err);
	}
	request.container = c.state.id;
	rc = send_signal(&c, &request, err);
	if (request.signal == SIGKILL)
		rc = make_sure(&c, rc);
	if (rc == -ECONNREFUSED || rc == -ENOENT || rc == -EPIPE || rc == -ESRCH)
		not_running(argv[0], "stopping", err);
	container_done(&c);
	return rc < 0 ? error_wrap(err, "%s", argv[0]) : 0;
}

const struct command cmd_kill = {
	.name = "kill",
	.args = "ID [SIGNAL]",
	.summary = "send a signal (TERM) to a container's first process",
	.options = options,
	.args_min = 1,
	.args_max = 2,
	.run = run,
};
