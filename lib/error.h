/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An operator error: one sentence, built up on the way to main(), which is the
 * only place that prints it.  A value with a fixed buffer: making or wrapping an
 * error never allocates and never fails; a sentence that does not fit is cut.
 *
 *	if (fd < 0)
 *		return error_errno(err, "open '%s'", path);
 *	...
 *	if (rc < 0)
 *		return error_wrap(err, "device %s", name);
 */
#ifndef CAISSON_ERROR_H
#define CAISSON_ERROR_H

struct error {
	int code;	 /* positive errno value; 0 means no error */
	char text[1024]; /* one line, no newline at the end */
};

/* Sets the error.  Returns -code, for `return error_set(...)`.  err may be NULL. */
int error_set(struct error *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* As error_set with code = errno, and ": <strerror>" added. */
int error_errno(struct error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Puts "context: " before the sentence.  Returns -err->code. */
int error_wrap(struct error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
