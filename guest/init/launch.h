/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A container's process between clone(2) and execve(2).
 *
 * It talks with the agent over one SOCK_SEQPACKET pair, which execve(2) closes:
 *
 *	LAUNCH_READY   process to agent, with the terminal's master if there is one:
 *		       nothing but execve(2) is left to do
 *	LAUNCH_FAILED  process to agent: code and sentence; the process ends
 *	LAUNCH_GO      agent to process (the container's first process only): execve(2) now
 *	end of file    execve(2) has succeeded, or the process was killed
 *
 * Nothing of the agent but that socket and the standard streams stays open, and
 * the process cannot be traced by the container before execve(2).
 */
#ifndef CAISSON_INIT_LAUNCH_H
#define CAISSON_INIT_LAUNCH_H

#include <sys/types.h>

#include "lib/error.h"
#include "lib/spec.h"
#include "lib/wire.h"

enum { LAUNCH_READY = 'R', LAUNCH_FAILED = 'F', LAUNCH_GO = 'G' };

struct launch_message { /* kind alone, or all of it with LAUNCH_FAILED */
	uint32_t kind;
	struct error error;
};

struct launch {
	const struct spec_process *process;
	const struct spec_container *container; /* the one to make; NULL: join */
	int join;	/* pidfd of the first process of the container to join, or -1 */
	int join_flags; /* CLONE_NEW* */
	int sync;
	int streams[WIRE_STREAMS_MAX]; /* become descriptors 0..; all -1 with a terminal */
	uint32_t streams_n;
};

void launch_run(struct launch *l) __attribute__((noreturn));

#endif
