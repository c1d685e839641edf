// SPDX-License-Identifier: Apache-2.0
/*
 * vhost-net: the host's kernel moves the packets between tap and guest memory (uapi
 * linux/vhost.h).  It is given the kicks of both queues and writes the interrupt
 * itself, so no packet passes through this process.
 *
 * ioctl(2) on vhost_fd is called by whoever holds the lock: the thread that makes the
 * device, and vCPU threads when the driver starts or resets it.
 */
#include "vmm/virtio/net.h"

#include <errno.h>
#include <linux/vhost.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "lib/cleanup.h"

/* What the kernel has to know of what the driver chose; the rest is the tap's business. */
#define RING_FEATURES                                                                              \
	(1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_RING_F_EVENT_IDX |                            \
	 1ull << VIRTIO_RING_F_INDIRECT_DESC | 1ull << VIRTIO_NET_F_MRG_RXBUF)

static void ring_failed(struct io_watch *w, uint32_t events)
{
	struct net *n = w->arg;
	eventfd_t ignored;

	(void)events;
	pthread_mutex_lock(&n->dev.lock);
	eventfd_read(w->fd, &ignored);
	if (n->dev.active)
		virtio_device_broken(&n->dev, "vhost found a ring that is not right");
	pthread_mutex_unlock(&n->dev.lock);
}

static int set_memory(const struct net *n, const struct mem *m)
{
	uint8_t room[sizeof(struct vhost_memory) +
		     MEM_REGIONS_MAX * sizeof(struct vhost_memory_region)]
		__attribute__((aligned(8))) = {0};
	struct vhost_memory *table = (struct vhost_memory *)room;

	table->nregions = m->regions_n;
	for (unsigned int i = 0; i < m->regions_n; i++)
		table->regions[i] = (struct vhost_memory_region){
			.guest_phys_addr = m->regions[i].base.v,
			.memory_size = m->regions[i].size,
			.userspace_addr = (uintptr_t)m->regions[i].at,
		};
	return ioctl(n->vhost_fd, VHOST_SET_MEM_TABLE, table) < 0 ? -errno : 0;
}

int net_vhost_init(struct net *n, const struct virtio_env *env, uint64_t *ret_lacks,
		   struct error *err)
{
	uint64_t has;
	int rc;

	n->vhost_error = (struct io_watch){
		.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
		.events = EPOLLIN,
		.ready = ring_failed,
		.arg = n,
	};
	if (n->vhost_error.fd < 0)
		return error_errno(err, "eventfd");
	if (ioctl(n->vhost_fd, VHOST_SET_OWNER) < 0 ||
	    ioctl(n->vhost_fd, VHOST_GET_FEATURES, &has) < 0)
		return error_errno(err, "vhost-net");
	if (!(has & 1ull << VIRTIO_F_VERSION_1))
		return error_set(err, ENOTSUP, "vhost-net does not know virtio 1");
	rc = set_memory(n, env->mem);
	if (rc < 0)
		return error_set(err, -rc, "vhost-net: guest memory: %s", strerror(-rc));
	*ret_lacks = RING_FEATURES & ~has;
	rc = io_add(env->io, &n->vhost_error);
	return rc < 0 ? error_set(err, -rc, "watch vhost-net: %s", strerror(-rc)) : 0;
}

void net_vhost_done(struct net *n, struct io *io)
{
	io_remove(io, &n->vhost_error);
	cleanup_close(&n->vhost_error.fd);
	n->vhost_error.fd = -1;
}

static int set_ring(struct net *n, unsigned int i)
{
	const struct virtio_queue *q = &n->dev.queues[i];
	struct vhost_vring_state size = {i, q->vq.size}, base = {i, 0};
	struct vhost_vring_addr addr = {
		.index = i,
		.desc_user_addr = (uintptr_t)q->vq.desc,
		.avail_user_addr = (uintptr_t)q->vq.avail,
		.used_user_addr = (uintptr_t)q->vq.used,
	};
	struct vhost_vring_file kick = {i, q->kick.fd}, call = {i, n->dev.irq_fd};
	struct vhost_vring_file error = {i, n->vhost_error.fd};

	if (ioctl(n->vhost_fd, VHOST_SET_VRING_NUM, &size) < 0 ||
	    ioctl(n->vhost_fd, VHOST_SET_VRING_BASE, &base) < 0 ||
	    ioctl(n->vhost_fd, VHOST_SET_VRING_ADDR, &addr) < 0 ||
	    ioctl(n->vhost_fd, VHOST_SET_VRING_KICK, &kick) < 0 ||
	    ioctl(n->vhost_fd, VHOST_SET_VRING_CALL, &call) < 0 ||
	    ioctl(n->vhost_fd, VHOST_SET_VRING_ERR, &error) < 0)
		return -errno;
	return 0;
}

static int set_backend(const struct net *n, unsigned int i, int fd)
{
	struct vhost_vring_file backend = {i, fd};

	return ioctl(n->vhost_fd, VHOST_NET_SET_BACKEND, &backend) < 0 ? -errno : 0;
}

int net_vhost_start(struct net *n)
{
	struct virtio_device *d = &n->dev;
	uint64_t features = d->features & RING_FEATURES;
	int rc = 0;

	/* The kernel takes the pair; a driver that sets up one queue gets none. */
	if (!d->queues[NET_RX].vq.ready || !d->queues[NET_TX].vq.ready)
		return -EINVAL;
	if (ioctl(n->vhost_fd, VHOST_SET_FEATURES, &features) < 0)
		return -errno;
	/* It writes the interrupt itself and cannot set a bit in our register. */
	virtio_device_interrupts_elsewhere(d, true);
	for (unsigned int i = 0; i < NET_QUEUES; i++)
		io_remove(d->env.io, &d->queues[i].kick);
	for (unsigned int i = 0; rc == 0 && i < NET_QUEUES; i++)
		rc = set_ring(n, i);
	for (unsigned int i = 0; rc == 0 && i < NET_QUEUES; i++)
		rc = set_backend(n, i, n->tap.fd);
	if (rc < 0)
		net_vhost_stop(n);
	return rc;
}

/* Setting no backend waits until the kernel's worker has left the queue. */
void net_vhost_stop(struct net *n)
{
	struct virtio_device *d = &n->dev;

	for (unsigned int i = 0; i < NET_QUEUES; i++) {
		struct vhost_vring_file none = {i, -1};

		set_backend(n, i, -1);
		ioctl(n->vhost_fd, VHOST_SET_VRING_KICK, &none);
		ioctl(n->vhost_fd, VHOST_SET_VRING_CALL, &none);
		/* May fail only for want of memory; then this queue stays silent. */
		io_add(d->env.io, &d->queues[i].kick);
	}
	virtio_device_interrupts_elsewhere(d, false);
}
