// SPDX-License-Identifier: Apache-2.0
#include "runtime/share.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cleanup.h"

#define SHARES "/shares"
#define CHILDREN_MAX 16u

/* It alone among the monitor's children has the directory (QEMU), or lives in it (virtiofsd). */
static bool serves(pid_t pid)
{
	char path[64], root[64];
	struct stat st;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/root", pid);
	n = readlink(path, root, sizeof(root) - 1);
	root[n > 0 ? n : 0] = 0;
	if (strcmp(root, SHARES) == 0)
		return true;
	snprintf(path, sizeof(path), "/proc/%d/root" SHARES, pid);
	return lstat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

pid_t share_server(const struct state_process *monitor, struct error *err)
{
	pid_t children[CHILDREN_MAX];
	unsigned int n = state_process_children(monitor, children, CHILDREN_MAX);

	for (unsigned int i = 0; i < n; i++)
		if (serves(children[i]))
			return children[i];
	return error_set(err, ESRCH, "the sandbox has no file server");
}

static int view(const struct share_source *s, struct error *err)
{
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
					      MOUNT_ATTR_NOEXEC};
	unsigned int flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC;
	int tree;

	if (s->readonly)
		attr.attr_set |= MOUNT_ATTR_RDONLY;
	tree = s->path ? (int)syscall(SYS_open_tree, AT_FDCWD, s->path,
				      flags | (s->recursive ? AT_RECURSIVE : 0u))
		       : (int)syscall(SYS_open_tree, s->fd, "", flags | AT_EMPTY_PATH);
	if (tree < 0)
		return error_errno(err, "share '%s'", s->path ?: "an image");
	if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr,
		    sizeof(attr)) < 0) {
		error_errno(err, "set the flags of share '%s'", s->path ?: "an image");
		close(tree);
		return -err->code;
	}
	return tree;
}

/* The server's directory through a mount of ours, on which it can be written. */
static int open_writable(struct error *err)
{
	struct mount_attr attr = {.attr_clr = MOUNT_ATTR_RDONLY};
	int fd = (int)syscall(SYS_open_tree, AT_FDCWD, SHARES, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	if (fd < 0)
		return error_errno(err, "open '" SHARES "' of the file server");
	if (syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0) {
		error_errno(err, "make '" SHARES "' writable");
		close(fd);
		return -err->code;
	}
	return fd;
}

/* An empty file or directory, as what will be mounted on it. */
static int make_point(int dir, const char *name, int tree, struct error *err)
{
	_cleanup_close_ int fd = -1;
	struct stat st;

	if (fstat(tree, &st) < 0)
		return error_errno(err, "look at share %s", name);
	if (S_ISDIR(st.st_mode))
		return mkdirat(dir, name, 0755) < 0 ? error_errno(err, "make share %s", name) : 0;
	fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	return fd < 0 ? error_errno(err, "make share %s", name) : 0;
}

static int attach_inside(uint32_t number, int tree, struct error *err)
{
	_cleanup_close_ int dir = open_writable(err);
	char path[32];

	snprintf(path, sizeof(path), SHARES "/%u", number);
	if (dir < 0 || make_point(dir, strrchr(path, '/') + 1, tree, err) < 0)
		return -err->code;
	if (syscall(SYS_move_mount, tree, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return error_errno(err, "mount share %u", number);
	return 0;
}

static int detach_inside(uint32_t first, uint32_t n, struct error *err)
{
	_cleanup_close_ int dir = open_writable(err);

	if (dir < 0)
		return dir;
	for (uint32_t i = first; i < first + n; i++) {
		char path[32];
		const char *name;

		snprintf(path, sizeof(path), SHARES "/%u", i);
		name = strrchr(path, '/') + 1;
		if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && errno != EINVAL &&
		    errno != ENOENT)
			return error_errno(err, "take share %u away", i);
		if (unlinkat(dir, name, 0) < 0 && errno != ENOENT &&
		    unlinkat(dir, name, AT_REMOVEDIR) < 0)
			return error_errno(err, "remove share %u", i);
	}
	return 0;
}

/* In a child of ours that goes into the server's mount namespace: tree -1 detaches. */
static int in_server(pid_t server, uint32_t first, uint32_t n, int tree, struct error *err)
{
	_cleanup_close_ int rd = -1, wr = -1, ns = -1;
	struct error child = {0};
	char path[64];
	int fds[2];
	pid_t pid;

	snprintf(path, sizeof(path), "/proc/%d/ns/mnt", server);
	ns = open(path, O_RDONLY | O_CLOEXEC);
	if (ns < 0)
		return error_errno(err, "open the file server's mount namespace");
	if (pipe2(fds, O_CLOEXEC) < 0)
		return error_errno(err, "pipe");
	rd = fds[0];
	wr = fds[1];
	pid = fork();
	if (pid < 0)
		return error_errno(err, "fork");
	if (pid == 0) {
		if (setns(ns, CLONE_NEWNS) < 0)
			error_errno(&child, "enter the file server's mount namespace");
		else if (tree >= 0)
			attach_inside(first, tree, &child);
		else
			detach_inside(first, n, &child);
		_exit(write(wr, &child, sizeof(child)) != (ssize_t)sizeof(child));
	}
	close(steal_fd(&wr));
	if (read(rd, &child, sizeof(child)) != (ssize_t)sizeof(child))
		error_set(&child, ECHILD, "the process that mounts a share has died");
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (child.code)
		*err = child;
	return -child.code;
}

int share_attach(pid_t server, uint32_t number, const struct share_source *s, struct error *err)
{
	_cleanup_close_ int tree = view(s, err);

	return tree < 0 ? tree : in_server(server, number, 1, tree, err);
}

int share_detach(pid_t server, uint32_t first, uint32_t n, struct error *err)
{
	return n ? in_server(server, first, n, -1, err) : 0;
}
