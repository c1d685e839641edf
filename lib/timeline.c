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

/* Marks from before there was a file. */
static char early[512];
static size_t early_size;

uint64_t monotonic_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* A mark that cannot be written is lost: a start never fails for its timeline. */
static void put(const char *line, size_t size)
{
	if (timeline_fd >= 0) {
		if (write(timeline_fd, line, size) < 0)
			timeline_fd = -1;
	} else if (size <= sizeof(early) - early_size) {
		memcpy(early + early_size, line, size);
		early_size += size;
	}
}

void timeline_begin(int fd)
{
	timeline_fd = fd;
	if (fd >= 0 && early_size)
		put(early, early_size);
	early_size = 0;
}

void timeline_mark_at(const char *phase, uint64_t ns)
{
	const char *stop = getenv("CAISSON_STOP_AT");
	char line[128];
	int n = snprintf(line, sizeof(line), "%" PRIu64 " %s\n", ns, phase);

	if (n > 0 && (size_t)n < sizeof(line))
		put(line, (size_t)n);
	if (stop && strcmp(stop, phase) == 0)
		raise(SIGSTOP);
}

void timeline_mark(const char *phase)
{
	timeline_mark_at(phase, monotonic_ns());
}
