/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The proxy: the process on the host that stands for one process in the guest.  Its
 * pid is what the pid-file names; it carries that process's standard streams,
 * terminal size and signals, and ends as it ended (same exit status, or killed by
 * the same signal).  Killing it (SIGKILL) ends the process in the guest.
 */
#ifndef CAISSON_RUNTIME_PROXY_H
#define CAISSON_RUNTIME_PROXY_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/error.h"
#include "lib/frames.h"
#include "lib/msg.h"

struct proxy {
	struct frames frames; /* connected to the monitor */
	uint8_t type;	      /* WIRE_CREATE or WIRE_EXEC */
	const struct msg *request;
	int tty;		/* terminal on our side, in place of streams 0 and 1; -1: none */
	unsigned int extra_fds; /* preserved descriptors: 3.. */
	int status_fd;	 /* a struct error is written here when the result has come; -1: none */
	int lifeline_fd; /* end of file before a byte: the command died, give up; -1: none */
};

/* Runs until the process in the guest has ended, then ends alike.  The caller's descriptors other
 * than 0, 1, 2, 3..3+extra_fds-1 and those in p should be closed. */
__attribute__((noreturn)) void proxy_main(struct proxy *p);

#endif
