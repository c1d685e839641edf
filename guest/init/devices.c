// SPDX-License-Identifier: Apache-2.0
#include "guest/init/devices.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "guest/init/path.h"
#include "lib/cleanup.h"

static const struct {
	const char *name;
	uint32_t major, minor;
} default_devices[] = {
	{"null", 1, 3},	  {"zero", 1, 5},    {"full", 1, 7},
	{"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0},
};

static const struct {
	const char *name, *target;
} links[] = {
	{"fd", "/proc/self/fd"},       {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"},
	{"stderr", "/proc/self/fd/2"}, {"ptmx", "pts/ptmx"},
};

/* A node in a directory; what is there and is no such node is replaced. */
static int make_node(int dir, const char *name, const struct spec_device *d)
{
	dev_t rdev = makedev(d->major, d->minor);
	struct stat st;

	if (mknodat(dir, name, d->mode, rdev) < 0) {
		if (errno != EEXIST || fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return -errno;
		if ((st.st_mode & S_IFMT) != (d->mode & S_IFMT) || st.st_rdev != rdev) {
			if (unlinkat(dir, name, 0) < 0 || mknodat(dir, name, d->mode, rdev) < 0)
				return -errno;
		}
	}
	/* The agent's file mode mask is part of what mknod made. */
	if (fchmodat(dir, name, d->mode & 07777, 0) < 0)
		return -errno;
	if ((d->uid || d->gid) && fchownat(dir, name, d->uid, d->gid, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return 0;
}

static int make_defaults(int dev, struct error *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(default_devices); i++) {
		const struct spec_device d = {
			.mode = S_IFCHR | 0666,
			.major = default_devices[i].major,
			.minor = default_devices[i].minor,
		};
		int rc = make_node(dev, default_devices[i].name, &d);

		if (rc < 0) {
			errno = -rc;
			return error_errno(err, "make device '/dev/%s'", default_devices[i].name);
		}
	}
	for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
		struct stat st;

		/* The node some images have instead is for the wrong devpts. */
		if (strcmp(links[i].name, "ptmx") == 0 &&
		    fstatat(dev, "ptmx", &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISLNK(st.st_mode))
			unlinkat(dev, "ptmx", 0);
		if (symlinkat(links[i].target, dev, links[i].name) < 0 && errno != EEXIST)
			return error_errno(err, "make link '/dev/%s'", links[i].name);
	}
	return 0;
}

static int make_one(int root, const struct spec_device *d, struct error *err)
{
	const char *slash = strrchr(d->path, '/');
	char parent[PATH_MAX];
	_cleanup_close_ int dir = -1;
	int rc;

	if ((size_t)(slash - d->path) + 2 > sizeof(parent))
		return error_set(err, ENAMETOOLONG, "device '%.100s...': path too long", d->path);
	memcpy(parent, d->path, (size_t)(slash - d->path) + 1);
	parent[slash - d->path + 1] = '\0';
	dir = path_create_in(root, parent, true, err);
	if (dir < 0)
		return dir;
	rc = make_node(dir, slash + 1, d);
	if (rc < 0) {
		errno = -rc;
		return error_errno(err, "make device '%s'", d->path);
	}
	return 0;
}

/* A /dev that is the host's directory is the host's business. */
static bool dev_is_shared(const struct spec_container *c)
{
	bool shared = false;

	for (uint32_t i = 0; i < c->mounts_n; i++)
		if (strcmp(c->mounts[i].destination, "/dev") == 0)
			shared = c->mounts[i].share >= 0;
	return shared;
}

int devices_make(int root, const struct spec_container *c, struct error *err)
{
	_cleanup_close_ int dev = -1;

	if (dev_is_shared(c))
		return 0;
	dev = path_create_in(root, "/dev", true, err);
	if (dev < 0 || make_defaults(dev, err) < 0)
		return -err->code;
	for (uint32_t i = 0; i < c->devices_n; i++)
		if (make_one(root, &c->devices[i], err) < 0)
			return -err->code;
	return 0;
}
