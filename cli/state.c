// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>

#include "cli/command.h"
#include "runtime/json.h"
#include "runtime/ocistate.h"
#include "runtime/sandbox.h"

static const struct option options[] = {{.name = NULL}};

static int run(const struct globals *g, unsigned int argc, char **argv, struct error *err)
{
	_cleanup_json_ struct json_object *j = NULL;
	struct container c;

	(void)argc;
	if (container_open(&c, g->root, argv[0], false, err) < 0)
		return -err->code;
	j = ocistate_json(&c.state);
	puts(json_object_to_json_string_ext(j, JSON_C_TO_STRING_PRETTY |
						       JSON_C_TO_STRING_NOSLASHESCAPE));
	container_done(&c);
	return 0;
}

const struct command cmd_state = {
	.name = "state",
	.args = "ID",
	.summary = "show the state of a container as JSON",
	.options = options,
	.args_min = 1,
	.args_max = 1,
	.run = run,
};
