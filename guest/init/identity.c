// SPDX-License-Identifier: Apache-2.0
#include "guest/init/identity.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/cleanup.h"

/* What a process gets that asks for nothing, as Debian's init gives it. */
static const struct rlimit default_nofile = {1024, 524288};

int identity_set_limits(const struct spec_process *p, struct error *err)
{
	if (setrlimit(RLIMIT_NOFILE, &default_nofile) < 0)
		return error_errno(err, "set RLIMIT_NOFILE");
	for (uint32_t i = 0; i < p->rlimits_n; i++) {
		const struct spec_rlimit *r = &p->rlimits[i];
		struct rlimit limit = {.rlim_cur = r->soft, .rlim_max = r->hard};

		if (syscall(SYS_prlimit64, 0, r->resource, &limit, NULL) < 0)
			return error_errno(err, "set resource limit %u to %llu:%llu", r->resource,
					   (unsigned long long)r->soft,
					   (unsigned long long)r->hard);
	}
	umask(p->umask == UINT32_MAX ? 0022 : p->umask & 07777);
	return 0;
}

static bool has_cap(uint64_t set, unsigned int cap)
{
	return set >> cap & 1;
}

static bool seals_with_admin(const struct spec_process *p)
{
	return p->seccomp.size && !p->no_new_privileges;
}

static int drop_bounding(const struct spec_process *p, struct error *err)
{
	for (unsigned int cap = 0; cap < 64; cap++) {
		if (has_cap(p->caps[CAPS_BOUNDING], cap))
			continue;
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0)
			continue;
		if (errno == EINVAL)
			break; /* past the last capability of this kernel */
		return error_errno(err, "drop capability %u from the bounding set", cap);
	}
	return 0;
}

static int set_caps(const struct spec_process *p, uint64_t extra, struct error *err)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	uint64_t e = p->caps[CAPS_EFFECTIVE] | extra, m = p->caps[CAPS_PERMITTED] | extra;
	uint64_t i = p->caps[CAPS_INHERITABLE];
	const struct __user_cap_data_struct data[2] = {
		{(uint32_t)e, (uint32_t)m, (uint32_t)i},
		{(uint32_t)(e >> 32), (uint32_t)(m >> 32), (uint32_t)(i >> 32)},
	};

	if (syscall(SYS_capset, &header, data) < 0)
		return error_errno(err, "set capabilities");
	return 0;
}

static int raise_ambient(const struct spec_process *p, struct error *err)
{
	for (unsigned int cap = 0; cap < 64; cap++) {
		if (!has_cap(p->caps[CAPS_AMBIENT], cap))
			continue;
		if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) < 0 && errno != EINVAL)
			return error_errno(err, "raise ambient capability %u", cap);
	}
	return 0;
}

static int set_user(const struct spec_process *p, struct error *err)
{
	_Static_assert(sizeof(gid_t) == sizeof(p->gids[0]), "a gid is a u32");

	if (setgroups(p->gids_n, p->gids) < 0)
		return error_errno(err, "set %u supplementary groups", p->gids_n);
	if (setresgid(p->gid, p->gid, p->gid) < 0)
		return error_errno(err, "set group %u", p->gid);
	if (setresuid(p->uid, p->uid, p->uid) < 0)
		return error_errno(err, "set user %u", p->uid);
	return 0;
}

int identity_assume(const struct spec_process *p, struct error *err)
{
	if (drop_bounding(p, err) < 0)
		return -err->code;
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		return error_errno(err, "keep capabilities");
	if (set_user(p, err) < 0)
		return -err->code;
	if (prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) < 0)
		return error_errno(err, "stop keeping capabilities");
	if (set_caps(p, seals_with_admin(p) ? 1ULL << CAP_SYS_ADMIN : 0, err) < 0 ||
	    raise_ambient(p, err) < 0)
		return -err->code;
	if (p->no_new_privileges && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return error_errno(err, "set no_new_privs");
	return 0;
}

/*
 * Without no_new_privs a filter takes CAP_SYS_ADMIN, and the call that drops it
 * again is then subject to the filter; with it nothing but execve(2) is.
 */
int identity_seal(const struct spec_process *p, struct error *err)
{
	const struct sock_fprog prog = {
		.len = (unsigned short)(p->seccomp.size / sizeof(struct sock_filter)),
		.filter = (struct sock_filter *)(void *)p->seccomp.data,
	};

	if (!p->seccomp.size)
		return 0;
	if (p->seccomp_flags & SECCOMP_FILTER_FLAG_NEW_LISTENER)
		return error_set(err, ENOTSUP, "seccomp: notification is not supported");
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, p->seccomp_flags, &prog) < 0)
		return error_errno(err, "install the seccomp filter");
	return seals_with_admin(p) ? set_caps(p, 0, err) : 0;
}
