// SPDX-License-Identifier: Apache-2.0
#include "cli/create.h"

#include <stddef.h>

struct create_options create_options;

static const struct option options[] = {
	CREATE_OPTIONS,
	{.name = NULL},
};

static int run(const struct globals *g, unsigned int argc, char **argv, struct error *err)
{
	struct sandbox_options o;
	pid_t proxy;

	(void)argc;
	create_sandbox_options(&o, g, argv[0]);
	if (state_check_id(argv[0], err) < 0)
		return -err->code;
	if (command_check_preserve_fds(o.preserve_fds, err) < 0 ||
	    sandbox_create(&o, &proxy, err) < 0)
		return error_wrap(err, "%s", argv[0]);
	return 0;
}

void create_sandbox_options(struct sandbox_options *o, const struct globals *g, const char *id)
{
	*o = (struct sandbox_options){
		.root = g->root,
		.id = id,
		.bundle = create_options.bundle,
		.config = create_options.config,
		.settings = g->settings,
		.pid_file = create_options.pid_file,
		.console_socket = create_options.console_socket,
		.systemd_cgroup = g->systemd_cgroup,
		.no_cgroup = g->cgroup_manager && strcmp(g->cgroup_manager, "disabled") == 0,
		.preserve_fds = create_options.preserve_fds,
	};
}

const struct command cmd_create = {
	.name = "create",
	.args = "ID",
	.summary = "make a container from a bundle, up to the start of its process",
	.details = "The container runs behind a guest kernel of its own. The process that the "
		   "pid file names lives as long as the container's first process and ends with "
		   "its exit status.",
	.options = options,
	.args_min = 1,
	.args_max = 1,
	.run = run,
};
