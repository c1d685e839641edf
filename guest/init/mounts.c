// SPDX-License-Identifier: Apache-2.0
#include "guest/init/mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest/init/copy.h"
#include "guest/init/path.h"
#include "guest/init/sandbox.h"
#include "lib/cleanup.h"

/* Flags that belong to a mount, not to its file system, and how mount_setattr(2) calls them. */
static const struct {
	uint64_t flag, attr;
} mount_attrs[] = {
	{MS_RDONLY, MOUNT_ATTR_RDONLY},		{MS_NOSUID, MOUNT_ATTR_NOSUID},
	{MS_NODEV, MOUNT_ATTR_NODEV},		{MS_NOEXEC, MOUNT_ATTR_NOEXEC},
	{MS_NODIRATIME, MOUNT_ATTR_NODIRATIME}, {MS_NOSYMFOLLOW, MOUNT_ATTR_NOSYMFOLLOW},
};

static int set_attrs(int mount_fd, uint64_t flags, uint64_t propagation)
{
	unsigned int recurse = propagation & MS_REC ? AT_RECURSIVE : 0;
	struct mount_attr attr = {.propagation = propagation & ~(uint64_t)MS_REC};

	for (size_t i = 0; i < ARRAY_SIZE(mount_attrs); i++)
		if (flags & mount_attrs[i].flag)
			attr.attr_set |= mount_attrs[i].attr;
	if (flags & (MS_NOATIME | MS_STRICTATIME | MS_RELATIME)) {
		attr.attr_clr = MOUNT_ATTR__ATIME;
		attr.attr_set |= flags & MS_NOATIME	  ? MOUNT_ATTR_NOATIME
				 : flags & MS_STRICTATIME ? MOUNT_ATTR_STRICTATIME
							  : MOUNT_ATTR_RELATIME;
	}
	if (!attr.attr_set && !attr.attr_clr && !attr.propagation)
		return 0;
	return mount_setattr(mount_fd, "", AT_EMPTY_PATH | recurse, &attr, sizeof(attr)) < 0
		       ? -errno
		       : 0;
}

/*
 * A copy of what is seen at the source, with the flags set before anyone can see
 * it, put at `to`: 0 or -errno.
 */
