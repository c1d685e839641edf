/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A key for the content of a directory tree: equal keys, equal images.  It is made
 * of what stat(2) says about every file (any change of a file moves its ctime), so
 * it reads no content and costs some microseconds for each file.
 *
 * For an overlay mount of a container engine (podman, CRI-O, docker, containerd) it
 * costs next to nothing: an image's layers never change once they are unpacked, so the
 * layer directories' identities stand for them, and only what the container itself has
 * (the upper directory) is walked.  If that is small its content is hashed and times of
 * directories are left out, which makes containers of one image share one key.  Overlay
 * mounts whose layers are not in an engine's store are walked as one tree.
 *
 * Trust: the tree is hostile.  Nothing in it is opened but directories and (in an upper
 * directory) regular files, no symbolic link is followed, no mount point below entered,
 * depth and path length are bounded.
 */
#ifndef CAISSON_RUNTIME_ROOTFS_KEY_H
#define CAISSON_RUNTIME_ROOTFS_KEY_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/error.h"

#define ROOTFS_DEPTH_MAX 512 /* directories inside each other: one descriptor each */
#define ROOTFS_FILES_MAX 10000000u
#define ROOTFS_KEY_SIZE 65 /* 64 hexadecimal digits of a SHA-256, NUL */

struct rootfs_tree {
	int fd;		     /* the root directory, without what is mounted below */
	char path[PATH_MAX]; /* without symbolic links */
	bool mounts_below;
	bool overlay; /* and below are the options of the mount, as mountinfo has them */
	char *options;
};

/* What an image of the tree needs. */
struct rootfs_size {
	uint64_t
		bytes; /* upper bound of the image; a hole counts like data, as mkfs.erofs has it */
	uint64_t files;
	uint64_t largest; /* bytes, and the path below the root */
	char largest_path[256];
};

/* 0, or -errno with err set: missing, not a directory, no permission.  Then there is nothing to
 * release with rootfs_tree_close(). */
int rootfs_tree_open(struct rootfs_tree *ret, const char *dir, struct error *err);
void rootfs_tree_close(struct rootfs_tree *t);

/* salt: what else distinguishes images (format, options).  0 or -errno with err set. */
int rootfs_key(const struct rootfs_tree *t, const char *salt, char ret[ROOTFS_KEY_SIZE],
	       struct error *err);

int rootfs_measure(const struct rootfs_tree *t, struct rootfs_size *ret, struct error *err);

#endif
