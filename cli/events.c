// SPDX-License-Identifier: Apache-2.0
/*
 * events: figures of a container, and that its guest ran out of memory, one JSON
 * object per line in the form of runc's `events`.  What runc has no name for, the
 * cost of the sandbox to the host, is in "data"."host".
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/command.h"
#include "lib/wire.h"
#include "runtime/client.h"
#include "runtime/json.h"
#include "runtime/sandbox.h"
#include "runtime/settings.h"
#include "runtime/usage.h"

static struct {
	bool stats;
	const char *interval;
} opt = {.interval = "5s"};

static const struct option options[] = {
	{"stats", 0, OPTION_FLAG, NULL, "print the figures once and end", &opt.stats},
	{"interval", 0, OPTION_STRING, "TIME", "time between figures: 5s, 500ms (5s)",
	 &opt.interval},
	{.name = NULL},
};

/* The guest's word: a line "NAME VALUE" of its text.  "max" is what has no limit. */
static uint64_t value(const char *text, const char *name)
{
	size_t n = strlen(name);

	for (const char *p = text; p && *p; p = strchr(p, '\n'), p = p ? p + 1 : NULL)
		if (strncmp(p, name, n) == 0 && p[n] == ' ')
			return strncmp(p + n + 1, "max", 3) == 0 ? UINT64_MAX
								 : strtoull(p + n + 1, NULL, 10);
	return 0;
}

static void put(struct json_object *o, const char *key, uint64_t n)
{
	json_object_object_add(o, key, json_object_new_uint64(n));
}

static struct json_object *sub(struct json_object *o, const char *key)
{
	struct json_object *new = json_object_new_object();

	json_object_object_add(o, key, new);
	return new;
}

static void put_cpu(struct json_object *data, const char *text)
{
	struct json_object *cpu = sub(data, "cpu"), *usage = sub(cpu, "usage"),
			   *throttling = sub(cpu, "throttling");

	put(usage, "total", value(text, "cpu.stat.usage_usec") * 1000);
	put(usage, "kernel", value(text, "cpu.stat.system_usec") * 1000);
	put(usage, "user", value(text, "cpu.stat.user_usec") * 1000);
	put(throttling, "periods", value(text, "cpu.stat.nr_periods"));
	put(throttling, "throttledPeriods", value(text, "cpu.stat.nr_throttled"));
	put(throttling, "throttledTime", value(text, "cpu.stat.throttled_usec") * 1000);
}

/* All of memory.stat, by the kernel's own names. */
static void put_raw(struct json_object *memory, const char *text)
{
	static const char prefix[] = "memory.stat.";
	struct json_object *raw = sub(memory, "raw");
	char name[64];
	uint64_t n;

	for (const char *p = text; p && *p; p = strchr(p, '\n'), p = p ? p + 1 : NULL)
		if (strncmp(p, prefix, strlen(prefix)) == 0 &&
		    sscanf(p + strlen(prefix), "%63[a-z0-9_] %" SCNu64, name, &n) == 2)
			put(raw, name, n);
}

static void put_memory(struct json_object *data, const char *text)
{
	struct json_object *memory = sub(data, "memory"), *usage = sub(memory, "usage"),
			   *swap = sub(memory, "swap");

	put(memory, "cache", value(text, "memory.stat.file"));
	put(usage, "limit", value(text, "memory.max"));
	put(usage, "usage", value(text, "memory.current"));
	put(usage, "max", value(text, "memory.peak"));
	put(usage, "failcnt", value(text, "memory.events.max"));
	put(swap, "limit", value(text, "memory.swap.max"));
	put(swap, "usage", value(text, "memory.swap.current"));
	put_raw(memory, text);
}

static void put_host(struct json_object *data, const char *root, const struct state *s)
{
	struct json_object *list = json_object_new_array();
	struct usage u[USAGE_MAX];
	unsigned int n = usage_of(root, s, u);

	json_object_object_add(data, "host", list);
	for (unsigned int i = 0; i < n; i++) {
		struct json_object *o = json_object_new_object();

		json_object_object_add(o, "name", json_object_new_string(u[i].name));
		put(o, "pid", (uint64_t)u[i].pid);
		put(o, "cpu", u[i].cpu_ms * 1000000);
		put(o, "rss", u[i].rss_kb * 1024);
		put(o, "private", u[i].private_kb * 1024);
		json_object_array_add(list, o);
	}
}

