// SPDX-License-Identifier: Apache-2.0
/*
 * pause and resume.  A container that has its machine to itself is held by stopping the machine,
 * which no guest can refuse; one of several in a machine by the guest's own cgroup freezer.
 */
#include <errno.h>

#include "cli/command.h"
#include "lib/wire.h"
#include "runtime/client.h"
#include "runtime/sandbox.h"

static const struct option options[] = {{.name = NULL}};

static int freeze_in_guest(struct container *c, bool frozen, struct error *err)
{
	struct wire_freeze request = {.container = c->state.id, .frozen = frozen};
	struct msg m;
	int rc;

	msg_init_encode(&m);
	wire_freeze_codec(&m, &request);
	rc = client_call(c->dir_fd, WIRE_FREEZE, &m, NULL, err);
	msg_done(&m);
	return rc;
}

/* The monitor knows how many containers there are, and whether its machine is paused. */
static int hold(struct container *c, bool frozen, struct error *err)
{
	int rc = -EBUSY;

	if (!c->state.sandbox)
		rc = client_call(c->dir_fd, frozen ? WIRE_MACHINE_PAUSE : WIRE_MACHINE_RESUME, NULL,
				 NULL, err);
	if (rc == -EBUSY || rc == -EOPNOTSUPP || rc == -EALREADY)
		rc = freeze_in_guest(c, frozen, err);
	return rc;
}

static int set_paused(struct container *c, bool paused, struct error *err)
{
	c->state.paused = paused;
	return state_write(c->dir_fd, &c->state, err);
}

/* The record says paused for as long as it may be: a `resume` is then accepted, and harms nobody.
 */
static int freeze_locked(struct container *c, bool frozen, struct error *err)
{
	enum state_status wanted = frozen ? STATUS_RUNNING : STATUS_PAUSED;
	struct error ignored;
	int rc;

	if (state_status(&c->state) != wanted)
		return error_set(err, EINVAL, "the container is %s, not %s",
				 state_status_name(state_status(&c->state)),
				 state_status_name(wanted));
	if (frozen && set_paused(c, true, err) < 0)
		return -err->code;
	rc = hold(c, frozen, err);
	if (rc < 0 && frozen)
		set_paused(c, false, &ignored);
	return rc < 0 || frozen ? rc : set_paused(c, false, err);
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
	.details =
		"A container that has its machine to itself is held by stopping the machine: its "
		"CPUs leave the guest, whatever that does. Of a machine paused so nothing can be "
		"asked (ps, exec, events, update) until it is resumed, and the only signal it "
		"takes is KILL. One container of several in a pod is held by the guest's kernel, "
		"while the others go on.",
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
