// SPDX-License-Identifier: Apache-2.0
/*
 * Network interface (virtio 1.2, 5.1) on a tap with vnet header: the header in front
 * of each packet is the same on both sides, so packets go between the tap and the
 * guest's buffers in one system call and without a copy of ours.  The host's kernel
 * checks what a guest writes into that header.
 */
#include "vmm/virtio/net.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/virtio_ids.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

#include "lib/cleanup.h"

/* Packets handled before others have their turn. */
#define BUDGET 128u

static struct net *net_of(struct virtio_device *d)
{
	return (struct net *)((uint8_t *)d - offsetof(struct net, dev));
}

static void watch(struct net *n)
{
	uint32_t events = 0;

	if (n->dev.active && n->vhost_fd < 0 && !n->dead) {
		if (!n->rx_starved && n->dev.queues[NET_RX].vq.ready)
			events |= EPOLLIN;
		if (n->tx_waits)
			events |= EPOLLOUT;
	}
	/* Not even errors, which cannot be masked, while nothing can be done about them. */
	if (!events) {
		io_remove(n->dev.env.io, &n->tap);
		n->tap.events = 0;
		return;
	}
	io_modify(n->dev.env.io, &n->tap, events);
	io_add(n->dev.env.io, &n->tap);
}

/* --- Guest to host -----------------------------------------------------------------------------*/

/* Sends `tx`.  False: the tap takes nothing now. */
static bool transmit_one(struct net *n)
{
	struct vq_chain *c = &n->tx;

	/* A packet that the tap refuses (its header is nonsense, the interface is down) is lost,
	 * as on a wire. */
	n->tx_waits = !n->dead && writev(n->tap.fd, chain_readable(c), c->readable_n) < 0 &&
		      (errno == EAGAIN || errno == EINTR);
	if (!n->tx_waits)
		vq_push(&n->dev.queues[NET_TX].vq, c->head, 0);
	return !n->tx_waits;
}

/* Takes the next packet into `tx`. */
static bool transmit_take(struct net *n)
{
	struct vq_chain *c = &n->tx;

	if (virtio_device_pop(&n->dev, NET_TX, c) <= 0)
		return false;
	if (c->writable_n || c->readable_size < NET_HEADER_SIZE) {
		virtio_device_broken(&n->dev, "packet without header to transmit");
		return false;
	}
	return true;
}

static void transmit(struct net *n)
{
	struct virtio_device *d = &n->dev;
	struct vq *vq = &d->queues[NET_TX].vq;
	unsigned int budget = BUDGET;
	bool goes = !n->tx_waits || transmit_one(n);

	vq_kicks_off(vq);
	while (goes && budget) {
		if (transmit_take(n)) {
			goes = transmit_one(n);
			budget--;
		} else if (!vq_kicks_on(vq)) {
			break;
		}
	}
	if (!budget)
		virtio_device_kick(d, NET_TX);
	virtio_device_used(d, NET_TX);
}

/* --- Host to guest -----------------------------------------------------------------------------*/

static void rx_clear(struct net_rx *rx)
{
	rx->iov_start = rx->iov_end = rx->start = rx->end = 0;
	rx->size = 0;
}

/* Makes room behind what is in use. */
static void rx_compact(struct net_rx *rx)
{
	memmove(rx->iov, rx->iov + rx->iov_start, (rx->iov_end - rx->iov_start) * sizeof(*rx->iov));
	memmove(rx->bufs, rx->bufs + rx->start, (rx->end - rx->start) * sizeof(*rx->bufs));
	rx->iov_end -= rx->iov_start;
	rx->end -= rx->start;
	rx->iov_start = rx->start = 0;
}

/* Takes one buffer more.  1, 0 (the guest has none), -1 (broken, or we hold enough). */
static int rx_take(struct net *n)
{
	struct vq_chain *c = &n->scratch;
	struct net_rx *rx = &n->rx;
	int rc;

	if (rx->end == NET_RX_BUFFERS || rx->iov_end > NET_RX_IOVS - VQ_IOV_MAX)
		rx_compact(rx);
	if (rx->end == NET_RX_BUFFERS || rx->iov_end > NET_RX_IOVS - VQ_IOV_MAX)
		return -1;
	rc = virtio_device_pop(&n->dev, NET_RX, c);
	if (rc <= 0)
		return rc;
	if (c->readable_n || c->writable_size < NET_HEADER_SIZE) {
		virtio_device_broken(&n->dev, "unfit buffer to receive into");
		return -1;
	}
	memcpy(rx->iov + rx->iov_end, chain_writable(c), c->writable_n * sizeof(*rx->iov));
	rx->iov_end += c->writable_n;
	rx->bufs[rx->end].head = c->head;
	rx->bufs[rx->end].iov_n = c->writable_n;
	rx->bufs[rx->end++].size = c->writable_size;
	rx->size += c->writable_size;
	return 1;
}

