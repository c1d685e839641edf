// SPDX-License-Identifier: Apache-2.0
#include "lib/log.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/cleanup.h"

static const char *log_path;
static const char *log_format = "text";

void log_to(const char *path, const char *format)
{
	log_path = path;
	log_format = format;
}

/* The text between quotes of JSON (and of Go's %q, near enough for the readers of these logs). */
static void quote(char *out, size_t size, const char *in)
{
	size_t n = 0;

	for (; *in && n + 8 < size; in++) {
		unsigned char c = (unsigned char)*in;

		if (c == '"' || c == '\\')
			n += (size_t)snprintf(out + n, size - n, "\\%c", c);
		else if (c < 0x20 || c == 0x7f)
			n += (size_t)snprintf(out + n, size - n, "\\u%04x", c);
		else
			out[n++] = (char)c;
	}
	out[n] = 0;
}

void log_line(const char *level, const char *fmt, ...)
{
	char text[2048], quoted[4096], line[4400], when[64];
	time_t now = time(NULL);
	va_list ap;
	int fd, n;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fprintf(stderr, "caisson: %s%s%s\n", strcmp(level, "error") ? level : "",
		strcmp(level, "error") ? ": " : "", text);
	if (!log_path)
		return;
	fd = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0644);
	if (fd < 0)
		return;
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", gmtime(&now));
	quote(quoted, sizeof(quoted), text);
	n = snprintf(line, sizeof(line),
		     strcmp(log_format, "json") == 0
			     ? "{\"level\":\"%2$s\",\"msg\":\"%3$s\",\"time\":\"%1$s\"}\n"
			     : "time=\"%1$s\" level=%2$s msg=\"%3$s\"\n",
		     when, level, quoted);
	if (n > 0 && write(fd, line, (size_t)n) < 0)
		fprintf(stderr, "caisson: warning: --log '%s' cannot be written\n", log_path);
	close(fd);
}
