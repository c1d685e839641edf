/* SPDX-License-Identifier: Apache-2.0 */
/* Confinement by seccomp: after this the calling thread has only the system calls it named. */
#ifndef CAISSON_CONFINE_H
#define CAISSON_CONFINE_H

#include <stddef.h>
#include <stdint.h>

#include "lib/error.h"

/* A system call by its number (as SCMP_SYS() gives it), with any arguments or one that is fixed. */
struct confine_call {
	int nr;
	unsigned int arg; /* 0: any; else argument arg - 1 is `value`.  Write CONFINE_ARG(). */
	uint64_t value;
};

#define CONFINE_ARG(n, v) (n) + 1, (v)

/*
 * Allows the n calls and those that libc itself needs for memory, signals and the end of the thread
 * (confine.c names them, with reasons); any other kills the process.  Memory never becomes
 * executable.  Does nothing in a build with sanitizers, whose run time makes calls of its own.
 */
int confine_syscalls(const int *allowed, size_t n, struct error *err);

/* The same for the calls of two lists (the second may be empty), with arguments.  It holds for the
 * calling thread and for threads it makes later, not for others. */
int confine_calls(const struct confine_call *a, size_t a_n, const struct confine_call *b,
		  size_t b_n, struct error *err);

#endif