static void print_event(const struct container *c, const char *type, struct json_object *data)
{
	_cleanup_json_ struct json_object *event = json_object_new_object();

	json_object_object_add(event, "type", json_object_new_string(type));
	json_object_object_add(event, "id", json_object_new_string(c->state.id));
	json_object_object_add(event, "data", data);
	puts(json_object_to_json_string_ext(event, JSON_C_TO_STRING_PLAIN |
							   JSON_C_TO_STRING_NOSLASHESCAPE));
	fflush(stdout);
}

/* Prints the figures; *ooms is how often the guest has killed for memory, as last seen. */
static int print_stats(const char *root, const struct container *c, uint64_t *ooms,
		       struct error *err)
{
	struct wire_target request = {.container = c->state.id};
	struct json_object *data;
	_cleanup_free_ char *text = NULL;
	struct msg m;
	uint64_t now;
	int rc;

	msg_init_encode(&m);
	wire_target_codec(&m, &request);
	rc = client_call(c->dir_fd, WIRE_STATS, &m, &text, err);
	msg_done(&m);
	if (rc < 0)
		return rc;
	now = value(text, "memory.events.oom_kill");
	if (now > *ooms && !opt.stats)
		print_event(c, "oom", NULL);
	*ooms = now;
	data = json_object_new_object();
	put_cpu(data, text);
	put_memory(data, text);
	put(sub(data, "pids"), "current", value(text, "pids.current"));
	put(json_object_object_get(data, "pids"), "limit",
	    value(text, "pids.max") == UINT64_MAX ? 0 : value(text, "pids.max"));
	put_host(data, root, &c->state);
	print_event(c, "stats", data);
	return 0;
}

/* "5s", "500ms", "1m"; microseconds, 0 if it is no such time. */
static uint64_t parse_interval(const char *text)
{
	char *unit;
	unsigned long n = strtoul(text, &unit, 10);
	uint64_t us = strcmp(unit, "ms") == 0  ? 1000
		      : strcmp(unit, "s") == 0 ? 1000000
		      : strcmp(unit, "m") == 0 ? 60000000
					       : 0;

	return *text >= '0' && *text <= '9' && n <= 86400000 ? n * us : 0;
}

static int run(const struct globals *g, unsigned int argc, char **argv, struct error *err)
{
	uint64_t interval = parse_interval(opt.interval), ooms = 0;
	struct container c;
	int rc = 0;

	(void)argc;
	if (!interval)
		return error_set(err, EINVAL, "--interval '%s' is not a time", opt.interval);
	if (container_open(&c, g->root, argv[0], false, err) < 0)
		return -err->code;
	if (state_status(&c.state) == STATUS_STOPPED)
		rc = error_set(err, ESRCH, "the container is stopped");
	else
		rc = print_stats(g->root, &c, &ooms, err);
	while (rc == 0 && !opt.stats) {
		/* Its end is no error for who watches it. */
		if (state_process_wait_gone(&c.state.init, (int)(interval / 1000)) == 0)
			break;
		if (print_stats(g->root, &c, &ooms, err) < 0)
			break;
	}
	container_done(&c);
	return rc < 0 ? error_wrap(err, "%s", argv[0]) : 0;
}

const struct command cmd_events = {
	.name = "events",
	.args = "ID",
	.summary = "figures of a container, as JSON lines",
	.details = "CPU, memory and processes are the container's own, as its guest counts them. "
		   "\"host\" lists the processes that stand for the sandbox on the host, with CPU "
		   "time in nanoseconds and memory in bytes; the containers of a pod have all but "
		   "the first of them in common.",
	.options = options,
	.args_min = 1,
	.args_max = 1,
	.run = run,
};
