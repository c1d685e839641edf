// SPDX-License-Identifier: Apache-2.0
#include "runtime/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "lib/lease.h"
#include "runtime/json.h"

#define SETTINGS_SIZE_MAX (1u << 20)
#define ANNOTATION_PREFIX "io.caisson."

#ifndef CAISSON_LIBEXEC
#define CAISSON_LIBEXEC "/usr/libexec/caisson"
#endif
#ifndef CAISSON_DATA
#define CAISSON_DATA "/usr/share/caisson"
#endif

enum kind { STRING, SIZE, NUMBER };

static const char *const network_words[] = {"start", "wait", NULL};
static const char *const slots_words[] = {"auto", "no", "memory", "function", NULL};

/* One table serves the file and the annotations. */
static const struct key {
	const char *name;
	enum kind kind;
	size_t offset;
	uint64_t min, max;
	const char *const *words; /* STRING: one of these, ending with NULL */
} keys[] = {
	{"engine", STRING, offsetof(struct settings, engine), 0, 0},
	{"kernel", STRING, offsetof(struct settings, kernel), 0, 0},
	{"initrd", STRING, offsetof(struct settings, initrd), 0, 0},
	{"monitor", STRING, offsetof(struct settings, monitor), 0, 0},
	{"kernel_cmdline", STRING, offsetof(struct settings, kernel_cmdline), 0, 0},
	{"cache", STRING, offsetof(struct settings, cache), 0, 0},
	{"cache_size", SIZE, offsetof(struct settings, cache_size), 0, 1ull << 50},
	{"vcpus", NUMBER, offsetof(struct settings, vcpus), 1, 64},
	{"memory", SIZE, offsetof(struct settings, memory), 64ull << 20, 1ull << 42},
	{"memory_start", SIZE, offsetof(struct settings, memory_start), 0, 1ull << 42},
	{"hugepages", NUMBER, offsetof(struct settings, hugepages), 0, 1},
	{"scratch", SIZE, offsetof(struct settings, scratch), 0, 1ull << 50},
	{"scratch_disk", SIZE, offsetof(struct settings, scratch_disk), 0, 1ull << 50},
	{"slots", STRING, offsetof(struct settings, slots), 0, 0, slots_words},
	{"slots_socket", STRING, offsetof(struct settings, slots_socket), 0, 0},
	{"slots_wait", NUMBER, offsetof(struct settings, slots_wait), 0, 100},
	{"timelines", STRING, offsetof(struct settings, timelines), 0, 0},
	{"boot_timeout", NUMBER, offsetof(struct settings, boot_timeout), 1, 3600},
	{"network", STRING, offsetof(struct settings, network), 0, 0, network_words},
	/* A start that waits longer than the command does would not be noticed. */
	{"network_timeout", NUMBER, offsetof(struct settings, network_timeout), 1, 45},
};

static const char *const default_annotations[] = {"engine",  "vcpus",	     "memory",
						  "scratch", "scratch_disk", "network"};

int settings_parse_size(const char *text, uint64_t *ret)
{
	static const char units[] = "KMGT";
	unsigned long long n;
	const char *unit;
	char *end;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno)
		return -EINVAL;
	if (*end) {
		unit = strchr(units, *end);
		if (!unit || end[1])
			return -EINVAL;
		for (const char *u = units; u <= unit; u++) {
			if (n > UINT64_MAX >> 10)
				return -EINVAL;
			n <<= 10;
		}
	}
	*ret = n;
	return 0;
}

static int check_word(const struct key *k, const char *text, struct error *err)
{
	char list[128];
	size_t n = 0;

	if (!k->words)
		return 0;
	for (const char *const *w = k->words; *w; w++) {
		if (strcmp(*w, text) == 0)
			return 0;
		n += (size_t)snprintf(list + n, sizeof(list) - n, "%s%s", n ? ", " : "", *w);
	}
	return error_set(err, EINVAL, "'%.64s' is not one of %s", text, list);
}

static int set_value(struct settings *s, const struct key *k, const char *text, struct error *err)
{
	void *at = (char *)s + k->offset;
	uint64_t n;

	if (k->kind == STRING) {
		if (check_word(k, text, err) < 0)
			return -err->code;
		*(char **)at = arena_strdup(&s->arena, text);
		return *(char **)at ? 0 : error_set(err, ENOMEM, "out of memory");
	}
	if (settings_parse_size(text, &n) < 0 || n < k->min || n > k->max)
		return error_set(err, EINVAL, "'%.64s' is not a %s from %" PRIu64 " to %" PRIu64,
				 text, k->kind == SIZE ? "size" : "number", k->min, k->max);
	if (k->kind == SIZE)
		*(uint64_t *)at = n;
	else
		*(uint32_t *)at = (uint32_t)n;
	return 0;
}

static const struct key *find_key(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (strcmp(keys[i].name, name) == 0)
			return &keys[i];
	return NULL;
}

/* Where the build or the installation has put a part: beside the command itself when it is there
 * (the build tree), else where `make install` puts it. */
static char *locate(struct settings *s, const char *dir, const char *name)
{
	char self[PATH_MAX], path[PATH_MAX + 64];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	if (n > 0) {
		self[n] = 0;
		slash = strrchr(self, '/');
		*slash = 0;
		snprintf(path, sizeof(path), "%s/%s", self, name);
		if (access(path, F_OK) == 0)
			return arena_strdup(&s->arena, path);
	}
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return arena_strdup(&s->arena, path);
}

