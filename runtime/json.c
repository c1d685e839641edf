// SPDX-License-Identifier: Apache-2.0
#include "runtime/json.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct json_object *json_parse_object(const char *text, size_t size, const char *name,
				      struct error *err)
{
	struct json_tokener *tok = json_tokener_new_ex(32);
	_cleanup_json_ struct json_object *j = NULL;
	enum json_tokener_error why;

	if (!tok || size > INT_MAX) {
		if (tok)
			json_tokener_free(tok);
		error_set(err, ENOMEM, "%s: too large", name);
		return NULL;
	}
	json_tokener_set_flags(tok, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	j = json_tokener_parse_ex(tok, text, (int)size);
	why = json_tokener_get_error(tok);
	if (why == json_tokener_success && json_tokener_get_parse_end(tok) != size)
		why = json_tokener_error_parse_unexpected;
	json_tokener_free(tok);
	if (why != json_tokener_success || !json_object_is_type(j, json_type_object)) {
		error_set(err, EINVAL, "%s: not a JSON object: %s", name,
			  why == json_tokener_success ? "something else"
						      : json_tokener_error_desc(why));
		return NULL;
	}
	return steal_ptr(&j);
}

int json_write_file(int dir_fd, const char *name, struct json_object *j, struct error *err)
{
	const char *text = json_object_to_json_string_ext(
		j, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE);
	_cleanup_close_ int fd = -1;
	size_t size = strlen(text), done = 0;
	char tmp[64];

	snprintf(tmp, sizeof(tmp), ".%s.%d", name, getpid());
	fd = openat(dir_fd, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_errno(err, "create '%s'", tmp);
	while (done < size) {
		ssize_t n = write(fd, text + done, size - done);

		if (n < 0) {
			error_errno(err, "write '%s'", name);
			unlinkat(dir_fd, tmp, 0);
			return -err->code;
		}
		done += (size_t)n;
	}
	if (renameat(dir_fd, tmp, dir_fd, name) < 0) {
		error_errno(err, "rename '%s'", name);
		unlinkat(dir_fd, tmp, 0);
		return -err->code;
	}
	return 0;
}

char *file_read(int dir_fd, const char *name, size_t max, size_t *ret_size, struct error *err)
{
	_cleanup_close_ int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	_cleanup_free_ char *text = NULL;
	size_t size = 0;
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0) {
		error_errno(err, "open '%s'", name);
		return NULL;
	}
	if (!S_ISREG(st.st_mode)) {
		error_set(err, EINVAL, "'%s' is not a regular file", name);
		return NULL;
	}
	if (st.st_size < 0 || (size_t)st.st_size > max) {
		error_set(err, EFBIG, "'%s' is larger than %zu bytes", name, max);
		return NULL;
	}
	text = malloc((size_t)st.st_size + 1);
	if (!text) {
		error_set(err, ENOMEM, "read '%s': out of memory", name);
		return NULL;
	}
	while (size < (size_t)st.st_size &&
	       (n = read(fd, text + size, (size_t)st.st_size - size)) != 0) {
		if (n < 0) {
			error_errno(err, "read '%s'", name);
			return NULL;
		}
		size += (size_t)n;
	}
	text[size] = 0;
	*ret_size = size;
	return steal_ptr(&text);
}
