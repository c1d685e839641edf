// SPDX-License-Identifier: Apache-2.0
#include "guest/init/kmsg.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"

#define KMSG_LINES_MAX 64

void kmsg_line(const char *fmt, ...)
{
	static unsigned int lines;
	char text[512] = "<3>caisson-init: ";
	size_t n = strlen(text);
	_cleanup_close_ int fd = -1;
	va_list ap;

	if (lines++ >= KMSG_LINES_MAX)
		return;
	va_start(ap, fmt);
	vsnprintf(text + n, sizeof(text) - n - 1, fmt, ap);
	va_end(ap);
	strcat(text, "\n");
	fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC | O_NOCTTY);
	if (fd >= 0 && write(fd, text, strlen(text)) < 0)
		return; /* there is no one left to tell */
}
