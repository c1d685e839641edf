// SPDX-License-Identifier: Apache-2.0
#include <errno.h>

#include "cli/command.h"
#include "lib/cleanup.h"
#include "lib/log.h"
#include "runtime/hooks.h"
#include "runtime/sandbox.h"

static bool force;

static const struct option options[] = {
	{"force", 'f', OPTION_FLAG, NULL,
	 "kill the container if it runs; no error if it is not there", &force},
	{.name = NULL},
};

/* Nobody else can ask afterwards. */
static void say_why(const char *id, int dir_fd)
{
	struct error why = {0};

	if (sandbox_failure(dir_fd, &why))
		log_line("warning", "delete: %s: its machine had ended: %s", id, why.text);
}

/* Removes it under its lock; the hooks come after, and cannot fail the deletion (config.md). */
static int delete_locked(const struct globals *g, const char *id, int dir_fd, struct error *err)
{
	struct container c = {.dir_fd = dir_fd, .lock_fd = -1};
	struct error hook = {0};
	struct config config = {0};
	bool known;
	int rc;

	known = state_read(dir_fd, &c.state, err) == 0;
	if (!known && !force)
		return -err->code;
	if (known && !force && state_status(&c.state) != STATUS_STOPPED &&
	    state_status(&c.state) != STATUS_CREATED) {
		rc = error_set(err, EBUSY, "it is %s: stop it first, or use --force",
			       state_status_name(state_status(&c.state)));
		state_done(&c.state);
		return rc;
	}
	known = known && sandbox_config(&c, &config, &hook) == 0;
	say_why(id, dir_fd);
	rc = sandbox_destroy(g->root, id, dir_fd, err);
	if (rc == 0 && known)
		hooks_run_all(&config, HOOK_POSTSTOP, &c.state);
	config_done(&config);
	state_done(&c.state);
	return rc;
}

static int run(const struct globals *g, unsigned int argc, char **argv, struct error *err)
{
	int dir_fd, lock_fd, rc;

	(void)argc;
	dir_fd = state_dir_open(g->root, argv[0], err);
	if (dir_fd == -ENOENT && force)
		return 0;
	if (dir_fd < 0)
		return dir_fd;
	lock_fd = state_lock(dir_fd, force ? 1000 : 10000, force, err);
	if (lock_fd == -ENOENT && force)
		rc = 0; /* somebody else was quicker */
	else
		rc = lock_fd < 0 ? lock_fd : delete_locked(g, argv[0], dir_fd, err);
	cleanup_close(&lock_fd);
	cleanup_close(&dir_fd);
	return rc < 0 ? error_wrap(err, "%s", argv[0]) : 0;
}

const struct command cmd_delete = {
	.name = "delete",
	.args = "ID",
	.summary = "remove a container and all that belongs to it",
	.options = options,
	.args_min = 1,
	.args_max = 1,
	.run = run,
};
