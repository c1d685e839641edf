/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Terminals on the host.  The line discipline is the guest's: on this side every
 * terminal is raw and carries only bytes and its size.
 */
#ifndef CAISSON_RUNTIME_TERMINAL_H
#define CAISSON_RUNTIME_TERMINAL_H

#include <stdint.h>
#include <termios.h>

#include "lib/error.h"

/*
 * A new pseudo-terminal: its master goes to whoever listens on `socket_path` (--console-socket,
 * in the form runc and crun send it: one message, the descriptor as SCM_RIGHTS); the slave, raw,
 * is returned.  rows, columns 0: unset.
 */
int terminal_open(const char *socket_path, uint16_t rows, uint16_t columns, struct error *err);

/* The size of the caller's own terminal, where none is asked for. */
void terminal_size(int fd, uint16_t *rows, uint16_t *columns);

/* Makes the caller's own terminal raw; *ret_saved is for terminal_restore(). */
int terminal_raw(int fd, struct termios *ret_saved, struct error *err);
void terminal_restore(int fd, const struct termios *saved);

#endif