static int allow_annotations(struct settings *s, struct json_object *list, struct error *err)
{
	size_t n = json_object_array_length(list);

	s->annotations.n = 0;
	s->annotations.v = arena_alloc(&s->arena, (n + 1) * sizeof(char *));
	if (!s->annotations.v)
		return error_set(err, ENOMEM, "out of memory");
	for (size_t i = 0; i < n; i++) {
		struct json_object *o = json_object_array_get_idx(list, i);
		const char *name = json_object_get_string(o);

		if (!json_object_is_type(o, json_type_string) || !find_key(name))
			return error_set(err, EINVAL, "annotations[%zu] '%s' is not a setting", i,
					 name ? name : "null");
		s->annotations.v[s->annotations.n++] = arena_strdup(&s->arena, name);
	}
	return 0;
}

static int set_member(struct settings *s, const char *name, struct json_object *o,
		      struct error *err)
{
	const struct key *k = find_key(name);

	if (strcmp(name, "annotations") == 0) {
		if (!json_object_is_type(o, json_type_array))
			return error_set(err, EINVAL, "annotations is not a list");
		return allow_annotations(s, o, err);
	}
	if (!k)
		return error_set(err, EINVAL, "'%.64s' is not a setting", name);
	if (!json_object_is_type(o, json_type_string) &&
	    (k->kind == STRING || !json_object_is_type(o, json_type_int)))
		return error_set(err, EINVAL, "%s is not a %s", name,
				 k->kind == STRING ? "string" : "number");
	if (set_value(s, k, json_object_get_string(o), err) < 0)
		return error_wrap(err, "%s", name);
	return 0;
}

static int load_file(struct settings *s, const char *path, struct error *err)
{
	_cleanup_json_ struct json_object *j = NULL;
	_cleanup_free_ char *text = NULL;
	size_t size;

	text = file_read(AT_FDCWD, path, SETTINGS_SIZE_MAX, &size, err);
	if (!text)
		return -err->code;
	j = json_parse_object(text, size, path, err);
	if (!j)
		return -err->code;
	json_object_object_foreach (j, name, value)
		if (set_member(s, name, value, err) < 0)
			return error_wrap(err, "%s", path);
	return 0;
}

int settings_load(struct settings *ret, const char *path, struct error *err)
{
	struct settings s = {
		.cache_size = 20ull << 30,
		.vcpus = 1,
		.memory = 512ull << 20,
		.boot_timeout = 60,
		.slots_wait = 30,
		.network_timeout = 30,
	};

	s.engine = arena_strdup(&s.arena, "auto");
	s.network = arena_strdup(&s.arena, "start");
	s.kernel = locate(&s, CAISSON_DATA, "vmlinux");
	s.initrd = locate(&s, CAISSON_DATA, "initramfs.cpio");
	s.monitor = locate(&s, CAISSON_LIBEXEC, "caisson-vmm");
	s.kernel_cmdline = arena_strdup(&s.arena, "");
	s.slots = arena_strdup(&s.arena, "auto");
	s.slots_socket = arena_strdup(&s.arena, LEASE_SOCKET);
	s.cache = arena_strdup(&s.arena, "/var/cache/caisson");
	s.timelines = arena_strdup(&s.arena, "");
	s.annotations.v = arena_alloc(&s.arena, sizeof(default_annotations));
	if (!s.engine || !s.network || !s.kernel || !s.initrd || !s.monitor || !s.kernel_cmdline ||
	    !s.cache || !s.timelines || !s.slots || !s.slots_socket || !s.annotations.v) {
		arena_done(&s.arena);
		return error_set(err, ENOMEM, "out of memory");
	}
	for (size_t i = 0; i < ARRAY_SIZE(default_annotations); i++)
		s.annotations.v[s.annotations.n++] = (char *)default_annotations[i];
	if ((path || access(SETTINGS_FILE, F_OK) == 0) &&
	    load_file(&s, path ? path : SETTINGS_FILE, err) < 0) {
		arena_done(&s.arena);
		return -err->code;
	}
	*ret = s;
	return 0;
}

static bool allowed(const struct settings *s, const char *name)
{
	for (uint32_t i = 0; i < s->annotations.n; i++)
		if (strcmp(s->annotations.v[i], name) == 0)
			return true;
	return false;
}

static int apply_annotation(struct settings *s, const struct spec_pair *a, struct error *err)
{
	const char *name = a->key + strlen(ANNOTATION_PREFIX);
	const struct key *k;

	if (strncmp(a->key, ANNOTATION_PREFIX, strlen(ANNOTATION_PREFIX)) != 0)
		return 0;
	k = find_key(name);
	if (!k)
		return error_set(err, EINVAL, "annotation '%.128s' is not known", a->key);
	if (!allowed(s, name))
		return error_set(err, EPERM, "annotation '%.128s' is not allowed by %s", a->key,
				 SETTINGS_FILE);
	if (set_value(s, k, a->value, err) < 0)
		return error_wrap(err, "annotation '%s'", a->key);
	return 0;
}

int settings_apply(struct settings *s, const struct config *c, struct error *err)
{
	struct sysinfo info;
	uint64_t need;

	for (uint32_t i = 0; i < c->annotations_n; i++)
		if (apply_annotation(s, &c->annotations[i], err) < 0)
			return -err->code;
	/* A limit above what the host has is no limit. */
	sysinfo(&info);
	need = c->memory_limit > 0 ? (uint64_t)c->memory_limit : 0;
	if (need > (uint64_t)info.totalram * info.mem_unit)
		need = 0;
	if (need && s->memory < need + SETTINGS_GUEST_OVERHEAD)
		s->memory = need + SETTINGS_GUEST_OVERHEAD;
	s->memory = (s->memory + (2u << 20) - 1) & ~((2ull << 20) - 1);
	return 0;
}

void settings_done(struct settings *s)
{
	arena_done(&s->arena);
	*s = (struct settings){0};
}
