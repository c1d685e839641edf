// SPDX-License-Identifier: Apache-2.0
/* pause and resume: the guest's own cgroup freezer, so that one container of several can be held.
 */
#include <errno.h>

#include "cli/command.h"
#include "lib/wire.h"
#include "runtime/client.h"
#include "runtime/sandbox.h"

static const struct option options[] = {{.name = NULL}};

static int freeze_locked(struct container *c, bool frozen, struct error *err)
{
	enum state_status wanted = frozen ? STATUS_RUNNING : STATUS_PAUSED;
	struct wire_freeze request = {.container = c->state.id, .frozen = frozen};
	struct msg m;
	int rc;

	if (state_status(&c->state) != wanted)
		return error_set(err, EINVAL, "the container is %s, not %s",
				 state_status_name(state_status(&c->state)),
				 state_status_name(wanted));
	msg_init_encode(&m);
	wire_freeze_codec(&m, &request);
	rc = client_call(c->dir_fd, WIRE_FREEZE, &m, NULL, err);
	msg_done(&m);
	if (rc < 0)
		return rc;
	c->state.paused = frozen;
	return state_write(c->dir_fd, &c->state, err);
}

static int freeze(const struct globals *g, const char *id, bool frozen, struct error *err)
{
	struct container c;
	int rc;

	if (container_open(&c, g->root, id, true, err) < 0)
		return -err->code;
	rc = freeze_locked(&c, frozen, err);
	container_done(&c);
	return rc < 0 ? error_wrap(err, "%s", id) : 0;
}

static int run_pause(const struct globals *g, unsigned int argc, char **argv, struct error *err)
{
	(void)argc;
	return freeze(g, argv[0], true, err);
}

static int run_resume(const struct globals *g, unsigned int argc, char **argv, struct error *err)
{
	(void)argc;
	return freeze(g, argv[0], false, err);
}

const struct command cmd_pause = {
	.name = "pause",
	.args = "ID",
	.summary = "hold all processes of a container",
	.options = options,
	.args_min = 1,
	.args_max = 1,
	.run = run_pause,
};

const struct command cmd_resume = {
	.name = "resume",
	.args = "ID",
	.summary = "let the processes of a paused container go on",
	.options = options,
	.args_min = 1,
	.args_max = 1,
	.run = run_resume,
};
