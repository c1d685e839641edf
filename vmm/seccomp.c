// SPDX-License-Identifier: Apache-2.0
#include "vmm/seccomp.h"

#include <errno.h>
#include <seccomp.h>

#include "lib/cleanup.h"

static const int allowed[] = {
	SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait), /* the loop */
	SCMP_SYS(epoll_ctl),			     /* interest changes with the queues */
	SCMP_SYS(accept4),			     /* clients */
	SCMP_SYS(recvfrom), SCMP_SYS(sendto),	     /* frames, console */
	SCMP_SYS(read), SCMP_SYS(write),	     /* lifeline, signals, log, timeline */
	SCMP_SYS(close),			     /* clients that left */
	SCMP_SYS(wait4), SCMP_SYS(pidfd_send_signal), /* the guest's process */
	SCMP_SYS(clock_gettime), SCMP_SYS(gettimeofday), /* where the vDSO falls back to calls */
	SCMP_SYS(brk), SCMP_SYS(mmap), SCMP_SYS(munmap), SCMP_SYS(mremap), /* malloc */
	SCMP_SYS(madvise),						   /* malloc */
	SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigprocmask), SCMP_SYS(restart_syscall), /* signals */
	SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(tgkill), /* raise: test stops, abort */
	SCMP_SYS(exit_group), SCMP_SYS(exit),		      /* the end */
	SCMP_SYS(futex),				      /* libc's locks at exit */
};

static void cleanup_filter(scmp_filter_ctx *ctx)
{
	if (*ctx)
		seccomp_release(*ctx);
}

int vmm_seccomp(struct error *err)
{
	_cleanup_(cleanup_filter) scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int rc;

	if (!ctx)
		return error_set(err, ENOMEM, "seccomp: out of memory");
	for (size_t i = 0; i < ARRAY_SIZE(allowed); i++) {
		rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, allowed[i], 0);
		if (rc < 0)
			return error_set(err, -rc, "seccomp: rule %zu cannot be added", i);
	}
	rc = seccomp_load(ctx);
	if (rc < 0)
		return error_set(err, -rc, "seccomp: the filter cannot be loaded");
	return 0;
}
