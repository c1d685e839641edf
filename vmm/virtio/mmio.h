/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio-mmio transport, version 2 (virtio 1.2, 4.2.2): one page of registers.
 *
 * An engine gives every device a page of guest-physical addresses and an edge
 * triggered interrupt line, tells the guest's kernel
 * (`virtio_mmio.device=4K@ADDRESS:IRQ`), and
 *  - makes an ioeventfd of each queue: 4 bytes written to QueueNotify with value n
 *    is virtio_mmio_kick_fd(t, n);
 *  - makes an irqfd of virtio_mmio_irq_fd(t) on the device's line;
 *  - calls virtio_mmio_read() and virtio_mmio_write() for every other access.
 * An engine without ioeventfds simply passes on the write of QueueNotify.
 *
 * Both calls are safe in any thread, at any time between _init and the free of the
 * device; they take the device's lock.  A write that resets the device may wait for
 * disk requests in flight.  What the guest does wrong (odd sizes, registers that do
 * not exist) reads as 0, or is not written.
 */
#ifndef CAISSON_VIRTIO_MMIO_H
#define CAISSON_VIRTIO_MMIO_H

#include "vmm/virtio/device.h"

#define VIRTIO_MMIO_WINDOW 0x1000u    /* bytes a device takes of the guest's address space */
#define VIRTIO_MMIO_KICK_OFFSET 0x50u /* QueueNotify, for ioeventfds */

struct virtio_mmio {
	struct virtio_device *dev;
	/* selectors; under the device's lock */
	uint32_t features_sel, driver_features_sel, queue_sel, shm_sel;
};

void virtio_mmio_init(struct virtio_mmio *t, struct virtio_device *dev);

/* `offset` in the window, size 1, 2, 4 or 8; *data is `size` bytes, little endian. */
void virtio_mmio_read(struct virtio_mmio *t, uint64_t offset, void *data, uint32_t size);
void virtio_mmio_write(struct virtio_mmio *t, uint64_t offset, const void *data, uint32_t size);

static inline unsigned int virtio_mmio_queues(const struct virtio_mmio *t)
{
	return t->dev->queues_n;
}
static inline int virtio_mmio_kick_fd(const struct virtio_mmio *t, unsigned int n)
{
	return t->dev->queues[n].kick.fd;
}
static inline int virtio_mmio_irq_fd(const struct virtio_mmio *t)
{
	return t->dev->irq_fd;
}

#endif
