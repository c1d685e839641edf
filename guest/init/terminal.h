/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pseudoterminal of a process: made in the devpts that the container sees, so
 * that tty(1) and /dev/pts work in it; the agent keeps the master.
 */
#ifndef CAISSON_INIT_TERMINAL_H
#define CAISSON_INIT_TERMINAL_H

#include <stdint.h>

#include "lib/error.h"
#include "lib/spec.h"

struct terminal {
	int master, slave; /* -1: none; close-on-exec */
};

/*
 * Opens one in the root.  Without a usable /dev/pts there, `fallback` (a directory to mount a
 * devpts on, or NULL) is used.
 */
int terminal_open(struct terminal *ret, int root, const char *fallback,
		  const struct spec_process *p, struct error *err);
/* Binds the slave to /dev/console in the root. */
int terminal_bind_console(const struct terminal *t, int root, struct error *err);
/* Makes the slave the controlling terminal of the caller's new session. */
int terminal_acquire(const struct terminal *t, struct error *err);

void terminal_resize(int master, uint16_t rows, uint16_t columns);

#endif
