// SPDX-License-Identifier: Apache-2.0
#include "cli/command.h"
#include "runtime/sandbox.h"

static const struct option options[] = {{.name = NULL}};

static int run(const struct globals *g, unsigned int argc, char **argv, struct error *err)
{
	struct container c;
	int rc;

	(void)argc;
	if (container_open(&c, g->root, argv[0], true, err) < 0)
		return -err->code;
	rc = sandbox_start(&c, err);
	container_done(&c);
	return rc < 0 ? error_wrap(err, "%s", argv[0]) : 0;
}

const struct command cmd_start = {
	.name = "start",
	.args = "ID",
	.summary = "start the process of a created container",
	.options = options,
	.args_min = 1,
	.args_max = 1,
	.run = run,
};
