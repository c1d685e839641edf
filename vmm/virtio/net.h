/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the network device: what net.c (packets go through us) and net_vhost.c (the kernel
 * moves them) share. */
#ifndef CAISSON_VIRTIO_NET_H
#define CAISSON_VIRTIO_NET_H

#include <linux/virtio_net.h>

#include "vmm/virtio/devices.h"

enum { NET_RX, NET_TX, NET_QUEUES };

/* The largest packet with its header: 64 KiB of IP, Ethernet with a VLAN tag. */
#define NET_HEADER_SIZE sizeof(struct virtio_net_hdr_mrg_rxbuf)
#define NET_PACKET_MAX (NET_HEADER_SIZE + 18 + 65535)

#define NET_RX_BUFFERS 64u
#define NET_RX_IOVS (2 * VQ_IOV_MAX)

/*
 * Receive buffers taken from the guest before it is known how long the next packet is.  Whatever
 * a packet does not need serves the next one; they are used in the order they were taken.
 */
struct net_rx {
	struct iovec iov[NET_RX_IOVS]; /* in use: iov_start .. iov_end */
	unsigned int iov_start, iov_end;
	struct {
		uint16_t head, iov_n;
		uint32_t size;
	} bufs[NET_RX_BUFFERS]; /* in use: start .. end, as above */
	unsigned int start, end;
	size_t size; /* bytes in all of them */
};

struct net {
	struct virtio_device dev;
	struct virtio_net_config config;
	int vhost_fd; /* -1: packets go through us */
	bool is_tap;  /* and not a test's socket */
	bool dead;    /* the tap is gone */
	struct io_watch tap;
	struct io_watch vhost_error; /* an eventfd by which vhost says that a ring is bad */
	struct net_rx rx;
	bool rx_starved; /* waits for buffers */
	bool tx_waits;	 /* `tx` is taken from the queue and waits for the tap */
	struct vq_chain tx;
	struct vq_chain scratch;
};

/* Called once, in the constructor: makes the kernel's worker ours and says which features it
 * lacks. */
int net_vhost_init(struct net *n, const struct virtio_env *env, uint64_t *ret_lacks,
		   struct error *err);
void net_vhost_done(struct net *n, struct io *io);
/* Hands the queues to the kernel, and takes them back.  Lock held. */
int net_vhost_start(struct net *n);
void net_vhost_stop(struct net *n);

#endif
