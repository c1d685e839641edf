// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "lib/wire.h"
#include "runtime/client.h"
#include "runtime/json.h"
#include "runtime/sandbox.h"
#include "runtime/usage.h"

static const char *format = "table";
static bool long_form;

static const struct option options[] = {
	{"format", 'f', OPTION_STRING, "FORMAT", "table or json", &format},
	{"long", 'l', OPTION_FLAG, NULL,
	 "with CPU time, memory and name, and the processes on the host that stand for them",
	 &long_form},
	{.name = NULL},
};

struct process {
	long pid;
	uint64_t cpu_ms, rss_kb;
	char name[64];
};

/* A line of the guest's: only numbers and a printable name are passed on. */
static void parse(const char *line, struct process *ret)
{
	*ret = (struct process){.name = ""};
	sscanf(line, "%ld %" SCNu64 " %" SCNu64 " %63[ -~]", &ret->pid, &ret->cpu_ms, &ret->rss_kb,
	       ret->name);
}

static void print_row(const char *where, const struct process *p)
{
	printf("%-6s %8ld %7" PRIu64 ".%02" PRIu64 " %9" PRIu64 " %s\n", where, p->pid,
	       p->cpu_ms / 1000, p->cpu_ms / 10 % 100, p->rss_kb, p->name);
}

static void print_json(char *text)
{
	_cleanup_json_ struct json_object *list = json_object_new_array();
	char *rest = NULL;

	for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		json_object_array_add(list, json_object_new_int64(strtol(line, NULL, 10)));
	puts(json_object_to_json_string_ext(list, JSON_C_TO_STRING_PLAIN));
}

static void print_table(char *text)
{
	char *rest = NULL;
	struct process p;

	if (long_form)
		printf("%-6s %8s %10s %9s %s\n", "WHERE", "PID", "CPU-S", "RSS-KB", "NAME");
	else
		puts("PID");
	for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		parse(line, &p);
		if (long_form)
			print_row("guest", &p);
		else
			printf("%ld\n", p.pid);
	}
}

static void print_host(const char *root, const struct state *s)
{
	struct usage u[USAGE_MAX];
	unsigned int n = usage_of(root, s, u);

	for (unsigned int i = 0; i < n; i++) {
		struct process p = {u[i].pid, u[i].cpu_ms, u[i].rss_kb, ""};

		snprintf(p.name, sizeof(p.name), "%s", u[i].name);
		print_row("host", &p);
	}
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
	if (rc == 0 && strcmp(format, "json") == 0)
		print_json(text);
	else if (rc == 0)
		print_table(text);
	if (rc == 0 && long_form && strcmp(format, "table") == 0)
		print_host(g->root, &c.state);
	container_done(&c);
	return rc < 0 ? error_wrap(err, "%s", argv[0]) : 0;
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
