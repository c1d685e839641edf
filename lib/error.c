// SPDX-License-Identifier: Apache-2.0
#include "lib/error.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Values come from configs and guests: a newline in one must not make two sentences, nor may one
 * speak to the terminal (also by the controls that UTF-8 has as C2 80 to C2 9F). */
static void flatten(char *s)
{
	for (; *s; s++)
		if (iscntrl((unsigned char)*s))
			*s = ' ';
		else if ((unsigned char)*s == 0xc2 && (unsigned char)s[1] >= 0x80 &&
			 (unsigned char)s[1] <= 0x9f)
			s[0] = s[1] = ' ';
}

int error_set(struct error *err, int code, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return -code;
	err->code = code;
	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	flatten(err->text);
	return -code;
}

int error_errno(struct error *err, const char *fmt, ...)
{
	int code = errno ? errno : EIO;
	const char *reason;
	va_list ap;
	size_t n;

	if (!err)
		return -code;
	err->code = code;
	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	n = strlen(err->text);
	/* Not strerror(3), which looks for translations in files. */
	reason = strerrordesc_np(code);
	snprintf(err->text + n, sizeof(err->text) - n, ": %s", reason ?: "Unknown error");
	flatten(err->text);
	return -code;
}

int error_wrap(struct error *err, const char *fmt, ...)
{
	char text[sizeof(err->text)];
	va_list ap;
	size_t n;

	if (!err)
		return -EIO;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	n = strlen(text);
	snprintf(text + n, sizeof(text) - n, ": %s", err->text);
	memcpy(err->text, text, sizeof(text));
	flatten(err->text);
	return -(err->code ? err->code : EIO);
}