/* How many bytes must be ready before a packet is read: it cannot be put back. */
static size_t rx_need(const struct net *n)
{
	if (virtio_device_has(&n->dev, VIRTIO_NET_F_GUEST_TSO4) ||
	    virtio_device_has(&n->dev, VIRTIO_NET_F_GUEST_TSO6))
		return NET_PACKET_MAX;
	return NET_HEADER_SIZE + 18 + n->config.mtu;
}

/* Enough buffers for any packet.  Without mergeable buffers that is one, of whatever size. */
static bool rx_prepare(struct net *n)
{
	bool mergeable = virtio_device_has(&n->dev, VIRTIO_NET_F_MRG_RXBUF);
	size_t need = mergeable ? rx_need(n) : 1;

	while (n->rx.size < need) {
		int rc = rx_take(n);

		/* All we hold is full of small ones: they will have to do, what does not fit is
		 * cut off. */
		if (rc < 0)
			return n->dev.active;
		if (rc == 0 && !vq_kicks_on(&n->dev.queues[NET_RX].vq)) {
			n->rx_starved = true;
			return false;
		}
	}
	return true;
}

/* A packet of `size` bytes lies in the first buffers: gives those to the guest. */
static void rx_deliver(struct net *n, size_t size)
{
	struct net_rx *rx = &n->rx;
	struct vq *vq = &n->dev.queues[NET_RX].vq;
	const struct iovec *first = rx->iov + rx->iov_start;
	unsigned int first_n = rx->bufs[rx->start].iov_n;
	struct iovec slot[2];
	uint16_t count = 0;
	unsigned int n_slot;

	/* num_buffers are the last two bytes of the header (5.1.6.4). */
	n_slot = iov_slice(first, first_n, NET_HEADER_SIZE - sizeof(count), sizeof(count), slot);
	while (size) {
		uint32_t part = rx->bufs[rx->start].size;

		rx->size -= part;
		if (part > size)
			part = (uint32_t)size;
		vq_add_used(vq, rx->bufs[rx->start].head, part);
		rx->iov_start += rx->bufs[rx->start].iov_n;
		rx->start++;
		size -= part;
		count++;
	}
	for (unsigned int i = 0; i < n_slot; i++)
		memcpy(slot[i].iov_base, (uint8_t *)&count + i * (sizeof(count) - slot[i].iov_len),
		       slot[i].iov_len);
	vq_publish(vq);
}

/* False: nothing more now. */
static bool receive_one(struct net *n)
{
	struct net_rx *rx = &n->rx;
	unsigned int iovs;
	ssize_t size;

	if (!rx_prepare(n))
		return false;
	/* Without mergeable buffers a packet must stay in the first. */
	iovs = virtio_device_has(&n->dev, VIRTIO_NET_F_MRG_RXBUF) ? rx->iov_end - rx->iov_start
								  : rx->bufs[rx->start].iov_n;
	size = readv(n->tap.fd, rx->iov + rx->iov_start, (int)iovs);
	if (size < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (size <= 0) {
		/* Removed on the host: the cable is out. */
		n->dead = true;
		n->config.status = 0;
		virtio_device_config_changed(&n->dev);
		return false;
	}
	if ((size_t)size > NET_HEADER_SIZE)
		rx_deliver(n, (size_t)size);
	return true;
}

static void receive(struct net *n)
{
	struct virtio_device *d = &n->dev;

	if (!d->queues[NET_RX].vq.ready || n->dead)
		return;
	for (unsigned int i = 0; i < BUDGET && receive_one(n); i++)
		;
	virtio_device_used(d, NET_RX);
}

static void tap_ready(struct io_watch *w, uint32_t events)
{
	struct net *n = w->arg;

	pthread_mutex_lock(&n->dev.lock);
	if (n->dev.active && n->vhost_fd < 0) {
		if (n->tx_waits && events & (EPOLLOUT | EPOLLERR | EPOLLHUP))
			transmit(n);
		if (!n->rx_starved && events & (EPOLLIN | EPOLLERR | EPOLLHUP))
			receive(n);
	}
	watch(n);
	pthread_mutex_unlock(&n->dev.lock);
}

/* --- The device --------------------------------------------------------------------------------*/

static void notify(struct virtio_device *d, unsigned int queue)
{
	struct net *n = net_of(d);

	if (queue == NET_TX && !n->tx_waits)
		transmit(n);
	if (queue == NET_RX) {
		n->rx_starved = false;
		receive(n);
	}
	watch(n);
}

/* What the guest can take from us, the tap may send (TUNSETOFFLOAD). */
static int set_offloads(struct net *n)
{
	const struct virtio_device *d = &n->dev;
	unsigned int flags = 0;

	if (!n->is_tap)
		return 0;
	if (virtio_device_has(d, VIRTIO_NET_F_GUEST_CSUM))
		flags |= TUN_F_CSUM;
	if (virtio_device_has(d, VIRTIO_NET_F_GUEST_TSO4))
		flags |= TUN_F_TSO4;
	if (virtio_device_has(d, VIRTIO_NET_F_GUEST_TSO6))
		flags |= TUN_F_TSO6;
	if (flags & (TUN_F_TSO4 | TUN_F_TSO6) && virtio_device_has(d, VIRTIO_NET_F_GUEST_ECN))
		flags |= TUN_F_TSO_ECN;
	return ioctl(n->tap.fd, TUNSETOFFLOAD, flags) < 0 ? -errno : 0;
}

static int activate(struct virtio_device *d)
{
	struct net *n = net_of(d);
	int rc = set_offloads(n);

	return rc == 0 && n->vhost_fd >= 0 ? net_vhost_start(n) : rc;
}

static void reset(struct virtio_device *d)
{
	struct net *n = net_of(d);

	if (n->vhost_fd >= 0)
		net_vhost_stop(n);
	rx_clear(&n->rx);
	n->rx_starved = n->tx_waits = false;
	watch(n);
}

static void config_read(struct virtio_device *d, uint32_t offset, void *buf, uint32_t size)
{
	const struct net *n = net_of(d);

	virtio_config_copy(&n->config, sizeof(n->config), offset, buf, size);
}

static void net_free(struct virtio_device *d)
{
	struct net *n = net_of(d);

	io_remove(d->env.io, &n->tap);
	net_vhost_done(n, d->env.io);
	virtio_device_done(d);
	free(n);
}

static const struct virtio_ops net_ops = {
	.name = "net",
	.id = VIRTIO_ID_NET,
	.config_read = config_read,
	.activate = activate,
	.reset = reset,
	.notify = notify,
	.free = net_free,
};

static int init_tap(struct net *n, int fd, struct error *err)
{
	int header = NET_HEADER_SIZE;
	struct ifreq ifr = {0};

	n->tap = (struct io_watch){.fd = fd, .ready = tap_ready, .arg = n};
	if (fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK) < 0)
		return error_errno(err, "make it non-blocking");
	n->is_tap = ioctl(fd, TUNGETIFF, &ifr) == 0;
	if (!n->is_tap)
		return errno == ENOTTY ? 0 : error_errno(err, "not a tap");
	if (!(ifr.ifr_flags & IFF_TAP) || !(ifr.ifr_flags & IFF_NO_PI) ||
	    !(ifr.ifr_flags & IFF_VNET_HDR))
		return error_set(err, EINVAL, "not a tap with vnet header");
	if (ioctl(fd, TUNSETVNETHDRSZ, &header) < 0)
		return error_errno(err, "set the size of its header");
	return 0;
}

