// SPDX-License-Identifier: Apache-2.0
#include "vmm/jail.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <linux/securebits.h>
#include <sched.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/cleanup.h"

/*
 * What QEMU's 9p server needs to act for every owner in the guest, and why:
 * CHOWN      gives a new file to the guest's user
 * DAC_OVERRIDE   the guest's kernel has checked the mode bits already
 * FOWNER     chmod, utimes and O_NOATIME on files of other owners
 * FSETID     keeps set-group-ID bits that the guest's kernel decided to keep
 * There is no MKNOD: a device node in a shared directory would be one on the host.  And no
 * DAC_READ_SEARCH, which adds nothing to DAC_OVERRIDE but open_by_handle_at(2): any file of the
 * file system that a share is a part of.
 */
static const uint64_t file_caps = 1ull << CAP_CHOWN | 1ull << CAP_DAC_OVERRIDE |
				  1ull << CAP_FOWNER | 1ull << CAP_FSETID;

/* What virtiofsd needs on top: it creates a file as the guest's user, by becoming that one for the
 * call... */
static const uint64_t user_caps = 1ull << CAP_SETUID | 1ull << CAP_SETGID;
/* ... and one version of it locks itself up further: its root becomes the shares, and these go. */
static const uint64_t setup_caps = 1ull << CAP_SYS_CHROOT | 1ull << CAP_SETPCAP;

int jail_uid(uid_t *ret, struct error *err)
{
	char pid[32];
	ssize_t n = readlink("/proc/self", pid, sizeof(pid) - 1);
	char *end;
	long number;

	if (n <= 0)
		return error_errno(err, "read '/proc/self'");
	pid[n] = 0;
	number = strtol(pid, &end, 10);
	if (*end || number <= 0 || number > 1l << 22) /* PID_MAX_LIMIT */
		return error_set(err, EIO, "'/proc/self' is '%s'", pid);
	*ret = 0x70000000u + (uid_t)number;
	return 0;
}

static int attach(const char *host, const char *where, unsigned long flags, uint64_t attrs,
		  struct error *err)
{
	struct mount_attr attr = {.attr_set = attrs};

	if (mount(host, where, NULL, MS_BIND | flags, NULL) < 0)
		return error_errno(err, "bind '%s'", host);
	/* The whole tree at once: a read-only share stays so in its sub-mounts. */
	if (syscall(SYS_mount_setattr, AT_FDCWD, where, AT_RECURSIVE, &attr, sizeof(attr)) < 0)
		return error_errno(err, "set attributes of '%s'", host);
	return 0;
}

/* An empty file or directory to bind on. */
static int make_point(const char *path, bool dir, struct error *err)
{
	_cleanup_close_ int fd = -1;

	if (dir) {
		if (mkdir(path, 0755) < 0)
			return error_errno(err, "mkdir '%s'", path);
		return 0;
	}
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0)
		return error_errno(err, "create '%s'", path);
	return 0;
}

static int add_bind(const struct jail *j, const struct jail_bind *b, struct error *err)
{
	uint64_t attrs = MOUNT_ATTR_NOSUID;
	char where[4096], target[4096];
	struct stat st;
	ssize_t n;

	snprintf(where, sizeof(where), "%s%s", j->dir, b->name);
	if (lstat(b->host, &st) < 0) {
		if (b->optional && errno == ENOENT)
			return 0;
		return error_errno(err, "'%s'", b->host);
	}
	/* /lib -> usr/lib and the like: the link is all that is needed. */
	if (S_ISLNK(st.st_mode) && strcmp(b->host, b->name) == 0) {
		n = readlink(b->host, target, sizeof(target) - 1);
		if (n < 0)
			return error_errno(err, "readlink '%s'", b->host);
		target[n] = 0;
		if (symlink(target, where) < 0)
			return error_errno(err, "symlink '%s'", where);
		return 0;
	}
	if (stat(b->host, &st) < 0)
		return error_errno(err, "'%s'", b->host);
	if (make_point(where, S_ISDIR(st.st_mode), err) < 0)
		return -err->code;
	if (!b->writable)
		attrs |= MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV;
	return attach(b->host, where, 0, attrs, err);
}

static int add_share(const struct jail *j, unsigned int i, struct error *err)
{
	const struct machine_share *s = &j->shares[i];
	uint64_t attrs = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
	char where[4096];

	snprintf(where, sizeof(where), "%s/shares/%u", j->dir, i);
	if (make_point(where, s->is_dir, err) < 0)
		return -err->code;
	if (s->readonly)
		attrs |= MOUNT_ATTR_RDONLY;
	return attach(s->source, where, s->recursive ? MS_REC : 0, attrs, err);
}

/*
 * virtiofsd will not start without these files, even when it is told not to use what they say, and
 * a /proc of processes only has none of them.  So its /proc is a directory of ours with them and
 * the way to the real one.
 */
static int fake_proc(const struct jail *j, struct error *err)
{
	static const char *const dirs[] = {"/proc", "/proc/sys", "/proc/sys/fs"};
	static const char *const files[] = {"/proc/sys/fs/file-max", "/proc/sys/fs/nr_open"};
	char path[4096];

	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
		snprintf(path, sizeof(path), "%s%s", j->dir, dirs[i]);
		if (mkdir(path, 0755) < 0)
			return error_errno(err, "mkdir '%s'", path);
	}
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		_cleanup_close_ int fd = -1;

		snprintf(path, sizeof(path), "%s%s", j->dir, files[i]);
		fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
		if (fd < 0 || write(fd, "1048576\n", 8) != 8)
			return error_errno(err, "write '%s'", path);
	}
	snprintf(path, sizeof(path), "%s/proc/self", j->dir);
	if (symlink("../pids/self", path) < 0)
		return error_errno(err, "symlink '%s'", path);
	return 0;
}

