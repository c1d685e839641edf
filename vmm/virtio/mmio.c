// SPDX-License-Identifier: Apache-2.0
#include "vmm/virtio/mmio.h"

#include <linux/virtio_mmio.h>
#include <string.h>

_Static_assert(VIRTIO_MMIO_KICK_OFFSET == VIRTIO_MMIO_QUEUE_NOTIFY, "one offset, two names");

#define MAGIC 0x74726976u  /* "virt" */
#define VENDOR 0x43535341u /* no one looks at it */

void virtio_mmio_init(struct virtio_mmio *t, struct virtio_device *dev)
{
	*t = (struct virtio_mmio){.dev = dev};
}

/* The selected queue, or NULL. */
static struct vq *selected(const struct virtio_mmio *t)
{
	return t->queue_sel < t->dev->queues_n ? &t->dev->queues[t->queue_sel].vq : NULL;
}

static uint32_t register_read(struct virtio_mmio *t, uint32_t offset)
{
	struct virtio_device *d = t->dev;
	const struct vq *vq = selected(t);

	switch (offset) {
	case VIRTIO_MMIO_MAGIC_VALUE:
		return MAGIC;
	case VIRTIO_MMIO_VERSION:
		return 2;
	case VIRTIO_MMIO_DEVICE_ID:
		return d->ops->id;
	case VIRTIO_MMIO_VENDOR_ID:
		return VENDOR;
	case VIRTIO_MMIO_DEVICE_FEATURES:
		return t->features_sel < 2 ? (uint32_t)(d->offered >> (32 * t->features_sel)) : 0;
	case VIRTIO_MMIO_QUEUE_NUM_MAX:
		return vq ? vq->size_max : 0;
	case VIRTIO_MMIO_QUEUE_READY:
		return vq ? vq->ready : 0;
	case VIRTIO_MMIO_STATUS:
		return d->status;
	case VIRTIO_MMIO_CONFIG_GENERATION:
		return d->generation;
	case VIRTIO_MMIO_SHM_LEN_LOW: /* no shared memory: all ones (4.2.2) */
	case VIRTIO_MMIO_SHM_LEN_HIGH:
	case VIRTIO_MMIO_SHM_BASE_LOW:
	case VIRTIO_MMIO_SHM_BASE_HIGH:
		return UINT32_MAX;
	default:
		return 0;
	}
}

static void set_low(gpa_t *gpa, uint32_t v)
{
	gpa->v = (gpa->v & ~0xffffffffull) | v;
}

static void set_high(gpa_t *gpa, uint32_t v)
{
	gpa->v = (gpa->v & 0xffffffffull) | (uint64_t)v << 32;
}

static void queue_write(struct vq *vq, uint32_t offset, uint32_t v)
{
	/* They are fixed while the queue is ready (4.2.2.2). */
	if (vq->ready)
		return;
	switch (offset) {
	case VIRTIO_MMIO_QUEUE_NUM:
		vq->size = v;
		break;
	case VIRTIO_MMIO_QUEUE_DESC_LOW:
		set_low(&vq->desc_gpa, v);
		break;
	case VIRTIO_MMIO_QUEUE_DESC_HIGH:
		set_high(&vq->desc_gpa, v);
		break;
	case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
		set_low(&vq->avail_gpa, v);
		break;
	case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
		set_high(&vq->avail_gpa, v);
		break;
	case VIRTIO_MMIO_QUEUE_USED_LOW:
		set_low(&vq->used_gpa, v);
		break;
	case VIRTIO_MMIO_QUEUE_USED_HIGH:
		set_high(&vq->used_gpa, v);
		break;
	}
}

static void register_write(struct virtio_mmio *t, uint32_t offset, uint32_t v)
{
	struct virtio_device *d = t->dev;
	struct vq *vq = selected(t);

	switch (offset) {
	case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
		t->features_sel = v;
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
		t->driver_features_sel = v;
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES:
		virtio_device_set_features(d, t->driver_features_sel, v);
		break;
	case VIRTIO_MMIO_QUEUE_SEL:
		t->queue_sel = v;
		break;
	case VIRTIO_MMIO_QUEUE_READY:
		if (vq)
			virtio_device_set_queue_ready(d, t->queue_sel, v & 1);
		break;
	case VIRTIO_MMIO_STATUS:
		virtio_device_set_status(d, (uint8_t)v);
		break;
	default:
		if (vq)
			queue_write(vq, offset, v);
	}
}

void virtio_mmio_read(struct virtio_mmio *t, uint64_t offset, void *data, uint32_t size)
{
	struct virtio_device *d = t->dev;
	uint32_t v;

	memset(data, 0, size);
	if (size > 8 || offset >= VIRTIO_MMIO_WINDOW)
		return;
	if (offset == VIRTIO_MMIO_INTERRUPT_STATUS && size == 4) {
		v = virtio_device_interrupts(d);
		memcpy(data, &v, sizeof(v));
		return;
	}
	pthread_mutex_lock(&d->lock);
	if (offset >= VIRTIO_MMIO_CONFIG) {
		if (d->ops->config_read)
			d->ops->config_read(d, (uint32_t)offset - VIRTIO_MMIO_CONFIG, data, size);
	} else if (size == 4 && offset % 4 == 0) {
		v = register_read(t, (uint32_t)offset);
		memcpy(data, &v, sizeof(v));
	}
	pthread_mutex_unlock(&d->lock);
}

void virtio_mmio_write(struct virtio_mmio *t, uint64_t offset, const void *data, uint32_t size)
{
	struct virtio_device *d = t->dev;
	uint32_t v;

	if (size > 8 || offset >= VIRTIO_MMIO_WINDOW)
		return;
	if (offset == VIRTIO_MMIO_QUEUE_NOTIFY && size == 4) {
		/* Without the lock: a doorbell never waits for the device's work. */
		memcpy(&v, data, sizeof(v));
		if (v < d->queues_n)
			virtio_device_kick(d, v);
		return;
	}
	if (offset == VIRTIO_MMIO_INTERRUPT_ACK && size == 4) {
		memcpy(&v, data, sizeof(v));
		virtio_device_acknowledge(d, v);
		return;
	}
	pthread_mutex_lock(&d->lock);
	if (offset >= VIRTIO_MMIO_CONFIG) {
		if (d->ops->config_write)
			d->ops->config_write(d, (uint32_t)offset - VIRTIO_MMIO_CONFIG, data, size);
	} else if (size == 4 && offset % 4 == 0) {
		memcpy(&v, data, sizeof(v));
		register_write(t, (uint32_t)offset, v);
	}
	pthread_mutex_unlock(&d->lock);
}
