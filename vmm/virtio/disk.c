// SPDX-License-Identifier: Apache-2.0
#include "vmm/virtio/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PUNCH (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)
#define ZERO (FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE)

/*
 * A ring is a way around seccomp: what it is asked for the kernel does, openat(2) as well.  So this
 * one does what disks need, on its one file, and is closed to changes before anyone hostile is
 * near.
 */
static int restrict_ring(struct io_uring *ring)
{
	static const uint8_t ops[] = {IORING_OP_READV, IORING_OP_WRITEV, IORING_OP_FSYNC,
				      IORING_OP_FALLOCATE};
	struct io_uring_restriction r[5] = {
		{.opcode = IORING_RESTRICTION_SQE_FLAGS_REQUIRED, .sqe_flags = IOSQE_FIXED_FILE}};

	for (unsigned int i = 0; i < 4; i++) {
		r[i + 1].opcode = IORING_RESTRICTION_SQE_OP;
		r[i + 1].sqe_op = ops[i];
	}
	/* liburing 2.3 exports no functions for these two. */
	if (syscall(SYS_io_uring_register, ring->ring_fd, IORING_REGISTER_RESTRICTIONS, r, 5) < 0 ||
	    syscall(SYS_io_uring_register, ring->ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0) <
		    0)
		return -errno;
	return 0;
}

int disk_init(struct disk *disk, int fd, unsigned int depth, bool no_uring, struct error *err)
{
	disk->fd = fd;
	disk->in_flight = 0;
	disk->uring = !no_uring &&
		      io_uring_queue_init(depth, &disk->ring, IORING_SETUP_R_DISABLED) == 0;
	if (disk->uring &&
	    (io_uring_register_files(&disk->ring, &fd, 1) < 0 || restrict_ring(&disk->ring) < 0)) {
		disk_done(disk);
		return error_set(err, EBADF, "a disk's file cannot be used");
	}
	return 0;
}

void disk_done(struct disk *disk)
{
	if (disk->uring)
		io_uring_queue_exit(&disk->ring);
	disk->uring = false;
}

static void advance(struct disk_op *op, size_t n)
{
	op->offset += n;
	op->size -= n;
	while (n && n >= op->iov->iov_len) {
		n -= op->iov->iov_len;
		op->iov++;
		op->iov_n--;
	}
	if (n) {
		op->iov->iov_base = (uint8_t *)op->iov->iov_base + n;
		op->iov->iov_len -= n;
	}
}

/* What became of an op.  True: it is over, with *error; false: it has to go on. */
static bool finished(struct disk_op *op, ssize_t res, int *error)
{
	*error = res < 0 ? (int)-res : 0;
	if (res == -EINTR || res == -EAGAIN)
		return false;
	if (res == -EOPNOTSUPP && op->kind == DISK_ZERO) {
		op->kind = DISK_PUNCH; /* tmpfs */
		return false;
	}
	if (res < 0 || (op->kind != DISK_READ && op->kind != DISK_WRITE))
		return true;
	if (res == 0 || (uint64_t)res > op->size) {
		*error = EIO; /* the file became shorter */
		return true;
	}
	advance(op, (size_t)res);
	return op->size == 0;
}

static ssize_t run(const struct disk *disk, const struct disk_op *op)
{
	ssize_t n;

	switch (op->kind) {
	case DISK_READ:
		n = preadv(disk->fd, op->iov, (int)op->iov_n, (off_t)op->offset);
		break;
	case DISK_WRITE:
		n = pwritev(disk->fd, op->iov, (int)op->iov_n, (off_t)op->offset);
		break;
	case DISK_FLUSH:
		n = fdatasync(disk->fd);
		break;
	default:
		n = fallocate(disk->fd, op->kind == DISK_ZERO ? ZERO : PUNCH, (off_t)op->offset,
			      (off_t)op->size);
	}
	return n < 0 ? -errno : n;
}

static void prepare(struct disk *disk, struct disk_op *op)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&disk->ring);

	/* The ring has room for as many as may be in flight. */
	if (!sqe)
		abort();
	switch (op->kind) {
	case DISK_READ:
		io_uring_prep_readv(sqe, 0, op->iov, op->iov_n, op->offset);
		break;
	case DISK_WRITE:
		io_uring_prep_writev(sqe, 0, op->iov, op->iov_n, op->offset);
		break;
	case DISK_FLUSH:
		io_uring_prep_fsync(sqe, 0, IORING_FSYNC_DATASYNC);
		break;
	default:
		io_uring_prep_fallocate(sqe, 0, op->kind == DISK_ZERO ? ZERO : PUNCH,
					(off_t)op->offset, (off_t)op->size);
	}
	io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
	io_uring_sqe_set_data(sqe, op);
}

void disk_start(struct disk *disk, struct disk_op *op)
{
	int error;

	disk->in_flight++;
	if (disk->uring) {
		prepare(disk, op);
		return;
	}
	while (!finished(op, run(disk, op), &error))
		;
	disk->in_flight--;
	disk->done(disk, op, error);
}

/* Takes one completion, if there is one. */
static bool reap(struct disk *disk)
{
	struct io_uring_cqe *cqe;
	struct disk_op *op;
	int error, res;

	if (io_uring_peek_cqe(&disk->ring, &cqe) < 0)
		return false;
	op = io_uring_cqe_get_data(cqe);
	res = cqe->res;
	io_uring_cqe_seen(&disk->ring, cqe);
	if (!finished(op, res, &error)) {
		prepare(disk, op);
		return true;
	}
	disk->in_flight--;
	disk->done(disk, op, error);
	return true;
}

bool disk_work(struct disk *disk)
{
	if (!disk->uring)
		return true;
	do {
		if (io_uring_sq_ready(&disk->ring))
			io_uring_submit(&disk->ring);
	} while (reap(disk));
	return io_uring_sq_ready(&disk->ring) == 0;
}

void disk_drain(struct disk *disk)
{
	while (disk->in_flight) {
		struct io_uring_cqe *cqe;

		disk_work(disk);
		if (disk->in_flight)
			io_uring_wait_cqe(&disk->ring, &cqe);
	}
}
