// SPDX-License-Identifier: Apache-2.0
#include "guest/init/copy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/cleanup.h"

#define COPY_DEPTH_MAX 64

static int copy_dir(int from_dir, int to_dir, int depth, struct error *err);

static int copy_file(int from_dir, int to_dir, const char *name, struct error *err)
{
	_cleanup_close_ int from = openat(from_dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	_cleanup_close_ int to = openat(to_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
					0600);
	ssize_t n;

	if (from < 0 || to < 0)
		return error_errno(err, "open '%s'", name);
	do
		n = sendfile(to, from, NULL, 1 << 20);
	while (n > 0);
	return n < 0 ? error_errno(err, "write '%s'", name) : 0;
}

static int copy_link(int from_dir, int to_dir, const char *name, struct error *err)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(from_dir, name, target, sizeof(target) - 1);

	if (n < 0)
		return error_errno(err, "read link '%s'", name);
	target[n] = '\0';
	return symlinkat(target, to_dir, name) < 0 ? error_errno(err, "make link '%s'", name) : 0;
}

static int copy_subdir(int from_dir, int to_dir, const char *name, int depth, struct error *err)
{
	_cleanup_close_ int from = -1, to = -1;

	if (depth == 0)
		return error_set(err, ELOOP, "'%s': too deep", name);
	if (mkdirat(to_dir, name, 0700) < 0)
		return error_errno(err, "make '%s'", name);
	from = openat(from_dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	to = openat(to_dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (from < 0 || to < 0)
		return error_errno(err, "open '%s'", name);
	return copy_dir(from, to, depth - 1, err);
}

static int copy_entry(int from_dir, int to_dir, const char *name, int depth, struct error *err)
{
	struct stat st;
	int rc = 0;

	if (fstatat(from_dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return error_errno(err, "stat '%s'", name);
	if (S_ISREG(st.st_mode))
		rc = copy_file(from_dir, to_dir, name, err);
	else if (S_ISLNK(st.st_mode))
		rc = copy_link(from_dir, to_dir, name, err);
	else if (S_ISDIR(st.st_mode))
		rc = copy_subdir(from_dir, to_dir, name, depth, err);
	else if (mknodat(to_dir, name, st.st_mode, st.st_rdev) < 0)
		rc = error_errno(err, "make '%s'", name);
	if (rc < 0)
		return rc;
	if (fchownat(to_dir, name, st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW) < 0)
		return error_errno(err, "chown '%s'", name);
	if (!S_ISLNK(st.st_mode) && fchmodat(to_dir, name, st.st_mode & 07777, 0) < 0)
		return error_errno(err, "chmod '%s'", name);
	utimensat(to_dir, name, (struct timespec[]){st.st_atim, st.st_mtim}, AT_SYMLINK_NOFOLLOW);
	return 0;
}

static int copy_dir(int from_dir, int to_dir, int depth, struct error *err)
{
	_cleanup_closedir_ DIR *d = NULL;
	int fd = openat(from_dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *e;

	if (fd < 0)
		return error_errno(err, "open directory");
	d = fdopendir(fd);
	if (!d) {
		close(fd);
		return error_set(err, ENOMEM, "out of memory");
	}
	while ((e = readdir(d))) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (copy_entry(from_dir, to_dir, e->d_name, depth, err) < 0)
			return -err->code;
	}
	return 0;
}

int copy_tree(int from_dir, int to_dir, struct error *err)
{
	return copy_dir(from_dir, to_dir, COPY_DEPTH_MAX, err);
}
