// SPDX-License-Identifier: Apache-2.0
#include "runtime/trace.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/json.h"

#define STARTS_MAX 4096u

static const char *const lanes[TRACE_LANES] = {
	[TRACE_COMMAND] = "command",
	[TRACE_MONITOR] = "monitor",
	[TRACE_GUEST] = "guest",
	[TRACE_PROCESS] = "process",
};

/* In the order of a start.  A phase begins at the first of its marks `from` that there is. */
static const struct {
	const char *label, *to, *from[3];
	enum trace_lane lane;
	bool waits;
} phases[] = {
	{"configuration", "config", {"command"}, TRACE_COMMAND, false},
	{"state directory", "state", {"config"}, TRACE_COMMAND, false},
	{"root file system image", "image", {"state"}, TRACE_COMMAND, false},
	{"cgroup", "cgroup", {"image"}, TRACE_COMMAND, false},
	{"pod joined", "joined", {"cgroup", "image"}, TRACE_COMMAND, false},
	{"proxy", "proxy", {"joined", "cgroup", "image"}, TRACE_COMMAND, false},
	{"hooks", "hooks", {"proxy"}, TRACE_COMMAND, false},
	{"network", "network", {"hooks"}, TRACE_COMMAND, false},
	{"monitor begins", "monitor", {"network", "hooks"}, TRACE_MONITOR, false},
	{"machine made", "engine", {"monitor"}, TRACE_MONITOR, false},
	{"jail and threads", "launch", {"engine"}, TRACE_MONITOR, false},
	{"kernel boots", "agent", {"launch", "engine"}, TRACE_GUEST, false},
	{"guest set up", "guest-setup", {"agent"}, TRACE_GUEST, false},
	{"container created", "created", {"guest-setup", "spawned"}, TRACE_GUEST, false},
	{"waits for the guest", "ready", {"spawned"}, TRACE_COMMAND, true},
	{"container started", "started", {"start", "ready"}, TRACE_COMMAND, false},
	{"process", "exited", {"started"}, TRACE_PROCESS, false},
	{"machine goes", "machine-gone", {"exited"}, TRACE_MONITOR, false},
	{"deleted", "destroyed", {"delete", "exited"}, TRACE_COMMAND, false},
};

unsigned int trace_phases(void)
{
	return ARRAY_SIZE(phases);
}

const char *trace_phase_label(unsigned int number)
{
	return phases[number].label;
}

enum trace_lane trace_phase_lane(unsigned int number)
{
	return phases[number].lane;
}

const char *trace_lane_name(enum trace_lane lane)
{
	return lanes[lane];
}

static const struct trace_mark *find(const struct trace_start *s, const char *name)
{
	for (unsigned int i = 0; name && i < s->marks_n; i++)
		if (strcmp(s->marks[i].name, name) == 0)
			return &s->marks[i];
	return NULL;
}

bool trace_phase(const struct trace_start *s, unsigned int number, struct trace_phase *ret)
{
	const struct trace_mark *to = find(s, phases[number].to), *from = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(phases[number].from) && !from; i++)
		from = find(s, phases[number].from[i]);
	if (!from || !to)
		return false;
	*ret = (struct trace_phase){
		.label = phases[number].label,
		.lane = phases[number].lane,
		.number = number,
		.from = from->name,
		.to = to->name,
		.begin_ns = from->ns,
		/* Of two processes the later may be the first to be told. */
		.end_ns = to->ns > from->ns ? to->ns : from->ns,
		.waits = phases[number].waits,
	};
	return true;
}

static bool is_known(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(phases); i++) {
		if (strcmp(name, phases[i].to) == 0)
			return true;
		for (size_t k = 0; k < ARRAY_SIZE(phases[i].from) && phases[i].from[k]; k++)
			if (strcmp(name, phases[i].from[k]) == 0)
				return true;
	}
	return false;
}

const struct trace_mark *trace_instant(const struct trace_start *s, unsigned int *at)
{
	while (*at < s->marks_n) {
		const struct trace_mark *m = &s->marks[(*at)++];

		if (!is_known(m->name))
			return m;
	}
	return NULL;
}

uint64_t trace_begin(const struct trace_start *s)
{
	uint64_t ns = UINT64_MAX;

	for (unsigned int i = 0; i < s->marks_n; i++)
		if (s->marks[i].ns < ns)
			ns = s->marks[i].ns;
	return ns;
}

static struct trace_start *new_start(struct trace *t, const char *name, struct error *err)
{
	struct trace_start *more;

	if (t->n == STARTS_MAX) {
		error_set(err, E2BIG, "more than %u starts", STARTS_MAX);
		return NULL;
	}
	more = realloc(t->starts, (t->n + 1) * sizeof(*more));
	if (!more) {
		error_set(err, ENOMEM, "out of memory");
		return NULL;
	}
	t->starts = more;
	more += t->n++;
	*more = (struct trace_start){0};
	snprintf(more->name, sizeof(more->name), "%s", name);
	/* A file may be called anything: both forms are UTF-8. */
	for (char *c = more->name; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
	return more;
}

/* "NANOSECONDS PHASE"; false: it is not. */
static bool parse_mark(const char *line, size_t size, struct trace_mark *ret)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789-";
	const char *blank = memchr(line, ' ', size);
	size_t name_size = blank ? size - (size_t)(blank + 1 - line) : 0;
	char *end;

