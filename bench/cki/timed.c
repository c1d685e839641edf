// SPDX-License-Identifier: Apache-2.0
/*
 * timed TIMES NAME PROGRAM [ARGUMENT...]: runs a program again and again; a line for each but the
 * first time, which is for caches: NAME and nanoseconds by CLOCK_MONOTONIC from its fork to its
 * end.  What it prints goes to standard error.
 */
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cases.h"

int main(int argc, char **argv)
{
	const int times = argc > 3 ? atoi(argv[1]) : 0;

	if (times < 2) {
		fprintf(stderr, "timed TIMES NAME PROGRAM [ARGUMENT...]: at least twice\n");
		return 1;
	}
	/* As in memory.c. */
	if (prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) < 0)
		failed("PR_SET_THP_DISABLE");
	for (int i = 0; i < times; i++) {
		const uint64_t start = now();
		int status;
		pid_t pid = fork();

		if (pid == 0) {
			dup2(2, 1);
			execv(argv[3], argv + 3);
			perror(argv[3]);
			_exit(127);
		}
		if (pid < 0 || waitpid(pid, &status, 0) != pid)
			failed("a child");
		if (status != 0) {
			fprintf(stderr, "timed: %s: status %#x\n", argv[2], (unsigned int)status);
			return 1;
		}
		if (i > 0)
			printf("%s %.1f\n", argv[2], (double)(now() - start));
		fflush(stdout);
	}
	return 0;
}
