// SPDX-License-Identifier: Apache-2.0
/*
 * The init of a guest kernel that is tried in ring 1: each step is what a kernel does for its
 * processes, and says "ok NAME" or "not ok NAME" in the kernel's log, which is the console.
 * The last word is "done"; then the machine is powered off.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096ul

static int log_fd = -1;

static void say(const char *fmt, ...)
{
	char line[256];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (write(log_fd, line, (size_t)n) < 0)
		_exit(1);
}

static bool child_exits_with(int status, int (*function)(void))
{
	int got;
	pid_t pid = fork();

	if (pid == 0)
		_exit(function());
	return pid > 0 && waitpid(pid, &got, 0) == pid && WIFEXITED(got) &&
	       WEXITSTATUS(got) == status;
}

static bool child_dies_of(int signal, int (*function)(void))
{
	int got;
	pid_t pid = fork();

	if (pid == 0)
		_exit(function());
	return pid > 0 && waitpid(pid, &got, 0) == pid && WIFSIGNALED(got) &&
	       WTERMSIG(got) == signal;
}

/* --- Memory --- */

static bool step_faults(void)
{
	const size_t n = 2048;
	uint8_t *p = mmap(NULL, n * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			  0);
	unsigned int sum = 0;

	if (p == MAP_FAILED)
		return false;
	madvise(p, n * PAGE, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < n; i++)
		p[i * PAGE] = (uint8_t)i;
	for (size_t i = 0; i < n; i++)
		sum += p[i * PAGE] == (uint8_t)i;
	return sum == n && munmap(p, n * PAGE) == 0;
}

static bool step_huge(void)
{
	const size_t size = 16ul << 20;
	uint8_t *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return false;
	madvise(p, size, MADV_HUGEPAGE);
	memset(p, 0x5a, size);
	/* Split them. */
	for (size_t i = 0; i < size; i += 5 * PAGE)
		if (mprotect(p + i, PAGE, PROT_READ) < 0 || p[i] != 0x5a)
			return false;
	return munmap(p, size) == 0;
}

static bool step_copy_on_write(void)
{
	uint64_t *p = mmap(NULL, 64 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			   0);
	int status;
	pid_t pid;

	for (int i = 0; i < 64; i++)
		p[i * 512] = (uint64_t)i;
	pid = fork();
	if (pid == 0) {
		for (int i = 0; i < 64; i++) {
			if (p[i * 512] != (uint64_t)i)
				_exit(1);
			p[i * 512] = 1000;
		}
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid || status != 0)
		return false;
	for (int i = 0; i < 64; i++)
		if (p[i * 512] != (uint64_t)i)
			return false;
	return munmap(p, 64 * PAGE) == 0;
}

static int touch_null(void)
{
	*(volatile int *)8 = 1; // NOLINT: what is tried
	return 0;
}

static int touch_kernel(void)
{
	return *(volatile int *)0xffffffff81000000;
}

static int touch_monitor(void)
{
	return *(volatile int *)0xfffffe7fffe03000;
}

static int write_read_only(void)
{
	uint8_t *p = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	*(volatile uint8_t *)p = 1;
	return 0;
}

static bool step_segfaults(void)
{
	return child_dies_of(SIGSEGV, touch_null) && child_dies_of(SIGSEGV, touch_kernel) &&
	       child_dies_of(SIGSEGV, touch_monitor) && child_dies_of(SIGSEGV, write_read_only);
}

/* --- Exceptions and signals --- */

static volatile sig_atomic_t caught;
static sigjmp_buf back;

static void on_signal(int signal)
{
	caught = signal;
}

static void on_fault(int signal)
{
	caught = signal;
	siglongjmp(back, 1);
}

static bool step_signals(void)
{
	struct sigaction action = {.sa_handler = on_signal};
	struct timespec wait = {.tv_nsec = 1000000};
	const struct itimerval soon = {.it_value = {.tv_usec = 20000}};

	sigaction(SIGUSR1, &action, NULL);
	sigaction(SIGALRM, &action, NULL);
	caught = 0;
	raise(SIGUSR1);
	if (caught != SIGUSR1)
		return false;
	setitimer(ITIMER_REAL, &soon, NULL);
	for (int i = 0; i < 5000 && caught != SIGALRM; i++)
		nanosleep(&wait, NULL);
	if (caught != SIGALRM)
		return false;
	/* Again, in a loop that makes no system call. */
	caught = 0;
	setitimer(ITIMER_REAL, &soon, NULL);
	for (uint64_t i = 0; i < 20000000000u && !caught; i++)
		__asm__ volatile("" : : : "memory");
	return caught == SIGALRM;
}

