/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A JSON document on its way into C structures, read strictly: every function takes
 * an object and the name of a member, checks its type and range, and gives its value.
 *
 * The first error sticks: it is put into d->err as one sentence that names the
 * document, the field and the value, and from then on every read yields nothing
 * (NULL, 0, an empty list).  So readers are straight lines, and whoever
 * starts them looks at d->rc once, at the end.
 *
 * A member that is null counts as absent, and so does an optional string that is
 * empty: both are how Go programs write "unset".  An absent object (NULL) may be read
 * from; all its members are absent.
 *
 * Trust: the document may be malformed or hostile.
 */
#ifndef CAISSON_RUNTIME_CONFIG_DOC_H
#define CAISSON_RUNTIME_CONFIG_DOC_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/error.h"
#include "lib/spec.h"

struct doc {
	struct msg_chunk **arena; /* what is read lives there */
	const char *name;	  /* in errors: "config.json" */
	const char *bundle;	  /* absolute; relative paths start there; may be NULL */
	struct error *err;
	int rc;		 /* 0, or the first error's -errno */
	char where[256]; /* what is being read: "process.rlimits[2]" */
};

/* A name and what it stands for. */
struct doc_name {
	const char *name;
	uint64_t value;
};

/* Parses size bytes that must be one JSON object.  NULL with d->rc set on error; else the caller
 * owns the object: json_object_put(). */
struct json_object *doc_parse(struct doc *d, const char *json, size_t size);

/* Fails with "NAME: WHERE.field SENTENCE"; field may be NULL (WHERE itself).  Returns d->rc, that
 * of the first failure. */
int doc_fail(struct doc *d, int code, const char *field, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* Moves into a member or element, for the errors' sake, and back; the value is for doc_leave(). */
size_t doc_enter(struct doc *d, const char *member);
size_t doc_enter_index(struct doc *d, const char *member, size_t index);
void doc_leave(struct doc *d, size_t mark);

/* Zeroed memory for n elements, in the arena. */
void *doc_alloc(struct doc *d, size_t n, size_t elem_size);
char *doc_strdup(struct doc *d, const char *s);
/* A path as mount(2) can take it: "BASE/path" if it is relative and base is not NULL. */
char *doc_join(struct doc *d, const char *field, const char *base, const char *path);

bool doc_has(const struct doc *d, struct json_object *o, const char *name);
struct json_object *doc_object(struct doc *d, struct json_object *o, const char *name);
/* At most MSG_LIST_MAX elements. */
struct json_object *doc_array(struct doc *d, struct json_object *o, const char *name, uint32_t *n);
/* Element i, which must be an object; call it after doc_enter_index(). */
struct json_object *doc_element(struct doc *d, struct json_object *array, uint32_t i);
bool doc_bool(struct doc *d, struct json_object *o, const char *name);
int64_t doc_int(struct doc *d, struct json_object *o, const char *name, int64_t min, int64_t max,
		int64_t absent);
uint64_t doc_uint(struct doc *d, struct json_object *o, const char *name, uint64_t max,
		  uint64_t absent);
char *doc_string(struct doc *d, struct json_object *o, const char *name);
/* The same, and it has to be there. */
char *doc_string_required(struct doc *d, struct json_object *o, const char *name);
void doc_require(struct doc *d, struct json_object *o, const char *name);
/* Absolute and shorter than PATH_MAX; NULL if absent. */
char *doc_path(struct doc *d, struct json_object *o, const char *name);
void doc_strings(struct doc *d, struct json_object *o, const char *name, struct strv *ret);
void doc_paths(struct doc *d, struct json_object *o, const char *name, struct strv *ret);
/* Strings of the form NAME=value. */
void doc_env(struct doc *d, struct json_object *o, const char *name, struct strv *ret);
/* A map of strings. */
void doc_pairs(struct doc *d, struct json_object *o, const char *name, struct spec_pair **ret,
	       uint32_t *ret_n);
/* For what is understood and not supported: fails if the member is there and not empty. */
void doc_refuse(struct doc *d, struct json_object *o, const char *name, const char *sentence);

/* NULL if there is none of that name. */
const struct doc_name *doc_name_find(const struct doc_name *names, size_t n, const char *name);

#endif
