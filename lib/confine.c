// SPDX-License-Identifier: Apache-2.0
/*
 * The filters are written here, not by libseccomp: ours need comparisons with constants and no
 * more, one after the other, and every start waits for three of them.  libseccomp takes some
 * hundred times as long to order what needs no order.
 */
#include "lib/confine.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/cleanup.h"

#if !defined(__x86_64__)
#error "the numbers and the order of an argument's halves are those of x86-64"
#endif

/* Instructions: more than any list of ours takes; the kernel's own limit is 4096. */
#define FILTER_MAX 1024

static const int libc_needs[] = {
	SYS_brk,	   SYS_munmap,	       SYS_mremap,	    SYS_madvise, /* malloc */
	SYS_rt_sigreturn,  SYS_rt_sigprocmask, SYS_restart_syscall,		 /* signals */
	SYS_clock_gettime, SYS_gettimeofday,		   /* where the vDSO falls back to calls */
	SYS_getpid,	   SYS_gettid,	       SYS_tgkill, /* raise, abort */
	SYS_futex,					   /* locks at exit */
	SYS_exit_group,	   SYS_exit,			   /* the end */
};

struct filter {
	struct sock_filter v[FILTER_MAX];
	unsigned short n;
	bool full;
};

static void put(struct filter *f, uint16_t code, uint32_t k, uint8_t if_true, uint8_t if_false)
{
	if (f->n == FILTER_MAX)
		f->full = true;
	else
		f->v[f->n++] = (struct sock_filter){code, if_true, if_false, k};
}

static void load(struct filter *f, size_t offset)
{
	put(f, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0);
}

static void load_number(struct filter *f)
{
	load(f, offsetof(struct seccomp_data, nr));
}

/* Half 0 is the low one. */
static void load_argument(struct filter *f, unsigned int arg, unsigned int half)
{
	load(f, offsetof(struct seccomp_data, args) + 8 * arg + 4 * half);
}

/* Goes on, or passes over so many instructions. */
static void unless_equal(struct filter *f, uint32_t k, uint8_t skip)
{
	put(f, BPF_JMP | BPF_JEQ | BPF_K, k, 0, skip);
}

static void end(struct filter *f, uint32_t action)
{
	put(f, BPF_RET | BPF_K, action, 0, 0);
}

static void allow(struct filter *f, int nr)
{
	unless_equal(f, (uint32_t)nr, 1);
	end(f, SECCOMP_RET_ALLOW);
}

static void allow_equal(struct filter *f, int nr, unsigned int arg, uint64_t value)
{
	unless_equal(f, (uint32_t)nr, 6);
	load_argument(f, arg, 0);
	unless_equal(f, (uint32_t)value, 3);
	load_argument(f, arg, 1);
	unless_equal(f, (uint32_t)(value >> 32), 1);
	end(f, SECCOMP_RET_ALLOW);
	load_number(f);
}

/* mmap(2) that makes nothing executable. */
static void allow_mmap(struct filter *f)
{
	unless_equal(f, SYS_mmap, 4);
	load_argument(f, 2, 0);
	put(f, BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 1, 0);
	end(f, SECCOMP_RET_ALLOW);
	load_number(f);
}

/* Whoever calls by another architecture's numbers is not us.  (x32's are above all of ours.) */
static void begin(struct filter *f)
{
	f->n = 0;
	f->full = false;
	load(f, offsetof(struct seccomp_data, arch));
	put(f, BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0);
	end(f, SECCOMP_RET_KILL_PROCESS);
	load_number(f);
}

static void allow_calls(struct filter *f, const struct confine_call *calls, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (calls[i].arg)
			allow_equal(f, calls[i].nr, calls[i].arg - 1, calls[i].value);
		else
			allow(f, calls[i].nr);
}

static void allow_syscalls(struct filter *f, const int *calls, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (calls[i] == SYS_ioctl)
			allow_equal(f, SYS_ioctl, 1, TIOCGWINSZ);
		else if (calls[i] == SYS_kill)
			allow_equal(f, SYS_kill, 0, (uint64_t)getpid());
		else
			allow(f, calls[i]);
}

/* What every filter of ours ends with; last, since it is seldom called. */
static int install(struct filter *f, struct error *err)
{
	struct sock_fprog program = {.filter = f->v};

	allow_syscalls(f, libc_needs, ARRAY_SIZE(libc_needs));
	allow_mmap(f);
	end(f, SECCOMP_RET_KILL_PROCESS);
	program.len = f->n;
	if (f->full)
		return error_set(err, E2BIG, "seccomp: more calls than a filter holds");
#ifdef CAISSON_SANITIZED
	return 0;
#endif
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0)
		return error_errno(err, "seccomp: install a filter");
	return 0;
}

int confine_syscalls(const int *allowed, size_t n, struct error *err)
{
	struct filter f;

	begin(&f);
	allow_syscalls(&f, allowed, n);
	return install(&f, err);
}

int confine_calls(const struct confine_call *a, size_t a_n, const struct confine_call *b,
		  size_t b_n, struct error *err)
{
	struct filter f;

	begin(&f);
	allow_calls(&f, a, a_n);
	allow_calls(&f, b, b_n);
	return install(&f, err);
}
