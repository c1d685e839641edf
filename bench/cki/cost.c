// SPDX-License-Identifier: Apache-2.0
/* cost: what a kernel takes for what processes ask of it most. */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cases.h"

#define PAGE 4096ul
#define RING 8

static const char *self;

static void wait_for(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) <= 0 || status != 0)
		failed("a child");
}

static void do_getpid(uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		syscall(SYS_getpid);
}

static uint8_t *map(uint64_t pages)
{
	uint8_t *p = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			  -1, 0);

	if (p == MAP_FAILED)
		failed("mmap");
	madvise(p, pages * PAGE, MADV_NOHUGEPAGE);
	return p;
}

/* First touches, each of a page; mapping and unmapping are in the time. */
static void do_fault(uint64_t n)
{
	uint8_t *p = map(n);

	for (uint64_t i = 0; i < n; i++)
		p[i * PAGE] = 1;
	munmap(p, n * PAGE);
}

/* First writes to pages that a child shares. */
static void do_copy(uint64_t n)
{
	uint8_t *p = map(n);
	pid_t pid;

	memset(p, 1, n * PAGE);
	pid = fork();
	if (pid == 0) {
		for (uint64_t i = 0; i < n; i++)
			p[i * PAGE] = 2;
		_exit(0);
	}
	wait_for(pid);
	munmap(p, n * PAGE);
}

static void do_mmap(uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		uint8_t *p = map(16);

		p[0] = 1;
		munmap(p, 16 * PAGE);
	}
}

static void do_mprotect(uint64_t n)
{
	uint8_t *p = map(64);

	memset(p, 1, 64 * PAGE);
	for (uint64_t i = 0; i < n; i++)
		mprotect(p, 64 * PAGE, i & 1 ? PROT_READ | PROT_WRITE : PROT_READ);
	munmap(p, 64 * PAGE);
}

static void do_fork(uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(0);
		wait_for(pid);
	}
}

/* The same of a process that has 8 MiB of its own. */
static void do_fork_large(uint64_t n)
{
	uint8_t *p = map(2048);

	for (uint64_t i = 0; i < 2048; i++)
		p[i * PAGE] = 1;
	do_fork(n);
	munmap(p, 2048 * PAGE);
}

static void do_exec(uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			execl(self, self, "0", (char *)NULL);
			_exit(1);
		}
		wait_for(pid);
	}
}

static void do_pipe(uint64_t n)
{
	int to[2], from[2];
	char c = 0;
	pid_t pid;

	if (pipe(to) < 0 || pipe(from) < 0)
		failed("pipe");
	pid = fork();
	if (pid == 0) {
		for (uint64_t i = 0; i < n; i++)
			if (read(to[0], &c, 1) != 1 || write(from[1], &c, 1) != 1)
				_exit(1);
		_exit(0);
	}
	for (uint64_t i = 0; i < n; i++)
		if (write(to[1], &c, 1) != 1 || read(from[0], &c, 1) != 1)
			failed("pipe");
	wait_for(pid);
	for (int i = 0; i < 2; i++) {
		close(to[i]);
		close(from[i]);
	}
}

/* A byte that goes round among eight processes, as in lmbench's lat_ctx: n changes of process. */
static void do_switch(uint64_t n)
{
	int pipes[RING][2];
	char c = 0;

	for (int i = 0; i < RING; i++)
		if (pipe(pipes[i]) < 0)
			failed("pipe");
	for (int i = 1; i < RING; i++) {
		pid_t pid = fork();

		if (pid < 0)
			failed("fork");
		if (pid > 0)
			continue;
		for (uint64_t k = 0; k < n / RING; k++)
			if (read(pipes[i - 1][0], &c, 1) != 1 || write(pipes[i][1], &c, 1) != 1)
				_exit(1);
		_exit(0);
	}
	for (uint64_t k = 0; k < n / RING; k++)
		if (write(pipes[0][1], &c, 1) != 1 || read(pipes[RING - 1][0], &c, 1) != 1)
			failed("pipe");
	for (int i = 1; i < RING; i++)
		wait_for(-1);
	for (int i = 0; i < RING; i++) {
		close(pipes[i][0]);
		close(pipes[i][1]);
	}
}

static const struct bench_case cases[] = {
	{"getpid", do_getpid, 20000},
	{"fault", do_fault, 2048},
	{"copy", do_copy, 512},
	{"mmap", do_mmap, 300},
	{"mprotect", do_mprotect, 200},
	{"fork", do_fork, 50},
	{"fork-large", do_fork_large, 10},
	{"exec", do_exec, 20},
	{"pipe", do_pipe, 500},
	{"switch", do_switch, 1600},
};

int main(int argc, char **argv)
{
	self = "/proc/self/exe";
	return run_cases(cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
}
