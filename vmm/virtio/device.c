// SPDX-License-Identifier: Apache-2.0
#include "vmm/virtio/device.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "lib/cleanup.h"

static void kicked(struct io_watch *w, uint32_t events)
{
	struct virtio_queue *q =
		(struct virtio_queue *)((uint8_t *)w - offsetof(struct virtio_queue, kick));
	struct virtio_device *d = w->arg;
	eventfd_t ignored;

	(void)events;
	pthread_mutex_lock(&d->lock);
	/* Otherwise a device has handed its kicks to someone else, who must see this one. */
	if (w->added) {
		/* Before the look into the queue: a kick that comes later wakes us again. */
		eventfd_read(w->fd, &ignored);
		if (d->active && q->vq.ready)
			d->ops->notify(d, (unsigned int)(q - d->queues));
	}
	pthread_mutex_unlock(&d->lock);
}

static int init_queue(struct virtio_device *d, struct virtio_queue *q, uint16_t size_max)
{
	vq_init(&q->vq, d->env.mem, size_max);
	q->kick = (struct io_watch){
		.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
		.events = EPOLLIN,
		.ready = kicked,
		.arg = d,
	};
	d->queues_n++;
	return q->kick.fd < 0 ? -errno : io_add(d->env.io, &q->kick);
}

int virtio_device_init(struct virtio_device *d, const struct virtio_ops *ops,
		       const struct virtio_env *env, uint64_t features, const uint16_t *sizes,
		       unsigned int queues_n, struct error *err)
{
	int rc = 0;

	d->ops = ops;
	d->env = *env;
	d->offered = features | 1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_RING_F_EVENT_IDX |
		     1ull << VIRTIO_RING_F_INDIRECT_DESC;
	pthread_mutex_init(&d->lock, NULL);
	d->irq_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (d->irq_fd < 0)
		rc = -errno;
	for (unsigned int i = 0; rc == 0 && i < queues_n; i++)
		rc = init_queue(d, &d->queues[i], sizes[i]);
	if (rc < 0) {
		virtio_device_done(d);
		return error_set(err, -rc, "virtio-%s: eventfd: %s", ops->name, strerror(-rc));
	}
	return 0;
}

void virtio_device_done(struct virtio_device *d)
{
	for (unsigned int i = 0; i < d->queues_n; i++) {
		io_remove(d->env.io, &d->queues[i].kick);
		cleanup_close(&d->queues[i].kick.fd);
	}
	d->queues_n = 0;
	cleanup_close(&d->irq_fd);
	pthread_mutex_destroy(&d->lock);
}

static void reset(struct virtio_device *d)
{
	/* First: a device that drains its requests pushes nothing any more. */
	d->active = false;
	if (d->ops->reset)
		d->ops->reset(d);
	for (unsigned int i = 0; i < d->queues_n; i++)
		vq_reset(&d->queues[i].vq);
	d->status = 0;
	d->features = 0;
	virtio_device_acknowledge(d, UINT32_MAX);
}

void virtio_device_free(struct virtio_device *d)
{
	if (!d)
		return;
	pthread_mutex_lock(&d->lock);
	reset(d);
	pthread_mutex_unlock(&d->lock);
	d->ops->free(d);
}

static void interrupt(struct virtio_device *d, uint32_t reason)
{
	/* What is to be seen is published before; the driver looks after it has acknowledged. */
	__atomic_fetch_or(&d->interrupt_status, reason, __ATOMIC_SEQ_CST);
	eventfd_write(d->irq_fd, 1);
}

void virtio_device_used(struct virtio_device *d, unsigned int n)
{
	if (vq_wants_interrupt(&d->queues[n].vq))
		interrupt(d, VIRTIO_MMIO_INT_VRING);
}

void virtio_device_config_changed(struct virtio_device *d)
{
	d->generation++;
	if (d->status & VIRTIO_CONFIG_S_DRIVER_OK)
		interrupt(d, VIRTIO_MMIO_INT_CONFIG);
}

static void log_once(struct virtio_device *d, const char *who, const char *why)
{
	char line[256];
	int n;

	if (d->env.log_fd < 0 || d->logged == VIRTIO_LOG_MAX)
		return;
	d->logged++;
	n = snprintf(line, sizeof(line), "virtio-%s: %s%s%s\n", d->ops->name, who, why,
		     d->logged == VIRTIO_LOG_MAX ? " (further ones are not logged)" : "");
	if (write(d->env.log_fd, line, (size_t)n) < 0)
		return; /* the log is a help, never a reason to fail */
}

