// SPDX-License-Identifier: Apache-2.0
#include "lib/timeline.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int timeline_fd = -1;

uint64_t monotonic_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void timeline_mark_at(const char *phase, uint64_t ns)
{
	const char *stop = getenv("CAISSON_STOP_AT");
	char line[128];
	int n;

	if (timeline_fd >= 0) {
		n = snprintf(line, sizeof(line), "%" PRIu64 " %s\n", ns, phase);
		/* A mark that cannot be written is lost: a start never fails for its timeline. */
		if (n > 0 && (size_t)n < sizeof(line) && write(timeline_fd, line, (size_t)n) < 0)
			timeline_fd = -1;
	}
	if (stop && strcmp(stop, phase) == 0)
		raise(SIGSTOP);
}

void timeline_mark(const char *phase)
{
	timeline_mark_at(phase, monotonic_ns());
}
