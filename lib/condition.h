/* SPDX-License-Identifier: Apache-2.0 */
/* Condition variables whose waits are bounded by a clock that nobody sets (CLOCK_MONOTONIC). */
#ifndef CAISSON_CONDITION_H
#define CAISSON_CONDITION_H

#include <pthread.h>
#include <time.h>

static inline void condition_init(pthread_cond_t *c)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(c, &attr);
	pthread_condattr_destroy(&attr);
}

/* For pthread_cond_timedwait(): so many milliseconds from now. */
static inline struct timespec condition_deadline(int ms)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += ms / 1000 + (t.tv_nsec + ms % 1000 * 1000000l) / 1000000000;
	t.tv_nsec = (t.tv_nsec + ms % 1000 * 1000000l) % 1000000000;
	return t;
}

#endif