static int add_proc(const struct jail *j, struct error *err)
{
	bool fake = j->caps >= JAIL_USER_CAPS;
	char path[4096];

	if (!j->proc)
		return 0;
	snprintf(path, sizeof(path), "%s/%s", j->dir, fake ? "pids" : "proc");
	if (mkdir(path, 0755) < 0 ||
	    mount("proc", path, "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY,
		  "subset=pid") < 0)
		return error_errno(err, "mount proc on '%s'", path);
	return fake ? fake_proc(j, err) : 0;
}

static int build_root(const struct jail *j, struct error *err)
{
	char path[4096];

	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return error_errno(err, "make mounts private");
	if (mount("tmpfs", j->dir, "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=0755,size=1m") < 0)
		return error_errno(err, "mount tmpfs on '%s'", j->dir);
	snprintf(path, sizeof(path), "%s/dev", j->dir);
	if (mkdir(path, 0755) < 0)
		return error_errno(err, "mkdir '%s'", path);
	snprintf(path, sizeof(path), "%s/shares", j->dir);
	if (mkdir(path, 0755) < 0)
		return error_errno(err, "mkdir '%s'", path);
	if (add_proc(j, err) < 0)
		return -err->code;
	for (unsigned int i = 0; i < j->binds_n; i++)
		if (add_bind(j, &j->binds[i], err) < 0)
			return -err->code;
	for (unsigned int i = 0; i < j->shares_n; i++)
		if (add_share(j, i, err) < 0)
			return error_wrap(err, "share %u", i);
	if (mount(NULL, j->dir, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID, NULL) < 0)
		return error_errno(err, "make '%s' read-only", j->dir);
	/* pivot_root(2) with both arguments the same: the old root ends up on top of the new one,
	 * and is taken off. */
	if (chdir(j->dir) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 ||
	    umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return error_errno(err, "change the root to '%s'", j->dir);
	return 0;
}

static int set_caps(uint64_t caps, struct error *err)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {
		{.effective = (uint32_t)caps,
		 .permitted = (uint32_t)caps,
		 .inheritable = (uint32_t)caps},
		{.effective = (uint32_t)(caps >> 32),
		 .permitted = (uint32_t)(caps >> 32),
		 .inheritable = (uint32_t)(caps >> 32)},
	};

	if (syscall(SYS_capset, &head, data) < 0)
		return error_errno(err, "set capabilities");
	for (unsigned int c = 0; c < 64; c++)
		if (caps >> c & 1 && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, c, 0, 0) < 0)
			return error_errno(err, "raise ambient capability %u", c);
	return 0;
}

/* Up to the last that the kernel knows. */
static int drop_bounding(uint64_t kept, struct error *err)
{
	for (unsigned int c = 0; c < 64; c++) {
		if (kept >> c & 1 || prctl(PR_CAPBSET_DROP, c, 0, 0, 0) == 0)
			continue;
		return errno == EINVAL ? 0 : error_errno(err, "drop capability %u", c);
	}
	return 0;
}

int jail_drop(uid_t uid, enum jail_caps kind, struct error *err)
{
	uint64_t caps = (kind >= JAIL_FILE_CAPS ? file_caps : 0) |
			(kind >= JAIL_USER_CAPS ? user_caps : 0) |
			(kind >= JAIL_SETUP_CAPS ? setup_caps : 0);

	/* The keys of whoever called us are not for this process.  No kernel keys, no harm. */
	syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL);
	if (drop_bounding(caps, err) < 0)
		return -err->code;
	/* Who becomes the guest's root for a call, and itself again, would lose them on the way. */
	if (kind >= JAIL_USER_CAPS &&
	    prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP | SECBIT_NO_SETUID_FIXUP_LOCKED, 0, 0,
		  0) < 0)
		return error_errno(err, "set securebits");
	if (prctl(PR_SET_KEEPCAPS, caps != 0, 0, 0, 0) < 0)
		return error_errno(err, "keep capabilities");
	if (setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0)
		return error_errno(err, "become user %u", uid);
	if (set_caps(caps, err) < 0)
		return -err->code;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return error_errno(err, "set no_new_privs");
	return 0;
}

pid_t jail_clone(int *ret_pidfd)
{
	struct clone_args args = {
		.flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET |
			 CLONE_PIDFD,
		.pidfd = (uint64_t)(uintptr_t)ret_pidfd,
		.exit_signal = SIGCHLD,
	};

	return (pid_t)syscall(SYS_clone3, &args, sizeof(args));
}

int jail_die_with_parent(int pipe_fd, struct error *err)
{
	struct pollfd reader = {.fd = pipe_fd};

	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
		return error_errno(err, "set the parent death signal");
	if (poll(&reader, 1, 0) == 1 && reader.revents & POLLERR)
		_exit(127);
	return 0;
}

int jail_enter(const struct jail *j, struct error *err)
{
	if (build_root(j, err) < 0 || jail_drop(j->uid, j->caps, err) < 0)
		return error_wrap(err, "jail");
	return 0;
}
