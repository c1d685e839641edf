/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a disk's bytes are: reads, writes and the rest on a file, many at a time
 * through io_uring, or one after the other by system calls where the host does not
 * permit io_uring.  Ops are the caller's memory and stay in use until done() is
 * called; no locks: the caller holds its device's.
 */
#ifndef CAISSON_VIRTIO_DISK_H
#define CAISSON_VIRTIO_DISK_H

#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "lib/error.h"

enum disk_kind {
	DISK_READ,
	DISK_WRITE,
	DISK_FLUSH, /* what was written before is on stable storage */
	DISK_PUNCH, /* the range reads as zero and takes no space */
	DISK_ZERO,  /* the range reads as zero and, if the file can, keeps its space */
};

struct disk_op {
	enum disk_kind kind;
	struct iovec *iov; /* of reads and writes; changed as they proceed */
	unsigned int iov_n;
	uint64_t offset, size; /* bytes; what is left */
};

struct disk {
	int fd;
	bool uring;
	struct io_uring ring;	/* ring.ring_fd is readable when ops have ended */
	unsigned int in_flight; /* started and not done */
	/* error: 0 or a positive errno value.  May start further ops. */
	void (*done)(struct disk *disk, struct disk_op *op, int error);
};

/* depth: how many ops at a time, at most.  Does not fail for lack of io_uring. */
int disk_init(struct disk *disk, int fd, unsigned int depth, bool no_uring, struct error *err);
/* After disk_drain(). */
void disk_done(struct disk *disk);

/* Starts an op; without io_uring it is done when this returns. */
void disk_start(struct disk *disk, struct disk_op *op);
/* Hands what was started to the kernel, then calls done() for whatever has ended.  False: the
 * kernel did not take all; call again. */
bool disk_work(struct disk *disk);
/* Waits until nothing is in flight. */
void disk_drain(struct disk *disk);

#endif