static bool faults_with(int signal, void (*function)(void))
{
	struct sigaction action = {.sa_handler = on_fault, .sa_flags = SA_NODEFER};

	sigaction(signal, &action, NULL);
	caught = 0;
	if (sigsetjmp(back, 1) == 0)
		function();
	signal = caught == signal;
	return signal;
}

static void do_ud2(void)
{
	__asm__ volatile("ud2");
}

static void do_int3(void)
{
	__asm__ volatile("int3");
}

static void do_hlt(void)
{
	__asm__ volatile("hlt");
}

static void do_divide(void)
{
	volatile int zero = 0;

	__asm__ volatile("xorl %%edx, %%edx; movl $1, %%eax; idivl %0"
			 :
			 : "r"(zero)
			 : "eax", "edx");
}

static void do_wild_jump(void)
{
	__asm__ volatile("movabsq $0x8000000000000000, %%rax; jmp *%%rax" : : : "rax");
}

static bool step_exceptions(void)
{
	return faults_with(SIGILL, do_ud2) && faults_with(SIGTRAP, do_int3) &&
	       faults_with(SIGSEGV, do_hlt) && faults_with(SIGFPE, do_divide) &&
	       faults_with(SIGSEGV, do_wild_jump);
}

static int bad_return(void)
{
	struct sigaction action = {.sa_handler = on_signal};

	sigaction(SIGUSR1, &action, NULL);
	/* A frame for the return to ring 3 that no CPU takes: CS, and a RIP that is no address. */
	__asm__ volatile("subq $1024, %%rsp\n"
			 "movq %%rsp, %%rdi\n"
			 "movl $128, %%ecx\n"
			 "xorl %%eax, %%eax\n"
			 "rep stosq\n"
			 "movabsq $0x8000000000000000, %%rax\n"
			 "movq %%rax, 168(%%rsp)\n" /* uc_mcontext.rip */
			 "movq $0x33, 184(%%rsp)\n"
			 "movl $15, %%eax\n" /* rt_sigreturn */
			 "syscall"
			 :
			 :
			 : "rdi", "rcx", "rax", "memory");
	return 0;
}

static bool step_bad_return(void)
{
	return child_dies_of(SIGSEGV, bad_return);
}

static bool step_single_step(void)
{
	int status, steps = 0;
	pid_t pid = fork();

	if (pid == 0) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		for (volatile int i = 0; i < 200; i++)
			getppid();
		_exit(7);
	}
	if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
		return false;
	while (steps < 200) {
		if (ptrace(PTRACE_SINGLESTEP, pid, 0, 0) < 0 || waitpid(pid, &status, 0) != pid)
			return false;
		if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP)
			return false;
		steps++;
	}
	ptrace(PTRACE_CONT, pid, 0, 0);
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 7;
}

/* --- Processes and threads --- */

static int exit_seven(void)
{
	return 7;
}

static bool step_fork(void)
{
	for (int i = 0; i < 50; i++)
		if (!child_exits_with(7, exit_seven))
			return false;
	return true;
}

static int exec_self(void)
{
	execl("/init", "/init", "exec", (char *)NULL);
	return 1;
}

static bool step_exec(void)
{
	for (int i = 0; i < 10; i++)
		if (!child_exits_with(42, exec_self))
			return false;
	return true;
}

static bool step_pipe(void)
{
	int to[2], from[2], status;
	char c = 0;
	pid_t pid;

	if (pipe(to) < 0 || pipe(from) < 0)
		return false;
	pid = fork();
	if (pid == 0) {
		for (int i = 0; i < 200; i++)
			if (read(to[0], &c, 1) != 1 || write(from[1], &c, 1) != 1)
				_exit(1);
		_exit(0);
	}
	for (int i = 0; i < 200; i++) {
		char sent = (char)i;

		if (write(to[1], &sent, 1) != 1 || read(from[0], &c, 1) != 1 || c != sent)
			return false;
	}
	for (int i = 0; i < 2; i++) {
		close(to[i]);
		close(from[i]);
	}
	return waitpid(pid, &status, 0) == pid && status == 0;
}