static int init(struct net *n, const struct virtio_env *env, const struct virtio_net_config_host *c,
		struct error *err)
{
	static const uint16_t sizes[NET_QUEUES] = {256, 256};
	uint64_t lacks = 0;
	uint64_t features = 1ull << VIRTIO_NET_F_CSUM | 1ull << VIRTIO_NET_F_GUEST_CSUM |
			    1ull << VIRTIO_NET_F_MTU | 1ull << VIRTIO_NET_F_MAC |
			    1ull << VIRTIO_NET_F_GUEST_TSO4 | 1ull << VIRTIO_NET_F_GUEST_TSO6 |
			    1ull << VIRTIO_NET_F_GUEST_ECN | 1ull << VIRTIO_NET_F_HOST_TSO4 |
			    1ull << VIRTIO_NET_F_HOST_TSO6 | 1ull << VIRTIO_NET_F_HOST_ECN |
			    1ull << VIRTIO_NET_F_MRG_RXBUF | 1ull << VIRTIO_NET_F_STATUS;

	memcpy(n->config.mac, c->mac, sizeof(c->mac));
	n->config.mtu = c->mtu;
	n->config.max_virtqueue_pairs = 1;
	n->config.status = VIRTIO_NET_S_LINK_UP;
	n->vhost_fd = c->vhost_fd;
	n->vhost_error.fd = -1;
	if (init_tap(n, c->tap_fd, err) < 0)
		return -err->code;
	if (c->vhost_fd >= 0 && net_vhost_init(n, env, &lacks, err) < 0) {
		if (err->code != E2BIG)
			return -err->code;
		/* vhost takes 64 pieces of memory; a guest's on engine cki may be in more. */
		net_vhost_done(n, env->io);
		n->vhost_fd = -1;
	}
	if (virtio_device_init(&n->dev, &net_ops, env, features, sizes, NET_QUEUES, err) < 0)
		return -err->code;
	n->dev.offered &= ~lacks;
	return 0;
}

int virtio_net_new(const struct virtio_env *env, const struct virtio_net_config_host *c,
		   struct virtio_device **ret, struct error *err)
{
	_cleanup_free_ struct net *n = calloc(1, sizeof(*n));

	if (!n)
		return error_set(err, ENOMEM, "out of memory");
	if (init(n, env, c, err) < 0) {
		net_vhost_done(n, env->io);
		return error_wrap(err, "network interface");
	}
	*ret = &n->dev;
	steal_ptr(&n);
	return 0;
}
