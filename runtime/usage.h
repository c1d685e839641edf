/* SPDX-License-Identifier: Apache-2.0 */
/* What the processes of a sandbox cost the host (proc(5)). */
#ifndef CAISSON_RUNTIME_USAGE_H
#define CAISSON_RUNTIME_USAGE_H

#include <stdint.h>
#include <sys/types.h>

#include "runtime/state.h"

#define USAGE_MAX 16u

struct usage {
	pid_t pid;
	char name[16];
	uint64_t cpu_ms;     /* user and system */
	uint64_t rss_kb;     /* resident */
	uint64_t private_kb; /* of that, written by it and nobody else's */
};

/* The container's proxy, its monitor (a pod's member: that of the sandbox below `root`) and what
 * that has started.  Returns how many were found, at most USAGE_MAX. */
unsigned int usage_of(const char *root, const struct state *s, struct usage ret[static USAGE_MAX]);

#endif