static __thread uint64_t own;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static uint64_t counted;

static void *count(void *arg)
{
	for (int i = 0; i < 2000; i++) {
		own += (uint64_t)(uintptr_t)arg;
		pthread_mutex_lock(&mutex);
		counted++;
		pthread_mutex_unlock(&mutex);
		if (i % 100 == 0)
			sched_yield();
	}
	return (void *)(uintptr_t)own;
}

static bool step_threads(void)
{
	pthread_t t[8];
	bool good = true;

	for (uintptr_t i = 0; i < 8; i++)
		if (pthread_create(&t[i], NULL, count, (void *)(i + 1)))
			return false;
	for (uintptr_t i = 0; i < 8; i++) {
		void *value;

		pthread_join(t[i], &value);
		good = good && (uintptr_t)value == 2000 * (i + 1);
	}
	return good && counted == 16000;
}

static int compute(void)
{
	double x = 1.0, y = (double)getpid();

	for (int i = 0; i < 300000; i++) {
		x = x * 1.0000001 + y;
		y = y * 0.9999999 - 0.5;
	}
	return x == x && y < 0 ? (int)((uint64_t)(x < 0 ? -x : x) & 63) : 64;
}

/* Two at a time, each must find its own registers of SSE again. */
static bool step_fpu(void)
{
	pid_t pids[4];
	bool good = true;

	for (int i = 0; i < 4; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			uint64_t in[2] = {(uint64_t)i + 1, ~(uint64_t)i}, out[2];

			__asm__ volatile("movups %0, %%xmm9" : : "m"(in) : "xmm9");
			for (int n = 0; n < 50; n++) {
				for (volatile int k = 0; k < 20000; k++)
					;
				sched_yield();
			}
			__asm__ volatile("movups %%xmm9, %0" : "=m"(out));
			_exit(memcmp(in, out, sizeof(in)) ? 1 : 0);
		}
	}
	for (int i = 0; i < 4; i++) {
		int status;

		good = waitpid(pids[i], &status, 0) == pids[i] && status == 0 && good;
	}
	return good && compute() < 64;
}

/* --- Time --- */

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static bool step_time(void)
{
	const struct timespec wait = {.tv_nsec = 50000000};
	const double start = now();
	time_t day = time(NULL);

	for (int i = 0; i < 5; i++)
		nanosleep(&wait, NULL);
	return now() - start >= 0.25 && now() - start < 10 && day > 1700000000;
}

/* --- What it costs; said, not judged --- */

static void say_cost(const char *what, double start, int n)
{
	say("cost %s %.1f us\n", what, (now() - start) / n * 1e6);
}

static void costs(void)
{
	double start = now();

	for (int i = 0; i < 20000; i++)
		getppid();
	say_cost("getppid", start, 20000);
	start = now();
	step_faults();
	say_cost("page-fault", start, 2048);
	start = now();
	for (int i = 0; i < 50; i++)
		child_exits_with(7, exit_seven);
	say_cost("fork-exit-wait", start, 50);
	start = now();
	for (int i = 0; i < 20; i++)
		child_exits_with(42, exec_self);
	say_cost("fork-exec-exit-wait", start, 20);
	start = now();
	step_pipe();
	say_cost("pipe-ping-pong", start, 200);
}

static const struct {
	const char *name;
	bool (*function)(void);
} steps[] = {
	{"faults", step_faults},
	{"segfaults", step_segfaults},
	{"fork", step_fork},
	{"copy-on-write", step_copy_on_write},
	{"exec", step_exec},
	{"pipe", step_pipe},
	{"time", step_time},
	{"signals", step_signals},
	{"exceptions", step_exceptions},
	{"bad-return", step_bad_return},
	{"single-step", step_single_step},
	{"threads", step_threads},
	{"fpu", step_fpu},
	{"huge-pages", step_huge},
};

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "exec") == 0)
		return 42;
	mkdir("/dev", 0755);
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	log_fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	say("init runs\n");
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		say("%s %s\n", steps[i].function() ? "ok" : "not ok", steps[i].name);
	costs();
	say("done\n");
	reboot(RB_POWER_OFF);
	return 1;
}
