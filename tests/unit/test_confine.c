// SPDX-License-Identifier: Apache-2.0
/* Confinement, seen from a child that tries: what is named works, all else kills. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/cleanup.h"
#include "lib/confine.h"

#define KILLED (128 + SIGSYS)
#define OTHER_HALF (1ull << 32)
#define X32 0x40000000

static const struct confine_call first[] = {
	{SYS_write},
	{SYS_ioctl, CONFINE_ARG(1, FIONREAD)},
	{SYS_prctl, CONFINE_ARG(1, 0x123456789abcull)},
};
static const struct confine_call second[] = {
	{SYS_getppid},
	{SYS_write}, /* the same again */
	{SYS_ioctl, CONFINE_ARG(1, FIOCLEX)},
};

struct
try {
	const char *what;
	long nr, arg[4];
	int status; /* as a shell shows it */
};

static const struct try tries[] = {
	{"named", SYS_getppid, {0}, 0},
	{"named twice", SYS_write, {-1, 0, 0}, 0},
	{"what libc needs", SYS_getpid, {0}, 0},
	{"not named", SYS_openat, {AT_FDCWD, 0, 0}, KILLED},
	{"not named, a new process", SYS_clone, {SIGCHLD, 0, 0}, KILLED},
	{"with its argument", SYS_ioctl, {-1, FIONREAD, 0}, 0},
	{"with the other list's", SYS_ioctl, {-1, FIOCLEX, 0}, 0},
	{"with another argument", SYS_ioctl, {-1, TIOCSTI, 0}, KILLED},
	{"with more in the other half", SYS_ioctl, {-1, FIONREAD | (long)OTHER_HALF, 0}, KILLED},
	{"with all 64 bits", SYS_prctl, {0, 0x123456789abc}, 0},
	{"with half of the bits", SYS_prctl, {0, 0x56789abc}, KILLED},
	{"with the other half of them", SYS_prctl, {0, 0x123400000000}, KILLED},
	{"a number of x32", SYS_getppid | X32, {0}, KILLED},
	{"memory", SYS_mmap, {0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS}, 0},
	{"code", SYS_mmap, {0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS}, KILLED},
	{"code made of data", SYS_mprotect, {0, 4096, PROT_EXEC}, KILLED},
};

static int outcome(pid_t pid)
{
	int status;

	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static int with_arguments(const struct try *t)
{
	struct error err = {0};
	pid_t pid = fork();

	if (pid == 0) {
		if (confine_calls(first, ARRAY_SIZE(first), second, ARRAY_SIZE(second), &err) < 0)
			_exit(1);
		syscall(t->nr, t->arg[0], t->arg[1], t->arg[2], t->arg[3], -1, 0);
		_exit(0);
	}
	return outcome(pid);
}

static void test_calls(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(tries); i++) {
		int status = with_arguments(&tries[i]);

		if (status != tries[i].status)
			fail_msg("%s: %d, not %d", tries[i].what, status, tries[i].status);
	}
}

/* By int 0x80 the numbers are another architecture's: 64 is getppid(2) there. */
static void test_other_architecture(void **state)
{
	struct error err = {0};
	pid_t pid = fork();
	long ret;

	(void)state;
	if (pid == 0) {
		if (confine_calls(first, ARRAY_SIZE(first), second, ARRAY_SIZE(second), &err) < 0)
			_exit(1);
		__asm__ volatile("int $0x80" : "=a"(ret) : "a"(64) : "memory");
		_exit(0);
	}
	assert_int_equal(outcome(pid), KILLED);
}

static int plain(long nr, long a, long b)
{
	static const int allowed[] = {SYS_ioctl, SYS_kill};
	struct error err = {0};
	pid_t pid = fork();

	if (pid == 0) {
		if (confine_syscalls(allowed, ARRAY_SIZE(allowed), &err) < 0)
			_exit(1);
		syscall(nr, a ? a : getpid(), b);
		_exit(0);
	}
	return outcome(pid);
}

/* The short form permits of these two only what a proxy does. */
static void test_syscalls(void **state)
{
	(void)state;
	assert_int_equal(plain(SYS_ioctl, -1, TIOCGWINSZ), 0);
	assert_int_equal(plain(SYS_ioctl, -1, TIOCSTI), KILLED);
	assert_int_equal(plain(SYS_kill, 0, 0), 0);
	assert_int_equal(plain(SYS_kill, 1, 0), KILLED);
	assert_int_equal(plain(SYS_write, -1, 0), KILLED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_calls),
		cmocka_unit_test(test_other_architecture),
		cmocka_unit_test(test_syscalls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
