// SPDX-License-Identifier: Apache-2.0
#include "guest/init/path.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/cleanup.h"

/* As many symbolic links as the kernel follows in one path. */
#define PATH_LINKS_MAX 40
/* Others in the guest can rename all the time, but not so as to win this often. */
#define PATH_TRIES 1000

ssize_t path_read(int dirfd, const char *path, char *buf, size_t size)
{
	_cleanup_close_ int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, buf, size - 1);
	if (n < 0)
		return -errno;
	if (n > 0 && buf[n - 1] == '\n')
		n--;
	buf[n] = '\0';
	return n;
}

int path_write(int dirfd, const char *path, const char *text)
{
	_cleanup_close_ int fd = openat(dirfd, path, O_WRONLY | O_CLOEXEC | O_NOCTTY);

	if (fd < 0)
		return -errno;
	return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

int path_open_in(int root, const char *path, int flags)
{
	struct open_how how = {
		.flags = (uint64_t)flags | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT,
	};
	int fd;

	/* The kernel cannot tell where ".." leads while anything anywhere is renamed or mounted. */
	for (int i = 0; i < PATH_TRIES; i++) {
		fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
		if (fd >= 0)
			return fd;
		if (errno != EAGAIN)
			break;
	}
	return -errno;
}

/* Makes the last part of path, whose parent exists and is `parent`. */
static int make_last(int parent, const char *name, bool directory)
{
	int fd;

	if (directory)
		return mkdirat(parent, name, 0755) < 0 ? -errno : 0;
	fd = openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

/*
 * path[0..end) names a symbolic link that leads nowhere yet: rewrites the whole
 * path so that what the link says stands in its place.
 */
static int replace_link(int parent, char *path, size_t start, size_t end)
{
	char target[PATH_MAX], joined[PATH_MAX];
	ssize_t n;
	int len;
	char saved = path[end];

	path[end] = '\0';
	n = readlinkat(parent, path + start, target, sizeof(target) - 1);
	path[end] = saved;
	if (n < 0)
		return -errno;
	target[n] = '\0';
	len = snprintf(joined, sizeof(joined), "%.*s%s%s", target[0] == '/' ? 0 : (int)start, path,
		       target, path + end);
	if (len < 0 || (size_t)len >= sizeof(joined))
		return -ENAMETOOLONG;
	memcpy(path, joined, (size_t)len + 1);
	return 0;
}

/* Walks path from its beginning and makes what is missing: an O_PATH descriptor or -errno. */
static int walk_and_make(int root, char *path, bool directory)
{
	_cleanup_close_ int at = path_open_in(root, "/", O_PATH | O_DIRECTORY);
	int links = 0;
	size_t pos = 0;

	while (at >= 0) {
		size_t start = pos + strspn(path + pos, "/");
		size_t end = start + strcspn(path + start, "/");
		bool last = !path[end + strspn(path + end, "/")];
		char saved = path[end];
		int fd, rc;

		if (start == end)
			return steal_fd(&at);
		path[end] = '\0';
		fd = path_open_in(root, path, O_PATH);
		rc = fd == -ENOENT ? make_last(at, path + start, directory || !last) : 0;
		if (fd == -ENOENT && rc == 0)
			fd = path_open_in(root, path, O_PATH);
		path[end] = saved;
		if (rc == -EEXIST) {
			rc = ++links > PATH_LINKS_MAX ? -ELOOP : replace_link(at, path, start, end);
			close(steal_fd(&at));
			at = path_open_in(root, "/", O_PATH | O_DIRECTORY);
			pos = 0;
		}
		if (rc < 0)
			return rc;
		if (fd >= 0) {
			close(at);
			at = fd;
			pos = end;
		} else if (fd != -ENOENT) {
			return fd;
		}
	}
	return at;
}

int path_create_in(int root, const char *path, bool directory, struct error *err)
{
	char copy[PATH_MAX];
	int fd = path_open_in(root, path, O_PATH);

	if (fd >= 0)
		return fd;
	if (fd == -ENOENT) {
		if (strlen(path) >= sizeof(copy))
			return error_set(err, ENAMETOOLONG, "path '%.100s...': too long", path);
		memcpy(copy, path, strlen(path) + 1);
		fd = walk_and_make(root, copy, directory);
		if (fd >= 0)
			return fd;
	}
	errno = -fd;
	return error_errno(err, "create '%s'", path);
}

void path_of_fd(char out[static PATH_FD_SIZE], int fd)
{
	snprintf(out, PATH_FD_SIZE, "/proc/self/fd/%d", fd);
}
