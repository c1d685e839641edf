// SPDX-License-Identifier: Apache-2.0
#include "runtime/config_doc.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/cleanup.h"

/* A real configuration nests 8 deep. */
#define DOC_DEPTH_MAX 32

int doc_fail(struct doc *d, int code, const char *field, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	if (d->rc)
		return d->rc;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (!field)
		field = "";
	d->rc = error_set(d->err, code, "%s: %s%s%s%s%s", d->name, d->where,
			  *d->where && *field && *field != '[' ? "." : "", field,
			  *d->where || *field ? " " : "", text);
	return d->rc;
}

/* Appends to `where`; what does not fit is cut, errors stay readable. */
static size_t enter(struct doc *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static size_t enter(struct doc *d, const char *fmt, ...)
{
	size_t mark = strlen(d->where);
	size_t at = mark;
	va_list ap;

	if (mark && mark + 1 < sizeof(d->where) && *fmt != '[')
		d->where[at++] = '.';
	va_start(ap, fmt);
	vsnprintf(d->where + at, sizeof(d->where) - at, fmt, ap);
	va_end(ap);
	return mark;
}

size_t doc_enter(struct doc *d, const char *member)
{
	return enter(d, "%s", member);
}

size_t doc_enter_index(struct doc *d, const char *member, size_t index)
{
	return enter(d, "%s[%zu]", member, index);
}

void doc_leave(struct doc *d, size_t mark)
{
	d->where[mark] = 0;
}

/* How a value is shown in a sentence. */
static const char *describe(struct json_object *j, char *buf, size_t size)
{
	switch (json_object_get_type(j)) {
	case json_type_object:
		return "{...}";
	case json_type_array:
		return "[...]";
	case json_type_string:
		snprintf(buf, size, "'%.200s'", json_object_get_string(j));
		return buf;
	default:
		snprintf(buf, size, "%.200s",
			 json_object_to_json_string_ext(j, JSON_C_TO_STRING_PLAIN));
		return buf;
	}
}

/*
 * What json-c lets through even when it is strict: strings in single quotes, integers
 * beyond 64 bits (which it pulls to the nearest bound, as if they had been written so), and
 * NUL characters (at which C would end the string).
 */
static const char *lint_number(const char *p, const char *end)
{
	char digits[24];
	const char *start = *p == '-' ? p + 1 : p;
	const char *q = start;
	size_t n;

	while (q < end && *q >= '0' && *q <= '9')
		q++;
	if (q < end && (*q == '.' || *q == 'e' || *q == 'E'))
		return q; /* not an integer: refused where it is read */
	n = (size_t)(q - start);
	if (n >= sizeof(digits))
		return NULL;
	memcpy(digits, start, n);
	digits[n] = 0;
	errno = 0;
	if (strtoull(digits, NULL, 10) > (uint64_t)INT64_MAX + 1 && *p == '-')
		return NULL;
	return errno ? NULL : q;
}

static bool lint_string(const char **pos, const char *end)
{
	const char *p = *pos + 1;

	for (; p < end && *p != '"'; p++) {
		if (*p != '\\')
			continue;
		if (end - p >= 6 && !memcmp(p, "\\u0000", 6))
			return false;
		p++;
	}
	*pos = p < end ? p + 1 : end;
	return true;
}

static int lint(struct doc *d, const char *json, size_t size)
{
	const char *end = json + size;
	const char *p = json;

	while (p < end) {
		const char *start = p;

		if (*p == '"') {
			if (!lint_string(&p, end))
				return doc_fail(d, EINVAL, NULL, "string at byte %td contains NUL",
						start - json);
		} else if (*p == '-' || (*p >= '0' && *p <= '9')) {
			p = lint_number(p, end);
			if (!p)
				return doc_fail(d, ERANGE, NULL, "the number %.*s is out of range",
						(int)strspn(start, "-0123456789"), start);
			if (p == start)
				p++;
		} else if (*p == '\'' || !*p) {
			return doc_fail(d, EINVAL, NULL, "unexpected %s at byte %td",
					*p ? "single quote" : "NUL", start - json);
		} else {
			p++;
		}
	}
	return 0;
}

static void tokener_free(struct json_tokener **t)
{
	if (*t)
		json_tokener_free(*t);
}

struct json_object *doc_parse(struct doc *d, const char *json, size_t size)
{
	_cleanup_(tokener_free) struct json_tokener *t = json_tokener_new_ex(DOC_DEPTH_MAX);
	_cleanup_free_ char *copy = NULL;
	enum json_tokener_error why;
	struct json_object *o;

	/* An embedded NUL would hide what comes after it; the one at the end is for lint(). */
	copy = size < INT_MAX ? malloc(size + 1) : NULL;
	if (!t || !copy) {
		doc_fail(d, ENOMEM, NULL, "out of memory");
		return NULL;
	}
	memcpy(copy, json, size);
	copy[size] = 0;
	if (lint(d, copy, size) < 0)
		return NULL;
	json_tokener_set_flags(t, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	o = json_tokener_parse_ex(t, copy, (int)size);
	why = json_tokener_get_error(t);
	if (why == json_tokener_continue) {
		doc_fail(d, EINVAL, NULL, "the JSON text ends too early");
	} else if (why != json_tokener_success) {
		doc_fail(d, EINVAL, NULL, "not JSON: %s at byte %zu", json_tokener_error_desc(why),
			 json_tokener_get_parse_end(t));
	} else if (!json_object_is_type(o, json_type_object)) {
		doc_fail(d, EINVAL, NULL, "the JSON text is not an object");
	}
	if (d->rc) {
		json_object_put(o);
		return NULL;
	}
	return o;
}

void *doc_alloc(struct doc *d, size_t n, size_t elem_size)
{
	void *p = n <= SIZE_MAX / elem_size ? arena_alloc(d->arena, n * elem_size) : NULL;

	if (!p)
		doc_fail(d, ENOMEM, NULL, "out of memory");
	return p;
}

char *doc_strdup(struct doc *d, const char *s)
{
	char *copy = arena_strdup(d->arena, s);

	if (s && !copy)
		doc_fail(d, ENOMEM, NULL, "out of memory");
	return copy;
}

char *doc_join(struct doc *d, const char *field, const char *base, const char *path)
{
	size_t base_len = base && *path != '/' ? strlen(base) : 0;
	size_t len = strlen(path);
	char *joined;

	if (base_len + 1 + len >= PATH_MAX) {
		doc_fail(d, ENAMETOOLONG, field, "'%.40s...' is a path of %zu bytes or more", path,
			 (size_t)PATH_MAX);
		return NULL;
	}
	if (!base_len)
		return doc_strdup(d, path);
	joined = doc_alloc(d, base_len + 1 + len + 1, 1);
	if (joined)
		snprintf(joined, base_len + 1 + len + 1, "%s%s%s", base,
			 base[base_len - 1] == '/' ? "" : "/", path);
	return joined;
}

static struct json_object *member(const struct doc *d, struct json_object *o, const char *name)
{
	struct json_object *j = NULL;

	if (d->rc || !o)
		return NULL;
	json_object_object_get_ex(o, name, &j);
	return j;
}

bool doc_has(const struct doc *d, struct json_object *o, const char *name)
{
	return member(d, o, name);
}

void doc_require(struct doc *d, struct json_object *o, const char *name)
{
	struct json_object *j = member(d, o, name);

	if (!j || (json_object_is_type(j, json_type_string) && !json_object_get_string_len(j)))
		doc_fail(d, EINVAL, name, "is %s", j ? "empty" : "missing");
}

/* Is j of that type?  Fails if it is another. */
static bool is(struct doc *d, struct json_object *j, const char *field, enum json_type type,
	       const char *what)
{
	char buf[256];

	if (!j || d->rc)
		return false;
	if (json_object_is_type(j, type))
		return true;
	doc_fail(d, EINVAL, field, "%s is not %s", describe(j, buf, sizeof(buf)), what);
	return false;
}

struct json_object *doc_object(struct doc *d, struct json_object *o, const char *name)
{
	struct json_object *j = member(d, o, name);

	return is(d, j, name, json_type_object, "an object") ? j : NULL;
}

struct json_object *doc_array(struct doc *d, struct json_object *o, const char *name, uint32_t *n)
{
	struct json_object *j = member(d, o, name);
	size_t len;

	*n = 0;
	if (!is(d, j, name, json_type_array, "an array"))
		return NULL;
	len = json_object_array_length(j);
	if (len > MSG_LIST_MAX) {
		doc_fail(d, E2BIG, name, "has %zu elements, more than %u", len, MSG_LIST_MAX);
		return NULL;
	}
	*n = (uint32_t)len;
	return j;
}

struct json_object *doc_element(struct doc *d, struct json_object *array, uint32_t i)
{
	struct json_object *j = json_object_array_get_idx(array, i);

	if (!j)
		doc_fail(d, EINVAL, NULL, "is null");
	return is(d, j, NULL, json_type_object, "an object") ? j : NULL;
}

bool doc_bool(struct doc *d, struct json_object *o, const char *name)
{
	struct json_object *j = member(d, o, name);

	return is(d, j, name, json_type_boolean, "true or false") && json_object_get_boolean(j);
}

int64_t doc_int(struct doc *d, struct json_object *o, const char *name, int64_t min, int64_t max,
		int64_t absent)
{
	struct json_object *j = member(d, o, name);
	int64_t x;

	if (!is(d, j, name, json_type_int, "an integer"))
		return absent;
	x = json_object_get_int64(j);
	/* What only fits uint64_t is pulled to INT64_MAX by json-c. */
	if (x == INT64_MAX && json_object_get_uint64(j) > INT64_MAX) {
		doc_fail(d, ERANGE, name, "%" PRIu64 " is greater than %" PRId64,
			 json_object_get_uint64(j), max);
	} else if (x < min || x > max) {
		doc_fail(d, ERANGE, name, "%" PRId64 " is %s than %" PRId64, x,
			 x < min ? "less" : "greater", x < min ? min : max);
	} else {
		return x;
	}
	return absent;
}

uint64_t doc_uint(struct doc *d, struct json_object *o, const char *name, uint64_t max,
		  uint64_t absent)
{
	struct json_object *j = member(d, o, name);
	uint64_t x;

	if (!is(d, j, name, json_type_int, "an integer"))
		return absent;
	if (json_object_get_int64(j) < 0) {
		doc_fail(d, ERANGE, name, "%" PRId64 " is negative", json_object_get_int64(j));
		return absent;
	}
	x = json_object_get_uint64(j);
	if (x > max) {
		doc_fail(d, ERANGE, name, "%" PRIu64 " is greater than %" PRIu64, x, max);
		return absent;
	}
	return x;
}

static char *string(struct doc *d, struct json_object *j, const char *field)
{
	return is(d, j, field, json_type_string, "a string")
		       ? doc_strdup(d, json_object_get_string(j))
		       : NULL;
}

char *doc_string(struct doc *d, struct json_object *o, const char *name)
{
	char *s = string(d, member(d, o, name), name);

	return s && *s ? s : NULL;
}

char *doc_string_required(struct doc *d, struct json_object *o, const char *name)
{
	doc_require(d, o, name);
	return doc_string(d, o, name);
}

static void check_absolute(struct doc *d, const char *field, const char *path)
{
	if (path && *path != '/')
		doc_fail(d, EINVAL, field, "'%.200s' is not an absolute path", path);
	else if (path && strlen(path) >= PATH_MAX)
		doc_fail(d, ENAMETOOLONG, field, "'%.40s...' is a path of %d bytes or more", path,
			 PATH_MAX);
}

char *doc_path(struct doc *d, struct json_object *o, const char *name)
{
	char *path = doc_string(d, o, name);

	check_absolute(d, name, path);
	return d->rc ? NULL : path;
}

void doc_strings(struct doc *d, struct json_object *o, const char *name, struct strv *ret)
{
	struct json_object *a;
	uint32_t n;

	*ret = (struct strv){0};
	a = doc_array(d, o, name, &n);
	if (!n)
		return;
	ret->v = doc_alloc(d, n, sizeof(*ret->v));
	for (uint32_t i = 0; i < n && !d->rc; i++) {
		struct json_object *j = json_object_array_get_idx(a, i);
		size_t mark = doc_enter_index(d, name, i);

		if (!j)
			doc_fail(d, EINVAL, NULL, "is null");
		ret->v[i] = string(d, j, NULL);
		doc_leave(d, mark);
	}
	ret->n = d->rc ? 0 : n;
}

void doc_paths(struct doc *d, struct json_object *o, const char *name, struct strv *ret)
{
	doc_strings(d, o, name, ret);
	for (uint32_t i = 0; i < ret->n && !d->rc; i++) {
		size_t mark = doc_enter_index(d, name, i);

		check_absolute(d, NULL, ret->v[i]);
		doc_leave(d, mark);
	}
}

void doc_env(struct doc *d, struct json_object *o, const char *name, struct strv *ret)
{
	doc_strings(d, o, name, ret);
	for (uint32_t i = 0; i < ret->n && !d->rc; i++) {
		size_t mark = doc_enter_index(d, name, i);

		if (!strchr(ret->v[i], '=') || ret->v[i][0] == '=')
			doc_fail(d, EINVAL, NULL, "'%.200s' is not NAME=value", ret->v[i]);
		doc_leave(d, mark);
	}
}

void doc_pairs(struct doc *d, struct json_object *o, const char *name, struct spec_pair **ret,
	       uint32_t *ret_n)
{
	struct json_object *map = doc_object(d, o, name);
	size_t n = map ? (size_t)json_object_object_length(map) : 0;
	struct spec_pair *v;
	uint32_t i = 0;

	*ret = NULL;
	*ret_n = 0;
	if (n > MSG_LIST_MAX)
		doc_fail(d, E2BIG, name, "has %zu entries, more than %u", n, MSG_LIST_MAX);
	v = n && !d->rc ? doc_alloc(d, n, sizeof(*v)) : NULL;
	if (!v)
		return;
	json_object_object_foreach (map, key, value) {
		size_t mark = enter(d, "%s['%.100s']", name, key);

		if (!value)
			doc_fail(d, EINVAL, NULL, "is null");
		v[i].key = doc_strdup(d, key);
		v[i++].value = string(d, value, NULL);
		doc_leave(d, mark);
		if (d->rc)
			return;
	}
	*ret = v;
	*ret_n = (uint32_t)n;
}

void doc_refuse(struct doc *d, struct json_object *o, const char *name, const char *sentence)
{
	struct json_object *j = member(d, o, name);
	char buf[256];

	if (!j || (json_object_is_type(j, json_type_array) && !json_object_array_length(j)) ||
	    (json_object_is_type(j, json_type_object) && !json_object_object_length(j)) ||
	    (json_object_is_type(j, json_type_string) && !json_object_get_string_len(j)))
		return;
	doc_fail(d, EOPNOTSUPP, name, "%s: %s", describe(j, buf, sizeof(buf)), sentence);
}

const struct doc_name *doc_name_find(const struct doc_name *names, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(names[i].name, name))
			return &names[i];
	return NULL;
}
