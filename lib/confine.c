// SPDX-License-Identifier: Apache-2.0
#include "lib/confine.h"

#include <errno.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/cleanup.h"

static const int libc_needs[] = {
	SCMP_SYS(brk),		 SCMP_SYS(munmap),	   SCMP_SYS(mremap),
	SCMP_SYS(madvise),							      /* malloc */
	SCMP_SYS(rt_sigreturn),	 SCMP_SYS(rt_sigprocmask), SCMP_SYS(restart_syscall), /* signals */
	SCMP_SYS(clock_gettime), SCMP_SYS(gettimeofday), /* where the vDSO falls back to calls */
	SCMP_SYS(getpid),	 SCMP_SYS(gettid),	   SCMP_SYS(tgkill), /* raise, abort */
	SCMP_SYS(futex),						     /* locks at exit */
	SCMP_SYS(exit_group),	 SCMP_SYS(exit),			     /* the end */
};

static void cleanup_filter(scmp_filter_ctx *ctx)
{
	if (*ctx)
		seccomp_release(*ctx);
}

#define _cleanup_filter_ _cleanup_(cleanup_filter)

static int refused(struct error *err, int rc, int nr)
{
	return error_set(err, -rc, "seccomp: call %d cannot be allowed", nr);
}

static int allow(scmp_filter_ctx ctx, const int *calls, size_t n, struct error *err)
{
	for (size_t i = 0; i < n; i++) {
		int rc;

		if (calls[i] == SCMP_SYS(ioctl))
			rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
					      SCMP_A1(SCMP_CMP_EQ, TIOCGWINSZ));
		else if (calls[i] == SCMP_SYS(kill))
			rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(kill), 1,
					      SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid()));
		else
			rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, calls[i], 0);
		if (rc < 0)
			return refused(err, rc, calls[i]);
	}
	return 0;
}

static int allow_calls(scmp_filter_ctx ctx, const struct confine_call *calls, size_t n,
		       struct error *err)
{
	for (size_t i = 0; i < n; i++) {
		const struct confine_call *c = &calls[i];
		int rc = c->arg ? seccomp_rule_add(ctx, SCMP_ACT_ALLOW, c->nr, 1,
						   SCMP_CMP(c->arg - 1, SCMP_CMP_EQ, c->value))
				: seccomp_rule_add(ctx, SCMP_ACT_ALLOW, c->nr, 0);

		/* Two lists may name the same. */
		if (rc < 0 && rc != -EEXIST)
			return refused(err, rc, c->nr);
	}
	return 0;
}

/* What every filter of ours has. */
static int begin(scmp_filter_ctx *ret, struct error *err)
{
	int rc;

	*ret = seccomp_init(SCMP_ACT_KILL_PROCESS);
	if (!*ret)
		return error_set(err, ENOMEM, "seccomp: out of memory");
	/* malloc */
	rc = seccomp_rule_add(*ret, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
			      SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	return rc < 0 ? refused(err, rc, SCMP_SYS(mmap))
		      : allow(*ret, libc_needs, ARRAY_SIZE(libc_needs), err);
}

static int load(scmp_filter_ctx ctx, struct error *err)
{
	int rc = seccomp_load(ctx);

	return rc < 0 ? error_set(err, -rc, "seccomp: the filter cannot be loaded") : 0;
}

int confine_syscalls(const int *allowed, size_t n, struct error *err)
{
	_cleanup_filter_ scmp_filter_ctx ctx = NULL;

#ifdef CAISSON_SANITIZED
	return 0;
#endif
	if (begin(&ctx, err) < 0 || allow(ctx, allowed, n, err) < 0)
		return -err->code;
	return load(ctx, err);
}

int confine_calls(const struct confine_call *a, size_t a_n, const struct confine_call *b,
		  size_t b_n, struct error *err)
{
	_cleanup_filter_ scmp_filter_ctx ctx = NULL;

#ifdef CAISSON_SANITIZED
	return 0;
#endif
	if (begin(&ctx, err) < 0 || allow_calls(ctx, a, a_n, err) < 0 ||
	    allow_calls(ctx, b, b_n, err) < 0)
		return -err->code;
	return load(ctx, err);
}
