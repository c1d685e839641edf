/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The timeline: every start records its phases with one clock (CLOCK_MONOTONIC).
 * A mark is one line, `NANOSECONDS PHASE`, appended with one write(2), so the
 * command, the proxy and the monitor share a file: ROOT/ID/timeline, or what
 * --timeline names.  `caisson trace` reads it (runtime/trace.h), and knows the phases.
 *
 * A mark is also where a test can stop a process: with CAISSON_STOP_AT=PHASE in the
 * environment the process that reaches the phase stops itself (SIGSTOP), so that a
 * test may kill any process of ours at any phase.
 */
#ifndef CAISSON_TIMELINE_H
#define CAISSON_TIMELINE_H

#include <stdint.h>

extern int timeline_fd; /* -1: marks are kept, a dozen of them, for timeline_begin() */

/* From now on marks go to fd, which stays the caller's; those that were kept go there first. */
void timeline_begin(int fd);

void timeline_mark(const char *phase);
/* With the time of the event instead of now. */
void timeline_mark_at(const char *phase, uint64_t monotonic_ns);
uint64_t monotonic_ns(void);

#endif
