// SPDX-License-Identifier: Apache-2.0
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "runtime/json.h"
#include "runtime/ocistate.h"
#include "runtime/sandbox.h"

static const char *format = "table";
static bool quiet;

static const struct option options[] = {
	{"format", 'f', OPTION_STRING, "FORMAT", "table or json", &format},
	{"quiet", 'q', OPTION_FLAG, NULL, "only the IDs", &quiet},
	{.name = NULL},
};

static void show(const struct state *s, struct json_object *list)
{
	if (quiet)
		puts(s->id);
	else if (list)
		json_object_array_add(list, ocistate_json(s));
	else
		printf("%-24s %-8d %-8s %-6s %-36s %s\n", s->id,
		       state_status(s) == STATUS_STOPPED ? 0 : s->init.pid,
		       state_status_name(state_status(s)), s->engine, s->bundle, s->created);
}

static int run(const struct globals *g, unsigned int argc, char **argv, struct error *err)
{
	_cleanup_closedir_ DIR *d = opendir(g->root);
	_cleanup_json_ struct json_object *list = NULL;
	struct dirent *e;

	(void)argc;
	(void)argv;
	if (strcmp(format, "table") != 0 && strcmp(format, "json") != 0)
		return error_set(err, EINVAL, "--format '%s' is neither table nor json", format);
	if (!d && errno != ENOENT)
		return error_errno(err, "--root '%s'", g->root);
	if (strcmp(format, "json") == 0)
		list = json_object_new_array();
	else if (!quiet)
		printf("%-24s %-8s %-8s %-6s %-36s %s\n", "ID", "PID", "STATUS", "ENGINE", "BUNDLE",
		       "CREATED");
	while (d && (e = readdir(d))) {
		struct container c;

		/* One that is being made or removed right now is not worth an error. */
		if (e->d_name[0] == '.' || container_open(&c, g->root, e->d_name, false, err) < 0)
			continue;
		show(&c.state, list);
		container_done(&c);
	}
	if (list && !quiet)
		puts(json_object_to_json_string_ext(list, JSON_C_TO_STRING_PLAIN |
								  JSON_C_TO_STRING_NOSLASHESCAPE));
	return 0;
}

const struct command cmd_list = {
	.name = "list",
	.args = "",
	.summary = "list containers",
	.options = options,
	.run = run,
};