/* True: it had not stopped before. */
static bool stop(struct virtio_device *d, const char *why)
{
	bool told = d->status & VIRTIO_CONFIG_S_NEEDS_RESET;

	d->active = false;
	/* Whatever is in flight ends unseen. */
	for (unsigned int i = 0; i < d->queues_n; i++)
		if (!d->queues[i].vq.broken)
			d->queues[i].vq.broken = why;
	if (told)
		return false;
	d->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	virtio_device_config_changed(d);
	return true;
}

void virtio_device_broken(struct virtio_device *d, const char *why)
{
	if (!stop(d, why))
		return;
	d->faults++;
	log_once(d, "guest fault: ", why);
}

void virtio_device_failed(struct virtio_device *d, const char *why)
{
	if (stop(d, why))
		log_once(d, "", why);
}

void virtio_device_kick(struct virtio_device *d, unsigned int n)
{
	eventfd_write(d->queues[n].kick.fd, 1);
}

int virtio_device_pop(struct virtio_device *d, unsigned int n, struct vq_chain *ret)
{
	struct vq *vq = &d->queues[n].vq;
	int rc = vq_pop(vq, ret);

	if (rc < 0 && vq->broken)
		virtio_device_broken(d, vq->broken);
	return rc;
}

void virtio_device_push(struct virtio_device *d, unsigned int n, uint16_t head, uint32_t written)
{
	vq_push(&d->queues[n].vq, head, written);
	virtio_device_used(d, n);
}

void virtio_config_copy(const void *config, size_t config_size, uint32_t offset, void *buf,
			uint32_t size)
{
	memset(buf, 0, size);
	if (offset >= config_size)
		return;
	if (size > config_size - offset)
		size = (uint32_t)(config_size - offset);
	memcpy(buf, (const uint8_t *)config + offset, size);
}

static void activate(struct virtio_device *d)
{
	int rc = d->ops->activate ? d->ops->activate(d) : 0;

	if (rc < 0) {
		virtio_device_failed(d, "the device cannot be started");
		return;
	}
	d->active = !(d->status & VIRTIO_CONFIG_S_NEEDS_RESET);
	/* Buffers that came before DRIVER_OK may never be announced again. */
	for (unsigned int i = 0; i < d->queues_n; i++)
		if (d->queues[i].vq.ready)
			virtio_device_kick(d, i);
}

void virtio_device_set_status(struct virtio_device *d, uint8_t status)
{
	const uint8_t before = d->status;
	const uint64_t must = 1ull << VIRTIO_F_VERSION_1;

	if (!status) {
		reset(d);
		return;
	}
	/* Bits are only ever added (2.1.1), and that one by us. */
	status |= before;
	if (!(before & VIRTIO_CONFIG_S_NEEDS_RESET))
		status &= (uint8_t)~VIRTIO_CONFIG_S_NEEDS_RESET;
	if (status & ~before & VIRTIO_CONFIG_S_FEATURES_OK &&
	    (d->features & ~d->offered || !(d->features & must)))
		status &= (uint8_t)~VIRTIO_CONFIG_S_FEATURES_OK;
	if (status & ~before & VIRTIO_CONFIG_S_DRIVER_OK &&
	    !(status & VIRTIO_CONFIG_S_FEATURES_OK)) {
		virtio_device_broken(d, "DRIVER_OK without FEATURES_OK");
		return;
	}
	d->status = status;
	if (status & ~before & VIRTIO_CONFIG_S_DRIVER_OK)
		activate(d);
}

void virtio_device_set_features(struct virtio_device *d, unsigned int word, uint32_t bits)
{
	if (d->status & VIRTIO_CONFIG_S_FEATURES_OK)
		return;
	if (word == 0)
		d->features = (d->features & ~0xffffffffull) | bits;
	else if (word == 1)
		d->features = (d->features & 0xffffffffull) | (uint64_t)bits << 32;
	else if (bits)
		virtio_device_broken(d, "a feature beyond 63");
}

void virtio_device_set_queue_ready(struct virtio_device *d, unsigned int n, bool ready)
{
	struct vq *vq = &d->queues[n].vq;

	/* Neither while requests may be in flight: that is what a reset is for. */
	if (d->status & VIRTIO_CONFIG_S_DRIVER_OK)
		return;
	if (!ready) {
		vq_reset(vq);
		return;
	}
	if (!(d->status & VIRTIO_CONFIG_S_FEATURES_OK)) {
		virtio_device_broken(d, "queue made ready before FEATURES_OK");
		return;
	}
	if (vq_enable(vq, virtio_device_has(d, VIRTIO_RING_F_EVENT_IDX),
		      virtio_device_has(d, VIRTIO_RING_F_INDIRECT_DESC)) < 0)
		virtio_device_broken(d, vq->broken);
}
