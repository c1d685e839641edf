/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Split virtqueue, the device's side (virtio 1.2, 2.7), with VIRTIO_F_EVENT_IDX and
 * VIRTIO_F_INDIRECT_DESC.
 *
 * Everything in the rings is the guest's and may change under us.  A descriptor is
 * read exactly once, the copy is checked against our limits, and only the copy is
 * used.  A walk ends after at most `size` descriptors of the queue and VQ_IOV_MAX
 * buffers.  What breaks a rule marks the queue broken: it stays silent until it is
 * reset, and the caller (virtio_device_broken()) tells the driver and counts it.
 * The buffers' contents are never checked here: they may change until pushed.
 *
 * Locking: none; the caller holds the lock of the device that the queue belongs to.
 */
#ifndef CAISSON_VIRTIO_QUEUE_H
#define CAISSON_VIRTIO_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "vmm/mem/mem.h"

#define VQ_SIZE_MAX 1024u	      /* descriptors; ours, the format allows 32768 */
#define VQ_IOV_MAX 130u		      /* buffers of one request: 128 of data, head and status */
#define VQ_CHAIN_BYTES_MAX (1u << 30) /* of one request */

struct vring_desc;
struct vring_avail;
struct vring_used;

struct vq {
	/* set once */
	const struct mem *mem;
	uint16_t size_max; /* a power of two, at most VQ_SIZE_MAX */

	/* what the driver asked for; taken as it is until vq_enable() checks it */
	uint32_t size;
	gpa_t desc_gpa, avail_gpa, used_gpa;

	/* while enabled */
	bool ready;
	bool event_idx, indirect;
	const struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t next_avail; /* free running, as all indices here */
	uint16_t next_used;
	uint16_t published; /* next_used as the guest sees it */
	uint16_t signalled; /* published when the guest was last asked about an interrupt */
	uint16_t in_flight; /* popped and not pushed: never more than size */
	const char *broken; /* why, a literal; NULL: it is not */
};

/* One request: `readable_n` buffers to read from, then `writable_n` to write to. */
struct vq_chain {
	uint16_t head; /* names it to vq_push() */
	uint16_t readable_n, writable_n;
	uint32_t readable_size, writable_size; /* bytes */
	struct iovec iov[VQ_IOV_MAX];
};

void vq_init(struct vq *vq, const struct mem *mem, uint16_t size_max);
/* As after vq_init(): forgets what the driver set, and that the queue was broken. */
void vq_reset(struct vq *vq);

/*
 * Checks size (a power of two, not 0, at most size_max) and the three areas (aligned as 2.7 says,
 * wholly inside one region of RAM) and makes the queue ready.  0, or -EINVAL and the queue broken.
 */
int vq_enable(struct vq *vq, bool event_idx, bool indirect);

/* Takes the next request.  1: *ret is it; 0: there is none; -EPROTO: the queue is broken (or
 * not ready). */
int vq_pop(struct vq *vq, struct vq_chain *ret);

/*
 * Gives a request back, `written` bytes of its writable buffers being filled (from the first).
 * vq_add_used() does so unseen; vq_publish() shows all of them at once (mergeable receive buffers
 * belong together, 5.1.6.4).  vq_push() is both.
 */
void vq_add_used(struct vq *vq, uint16_t head, uint32_t written);
void vq_publish(struct vq *vq);
void vq_push(struct vq *vq, uint16_t head, uint32_t written);

/* Whether the driver wants an interrupt for what was published since the last time (2.7.7.2). */
bool vq_wants_interrupt(struct vq *vq);

/*
 * Asks the driver to notify us of new requests, or (best effort) not to (2.7.10).  vq_kicks_on()
 * returns true when requests are there already: look again instead of waiting.
 */
bool vq_kicks_on(struct vq *vq);
void vq_kicks_off(struct vq *vq);

/* Copies out of the readable, or into the writable, buffers, from `offset` bytes on; returns the
 * number of bytes copied, less than size when the buffers end before. */
size_t chain_read(const struct vq_chain *c, size_t offset, void *buf, size_t size);
size_t chain_write(const struct vq_chain *c, size_t offset, const void *buf, size_t size);
static inline const struct iovec *chain_readable(const struct vq_chain *c)
{
	return c->iov;
}
static inline const struct iovec *chain_writable(const struct vq_chain *c)
{
	return c->iov + c->readable_n;
}

/* The part of n iovecs that starts `skip` bytes in and is at most `size` bytes long, into ret
 * (room for n); returns its number of iovecs. */
unsigned int iov_slice(const struct iovec *iov, unsigned int n, size_t skip, size_t size,
		       struct iovec *ret);

#endif
