// SPDX-License-Identifier: Apache-2.0
#include "vmm/console.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/cleanup.h"

int console_read(struct console *c)
{
	size_t at = c->written % CONSOLE_SIZE;
	ssize_t n = recv(c->fd, c->ring + at, CONSOLE_SIZE - at, MSG_DONTWAIT);

	if (n > 0)
		c->written += (size_t)n;
	return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR) ? -1 : 0;
}

void console_read_all(struct console *c)
{
	size_t before;

	/* What is in a socket is bounded, and nobody fills it any more; better safe. */
	for (int i = 0; i < 64; i++) {
		before = c->written;
		if (c->fd < 0 || console_read(c) < 0 || c->written == before)
			return;
	}
}

/* The ring in order; `flat` has room for CONSOLE_SIZE + 1. */
static void flatten(const struct console *c, char *flat)
{
	size_t n = c->written < CONSOLE_SIZE ? c->written : CONSOLE_SIZE;

	for (size_t i = 0; i < n; i++) {
		char ch = c->ring[(c->written - n + i) % CONSOLE_SIZE];

		flat[i] = ch == '\n' || isprint((unsigned char)ch) ? ch : ' ';
	}
	flat[n] = 0;
}

/* From `at` to the end of its line. */
static int line_length(const char *at)
{
	return (int)strcspn(at, "\n");
}

/* What a kernel that faulted said first, before its panic; NULL: nothing. */
static const char *find_fault(const char *flat, const char *panic)
{
	static const char *const words[] = {"BUG: ", "kernel BUG at ", "Oops: "};
	const char *first = panic;

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		const char *at = strstr(flat, words[i]);

		if (at && at < first)
			first = at;
	}
	return first < panic ? first : NULL;
}

void console_reason(const struct console *c, char *buf, size_t size)
{
	char flat[CONSOLE_SIZE + 1];
	const char *line, *panic, *fault;

	flatten(c, flat);
	panic = strstr(flat, "Kernel panic");
	fault = panic ? find_fault(flat, panic) : NULL;
	while (*flat && strchr("\n ", flat[strlen(flat) - 1]))
		flat[strlen(flat) - 1] = 0;
	line = strrchr(flat, '\n');
	line = panic ? panic : line ? line + 1 : flat;
	snprintf(buf, size, "%.*s%s%.*s", fault ? line_length(fault) : 0, fault ? fault : "",
		 fault ? "; " : "", line_length(line), line);
}

void console_dump(const struct console *c, int fd)
{
	char flat[CONSOLE_SIZE + 1];

	flatten(c, flat);
	if (write(fd, flat, strlen(flat)) < 0)
		return; /* the log is a help, never a reason to fail */
}
