/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The console: the guest kernel's words.  They are the guest's and may be endless;
 * only the last CONSOLE_SIZE bytes are kept, to say why a guest ended.
 */
#ifndef CAISSON_CONSOLE_H
#define CAISSON_CONSOLE_H

#include <stddef.h>

#define CONSOLE_SIZE 16384u

struct console {
	int fd;
	size_t written; /* ever; the ring's end is at written % CONSOLE_SIZE */
	char ring[CONSOLE_SIZE];
};

/* Reads what is there; 0, or -1 at the end of file. */
int console_read(struct console *c);

/* The same for all there is, of a guest that has ended. */
void console_read_all(struct console *c);

/* What tells most of a dead guest, printable, cut to size: the line of its panic, after that of the
 * fault that led to it; else the last line; empty when there is none. */
void console_reason(const struct console *c, char *buf, size_t size);

/* Writes the ring to a descriptor, oldest first. */
void console_dump(const struct console *c, int fd);

#endif
