/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vhost-user, the front end's side: a process of its own (the back end) serves a
 * device's queues in shared guest memory.  Messages are as QEMU's documentation of
 * the vhost-user protocol has them; each that has or can have an answer waits for it,
 * for VHOST_USER_TIMEOUT_S at most.
 *
 * Trust: the back end is in a jail and may have fallen to the guest.  It sees all of
 * guest memory.  From what it answers only feature bits are used, masked by ours.
 */
#ifndef CAISSON_VIRTIO_VHOST_USER_H
#define CAISSON_VIRTIO_VHOST_USER_H

#include "vmm/virtio/device.h"

#define VHOST_USER_TIMEOUT_S 10

struct vhost_user {
	int fd; /* stream socket; the caller's */
	uint64_t features;
	bool acks;
};

/* Takes the back end over and tells it where guest memory is.  -errno and err. */
int vhost_user_init(struct vhost_user *v, int fd, const struct mem *m, struct error *err);

/* Gives it the ready queues of a device, kicks and interrupt with them; 0 or -errno. */
int vhost_user_start(struct vhost_user *v, struct virtio_device *d);
/* When this returns 0 the back end uses none of the queues any more. */
int vhost_user_stop(struct vhost_user *v, struct virtio_device *d);

#endif
