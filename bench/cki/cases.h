/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The form of the programs here: PROGRAM ROUNDS [CASE COUNT].  For each round and case a line: its
 * name, and nanoseconds for one of its operations, by CLOCK_MONOTONIC.  Static: the same file runs
 * on the host and in a container.
 */
#ifndef BENCH_CKI_CASES_H
#define BENCH_CKI_CASES_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct bench_case {
	const char *name;
	void (*function)(uint64_t n); /* n operations */
	uint64_t count;
};

static inline uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static inline _Noreturn void failed(const char *what)
{
	perror(what);
	exit(1);
}

/* Numbers that are the same in each run (xorshift64*). */
static inline uint64_t random_next(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*state = x;
	return x * 0x2545f4914f6cdd1dull;
}

static inline int run_cases(const struct bench_case *cases, size_t n_cases, int argc, char **argv)
{
	const int rounds = argc > 1 ? atoi(argv[1]) : 1;

	for (int round = 0; round < rounds; round++)
		for (size_t i = 0; i < n_cases; i++) {
			uint64_t n = cases[i].count, start;

			if (argc > 2 && strcmp(argv[2], cases[i].name) != 0)
				continue;
			if (argc > 3)
				n = strtoull(argv[3], NULL, 0);
			start = now();
			cases[i].function(n);
			printf("%s %.1f\n", cases[i].name, (double)(now() - start) / (double)n);
			fflush(stdout);
		}
	return 0;
}

#endif
