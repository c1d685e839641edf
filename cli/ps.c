// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "lib/wire.h"
#include "runtime/client.h"
#include "runtime/json.h"
#include "runtime/sandbox.h"

static const char *format = "table";

static const struct option options[] = {
	{"format", 'f', OPTION_STRING, "FORMAT", "table or json", &format},
	{.name = NULL},
};

/* The pids came from the guest: only numbers are passed on. */
static void print_pids(char *text)
{
	_cleanup_json_ struct json_object *list = json_object_new_array();
	bool json = strcmp(format, "json") == 0;
	char *rest = NULL;

	if (!json)
		puts("PID");
	for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		long pid = strtol(line, NULL, 10);

		if (json)
			json_object_array_add(list, json_object_new_int64(pid));
		else
			printf("%ld\n", pid);
	}
	if (json)
		puts(json_object_to_json_string_ext(list, JSON_C_TO_STRING_PLAIN));
}

static int run(const struct globals *g, unsigned int argc, char **argv, struct error *err)
{
	struct wire_target request;
	_cleanup_free_ char *text = NULL;
	struct container c;
	struct msg m;
	int rc;

	(void)argc;
	if (strcmp(format, "table") != 0 && strcmp(format, "json") != 0)
		return error_set(err, EINVAL, "--format '%s' is neither table nor json", format);
	if (container_open(&c, g->root, argv[0], false, err) < 0)
		return -err->code;
	request.container = c.state.id;
	msg_init_encode(&m);
	wire_target_codec(&m, &request);
	if (state_status(&c.state) == STATUS_STOPPED)
		rc = error_set(err, ESRCH, "the container is stopped");
	else
		rc = client_call(c.dir_fd, WIRE_PS, &m, &text, err);
	msg_done(&m);
	container_done(&c);
	if (rc < 0)
		return error_wrap(err, "%s", argv[0]);
	print_pids(text);
	return 0;
}

const struct command cmd_ps = {
	.name = "ps",
	.args = "ID [ARG...]",
	.summary = "list the processes of a container",
	.details = "The pids are those in the container: the host has no process for them.",
	.options = options,
	.args_min = 1,
	.args_max = 64,
	.run = run,
};