static int bind(int from, const char *path, int to, const struct spec_mount *m)
{
	unsigned int recurse = m->flags & MS_REC ? AT_RECURSIVE : 0;
	_cleanup_close_ int tree = open_tree(from, path,
					     OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH |
						     AT_SYMLINK_NOFOLLOW | recurse);
	int rc;

	if (tree < 0)
		return -errno;
	rc = set_attrs(tree, m->flags, m->propagation);
	if (rc < 0)
		return rc;
	return move_mount(tree, "", to, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0
		       ? -errno
		       : 0;
}

static int fail(struct error *err, int rc, const struct spec_mount *m)
{
	errno = -rc;
	if (errno == ENODEV)
		return error_set(err, ENODEV,
				 "mount '%s' on '%s': the guest has no file system '%s'",
				 m->source ?: m->type, m->destination, m->type ?: "");
	return error_errno(err, "mount '%s' on '%s'", m->source ?: m->type, m->destination);
}

static int mount_share(int to, const struct spec_mount *m, struct error *err)
{
	char path[64];
	int rc;

	snprintf(path, sizeof(path), AGENT_SHARES "/%d", m->share);
	rc = bind(AT_FDCWD, path, to, m);
	if (rc < 0) {
		errno = -rc;
		return error_errno(err, "mount share %d on '%s'", m->share, m->destination);
	}
	return 0;
}

static bool type_is(const struct spec_mount *m, const char *type)
{
	return m->type && strcmp(m->type, type) == 0;
}

static bool is_cgroup(const struct spec_mount *m)
{
	return type_is(m, "cgroup") || type_is(m, "cgroup2");
}

/* Without a cgroup namespace of its own a container sees its own group only, and no other. */
static int mount_cgroup(int to, const struct spec_container *c, const struct spec_mount *m,
			struct error *err)
{
	char path[PATH_FD_SIZE], group[512];
	int rc;

	if (c->unshare & CLONE_NEWCGROUP) {
		path_of_fd(path, to);
		rc = mount("cgroup", path, "cgroup2", m->flags & ~(uint64_t)MS_REC, NULL) < 0
			     ? -errno
			     : 0;
	} else {
		snprintf(group, sizeof(group), AGENT_CGROUP "/%s", c->id);
		rc = bind(AT_FDCWD, group, to, m);
	}
	return rc < 0 ? fail(err, rc, m) : 0;
}

/* A tmpfs that says nothing about its mode gets that of the directory it covers. */
static char *tmpfs_options(int to, const struct spec_mount *m)
{
	struct stat st;
	char *options;

	if (fstat(to, &st) < 0 || asprintf(&options, "mode=%04o%s%s", st.st_mode & 07777,
					   m->data && *m->data ? "," : "", m->data ?: "") < 0)
		return NULL;
	return options;
}

/* A tmpfs that starts with what it covers is filled before it is put there. */
static int mount_copy_up(int to, const struct spec_mount *m, const char *options, struct error *err)
{
	_cleanup_close_ int from = -1, scratch = -1;
	char path[PATH_FD_SIZE];

	path_of_fd(path, to);
	from = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (from < 0)
		return error_errno(err, "open '%s'", m->destination);
	if (mount(m->source ?: "tmpfs", AGENT_SCRATCH, "tmpfs", m->flags & ~(uint64_t)MS_RDONLY,
		  options) < 0)
		return fail(err, -errno, m);
	scratch = open(AGENT_SCRATCH, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (scratch < 0)
		return error_errno(err, "open '%s'", AGENT_SCRATCH);
	if (copy_tree(from, scratch, err) < 0)
		return error_wrap(err, "copy what is in '%s'", m->destination);
	if (mount(AGENT_SCRATCH, path, NULL, MS_MOVE, NULL) < 0)
		return fail(err, -errno, m);
	return 0;
}

static int mount_tmpfs(int to, const struct spec_mount *m, struct error *err)
{
	_cleanup_free_ char *options = tmpfs_options(to, m);
	char path[PATH_FD_SIZE];

	if (!options)
		return error_set(err, ENOMEM, "out of memory");
	if (m->copy_up)
		return mount_copy_up(to, m, options, err);
	path_of_fd(path, to);
	/* Read-only comes in mounts_finish(). */
	if (mount(m->source ?: "tmpfs", path, "tmpfs", m->flags & ~(uint64_t)(MS_RDONLY | MS_REC),
		  options) < 0)
		return fail(err, -errno, m);
	return 0;
}

static int mount_filesystem(int to, const struct spec_mount *m, struct error *err)
{
	char path[PATH_FD_SIZE];

	path_of_fd(path, to);
	if (mount(m->source ?: m->type, path, m->type, m->flags & ~(uint64_t)MS_REC, m->data) < 0)
		return fail(err, -errno, m);
	return 0;
}

static int open_destination(int root, const struct spec_mount *m, struct error *err)
{
	bool directory = m->share < 0 || m->share_is_dir;
	int fd = path_create_in(root, m->destination, directory, err);
	struct stat st, root_st;

	if (fd < 0) {
		error_wrap(err, "mount point '%s'", m->destination);
		return fd;
	}
	/* What covers the root would not be seen by the container, as its root is below it. */
	if (fstat(fd, &st) == 0 && fstat(root, &root_st) == 0 && st.st_dev == root_st.st_dev &&
	    st.st_ino == root_st.st_ino) {
		close(fd);
		return error_set(err, EINVAL, "mount point '%s': is the root", m->destination);
	}
	return fd;
}

/* Propagation of a mount made by mount(2); a bind has it from bind(). */
static int set_propagation(int root, const struct spec_mount *m, struct error *err)
{
	_cleanup_close_ int fd = path_open_in(root, m->destination, O_PATH);
	int rc = fd < 0 ? fd : set_attrs(fd, 0, m->propagation);

	if (rc < 0) {
		errno = -rc;
		return error_errno(err, "set propagation of '%s'", m->destination);
	}
	return 0;
}

static int make_one(int root, const struct spec_container *c, const struct spec_mount *m,
		    struct error *err)
{
	_cleanup_close_ int to = open_destination(root, m, err);
	int rc;

	if (to < 0)
		return to;
	if (m->share >= 0)
		return mount_share(to, m, err);
	if (m->flags & MS_REMOUNT) {
		char path[PATH_FD_SIZE];

		path_of_fd(path, to);
		if (mount(m->source, path, m->type, m->flags, m->data) < 0)
			return error_errno(err, "remount '%s'", m->destination);
		return 0;
	}
	if (type_is(m, "bind") || (m->flags & MS_BIND))
		return error_set(err, EINVAL, "mount '%s' on '%s': not shared with the guest",
				 m->source ?: "", m->destination);
	if (!m->type)
		return error_set(err, EINVAL, "mount on '%s': no type", m->destination);
	if (is_cgroup(m))
		rc = mount_cgroup(to, c, m, err);
	else if (type_is(m, "tmpfs"))
		rc = mount_tmpfs(to, m, err);
	else
		rc = mount_filesystem(to, m, err);
	return rc == 0 && m->propagation ? set_propagation(root, m, err) : rc;
}

int mounts_make(int root, const struct spec_container *c, struct error *err)
{
	for (uint32_t i = 0; i < c->mounts_n; i++)
		if (make_one(root, c, &c->mounts[i], err) < 0)
			return -err->code;
	return 0;
}

int mounts_finish(int root, const struct spec_container *c, struct error *err)
{
	for (uint32_t i = 0; i < c->mounts_n; i++) {
		const struct spec_mount *m = &c->mounts[i];
		_cleanup_close_ int fd = -1;
		int rc;

		if (!type_is(m, "tmpfs") || !(m->flags & MS_RDONLY) || m->flags & MS_REMOUNT)
			continue;
		fd = path_open_in(root, m->destination, O_PATH);
		rc = fd < 0 ? fd : set_attrs(fd, MS_RDONLY, 0);
		if (rc < 0) {
			errno = -rc;
			return error_errno(err, "make '%s' read-only", m->destination);
		}
	}
	return 0;
}

static int mask_one(int fd)
{
	char path[PATH_FD_SIZE];
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	path_of_fd(path, fd);
	if (S_ISDIR(st.st_mode))
		return mount("tmpfs", path, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
			     "size=0,nr_inodes=2") < 0
			       ? -errno
			       : 0;
	/*
	 * The agent's /dev/null: the container's is whatever its image or mounts say.
	 * Read-only, so that nobody changes its owner or mode; it can be written to.
	 */
	return bind(AT_FDCWD, "/dev/null", fd,
		    &(struct spec_mount){
			    .flags = MS_RDONLY | MS_NOSUID | MS_NOEXEC,
		    });
}

int mounts_mask(int root, const struct strv *paths, struct error *err)
{
	for (uint32_t i = 0; i < paths->n; i++) {
		_cleanup_close_ int fd = path_open_in(root, paths->v[i], O_PATH);
		int rc;

		if (fd == -ENOENT || fd == -ENOTDIR)
			continue;
		rc = fd < 0 ? fd : mask_one(fd);
		if (rc < 0) {
			errno = -rc;
			return error_errno(err, "mask '%s'", paths->v[i]);
		}
	}
	return 0;
}

int mounts_make_readonly(int root, const struct strv *paths, struct error *err)
{
	const struct spec_mount readonly = {.flags = MS_RDONLY | MS_REC};

	for (uint32_t i = 0; i < paths->n; i++) {
		_cleanup_close_ int fd = path_open_in(root, paths->v[i], O_PATH);
		int rc;

		if (fd == -ENOENT || fd == -ENOTDIR)
			continue;
		rc = fd < 0 ? fd : bind(fd, "", fd, &readonly);
		if (rc < 0) {
			errno = -rc;
			return error_errno(err, "make '%s' read-only", paths->v[i]);
		}
	}
	return 0;
}
