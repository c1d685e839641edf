/* SPDX-License-Identifier: Apache-2.0 */
/* Confinement by seccomp: after this the calling thread has only the system calls it named. */
#ifndef CAISSON_CONFINE_H
#define CAISSON_CONFINE_H

#include <stddef.h>

#include "lib/error.h"

/*
 * Allows the n calls (numbers as SCMP_SYS() gives them) and those that libc itself needs for
 * memory, signals and the end of the process (confine.c names them, with reasons); any other kills
 * the process.  Does nothing in a build with sanitizers, whose run time makes calls of its own.
 */
int confine_syscalls(const int *allowed, size_t n, struct error *err);

#endif
