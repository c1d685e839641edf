/* SPDX-License-Identifier: Apache-2.0 */
/* Small doors to json-c for documents of our own; OCI documents go through config.h. */
#ifndef CAISSON_RUNTIME_JSON_H
#define CAISSON_RUNTIME_JSON_H

#include <json-c/json.h>

#include "lib/cleanup.h"
#include "lib/error.h"

static inline void cleanup_json(struct json_object **j)
{
	json_object_put(*j);
}

#define _cleanup_json_ _cleanup_(cleanup_json)

/* Strict: one object, nothing after it, at most 32 deep.  NULL with err set; what is `name`. */
struct json_object *json_parse_object(const char *text, size_t size, const char *name,
				      struct error *err);

/* Writes j to NAME in dir_fd: temporary file, fsync-free rename (the directory is a tmpfs). */
int json_write_file(int dir_fd, const char *name, struct json_object *j, struct error *err);

/* Reads a whole file of at most max bytes; NUL-terminated, to be freed.  NULL with err set. */
char *file_read(int dir_fd, const char *name, size_t max, size_t *ret_size, struct error *err);

#endif