	if (!blank || blank == line || *line < '0' || *line > '9' || blank - line > 19 ||
	    !name_size || name_size >= sizeof(ret->name))
		return false;
	ret->ns = strtoull(line, &end, 10);
	memcpy(ret->name, blank + 1, name_size);
	ret->name[name_size] = 0;
	return end == blank && strspn(ret->name, letters) == name_size;
}

int trace_add(struct trace *t, const char *name, const char *text, size_t size, struct error *err)
{
	struct trace_start *s = NULL;
	const char *at = text;
	unsigned int number = 1;

	for (; at < text + size; number++) {
		const char *newline = memchr(at, '\n', (size_t)(text + size - at));
		struct trace_mark m;

		if (!newline) /* being written right now */
			break;
		if (!parse_mark(at, (size_t)(newline - at), &m))
			return error_set(err, EINVAL, "line %u is not a mark of a timeline",
					 number);
		if (!s || strcmp(m.name, "command") == 0)
			s = new_start(t, name, err);
		if (!s)
			return -err->code;
		/* The rest of a start that has gone mad would tell nothing. */
		if (s->marks_n < TRACE_MARKS_MAX)
			s->marks[s->marks_n++] = m;
		at = newline + 1;
	}
	return s ? 0 : error_set(err, EINVAL, "there is no mark in it");
}

void trace_done(struct trace *t)
{
	free(t->starts);
	*t = (struct trace){0};
}

/* --- Trace Event Format ------------------------------------------------------------------------*/

static struct json_object *microseconds(uint64_t ns)
{
	char text[40];

	snprintf(text, sizeof(text), "%" PRIu64 ".%03u", ns / 1000, (unsigned int)(ns % 1000));
	return json_object_new_double_s((double)ns / 1000, text);
}

static struct json_object *event(struct json_object *list, const char *kind, const char *name,
				 unsigned int pid, unsigned int tid)
{
	struct json_object *e = json_object_new_object();

	json_object_object_add(e, "ph", json_object_new_string(kind));
	json_object_object_add(e, "name", json_object_new_string(name));
	json_object_object_add(e, "pid", json_object_new_uint64(pid));
	json_object_object_add(e, "tid", json_object_new_uint64(tid));
	json_object_array_add(list, e);
	return e;
}

static struct json_object *arguments(struct json_object *e)
{
	struct json_object *args = json_object_new_object();

	json_object_object_add(e, "args", args);
	return args;
}

/* What a process or a thread is called, and where it stands. */
static void add_names(struct json_object *list, const struct trace_start *s, unsigned int pid)
{
	struct json_object *e = event(list, "M", "process_name", pid, 0);

	json_object_object_add(arguments(e), "name", json_object_new_string(s->name));
	e = event(list, "M", "process_sort_index", pid, 0);
	json_object_object_add(arguments(e), "sort_index", json_object_new_uint64(pid));
	for (unsigned int i = 0; i < TRACE_LANES; i++) {
		e = event(list, "M", "thread_name", pid, i + 1);
		json_object_object_add(arguments(e), "name", json_object_new_string(lanes[i]));
		e = event(list, "M", "thread_sort_index", pid, i + 1);
		json_object_object_add(arguments(e), "sort_index", json_object_new_uint64(i));
	}
}

static void add_phases(struct json_object *list, const struct trace_start *s, unsigned int pid,
		       uint64_t zero)
{
	struct trace_phase p;

	for (unsigned int i = 0; i < trace_phases(); i++) {
		struct json_object *e, *args;

		if (!trace_phase(s, i, &p))
			continue;
		e = event(list, "X", p.label, pid, p.lane + 1);
		json_object_object_add(e, "cat", json_object_new_string(lanes[p.lane]));
		json_object_object_add(e, "ts", microseconds(p.begin_ns - zero));
		json_object_object_add(e, "dur", microseconds(p.end_ns - p.begin_ns));
		args = arguments(e);
		json_object_object_add(args, "from", json_object_new_string(p.from));
		json_object_object_add(args, "to", json_object_new_string(p.to));
	}
}

static void add_instants(struct json_object *list, const struct trace_start *s, unsigned int pid,
			 uint64_t zero)
{
	const struct trace_mark *m;
	unsigned int at = 0;

	while ((m = trace_instant(s, &at))) {
		struct json_object *e = event(list, "i", m->name, pid, TRACE_COMMAND + 1);

		json_object_object_add(e, "s", json_object_new_string("p"));
		json_object_object_add(e, "ts", microseconds(m->ns - zero));
	}
}

int trace_write_json(const struct trace *t, bool align, FILE *f, struct error *err)
{
	_cleanup_json_ struct json_object *top = json_object_new_object();
	struct json_object *list = json_object_new_array(), *other = json_object_new_object();

	json_object_object_add(top, "traceEvents", list);
	json_object_object_add(top, "displayTimeUnit", json_object_new_string("ms"));
	json_object_object_add(top, "otherData", other);
	json_object_object_add(other, "clock",
			       json_object_new_string(align ? "since the start's first mark"
							    : "CLOCK_MONOTONIC"));
	for (unsigned int i = 0; i < t->n; i++) {
		const struct trace_start *s = &t->starts[i];
		uint64_t zero = align ? trace_begin(s) : 0;

		add_names(list, s, i + 1);
		add_phases(list, s, i + 1, zero);
		add_instants(list, s, i + 1, zero);
	}
	if (fprintf(f, "%s\n",
		    json_object_to_json_string_ext(
			    top, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE)) < 0)
		return error_errno(err, "write the trace");
	return 0;
}
