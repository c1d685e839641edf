/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Root file system images: turns a bundle's root directory into an erofs image that a
 * guest mounts read-only, and keeps it for the next container with the same content
 * (runtime/rootfs_key.h says what "the same" is).
 *
 * The cache directory (mode 0700, ours alone) holds
 *	<key>.erofs	an image; its modification time is when it was last asked for
 *	<key>.tmp	an image being made; whoever makes it holds an exclusive flock(2)
 * An image appears by rename(2) after fsync(2), so it is whole or not there.  Whoever
 * uses one holds a shared flock on its descriptor, which passes with the descriptor to
 * the monitor; images that are locked are never removed.  What a killed maker left is
 * unlocked and is made use of or removed by the next one.
 *
 * Preserved: owners, modes, times, extended attributes, device numbers, hard links,
 * FIFOs and sockets; what other file systems are mounted below is left out.  mkfs.erofs
 * writes holes out, so a sparse file counts with its whole length.
 */
#ifndef CAISSON_RUNTIME_ROOTFS_H
#define CAISSON_RUNTIME_ROOTFS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/error.h"
#include "runtime/rootfs_key.h"

#define ROOTFS_CACHE_SIZE (20ull << 30) /* bytes, the default limit */

struct rootfs_image {
	int fd; /* read-only, close-on-exec, with a shared flock; valid when key is not empty */
	char key[ROOTFS_KEY_SIZE];
	bool reused;   /* it was there already */
	uint64_t size; /* bytes */
};

/*
 * The image of rootfs_dir, from cache_dir or made now by mkfs.erofs (found by PATH).  Making one
 * trims the cache to cache_size bytes (0: ROOTFS_CACHE_SIZE), least recently used first; an image
 * that would not fit that limit or the file system is refused before anything is written.
 *
 * 0, or -errno with err set and nothing left behind: -ENOENT and -ENOTDIR for rootfs_dir, -EFBIG
 * and -ENOSPC for the size, -EAGAIN when the tree keeps changing, -EPERM when others may write to
 * the cache directory, -EIO when mkfs.erofs fails (its own words are in the sentence).
 */
int rootfs_image(const char *rootfs_dir, const char *cache_dir, uint64_t cache_size,
		 struct rootfs_image *ret, struct error *err);

/* Gives it back; for a zeroed one too. */
void rootfs_image_done(struct rootfs_image *image);

/* Removes images that nobody uses, least recently used first, until the cache holds no more than
 * cache_size bytes, and what killed makers left.  0 or -errno with err set. */
int rootfs_cache_trim(const char *cache_dir, uint64_t cache_size, struct error *err);

#endif
