/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The devices there are, one constructor each.  All return 0 and the device, or
 * -errno with one sentence and nothing left behind.  Descriptors passed in stay the
 * caller's and must live as long as the device; those that are not files are
 * made non-blocking.  What needs privilege (a ring of io_uring, vhost-net) is set
 * up in the constructor, before the jail.
 */
#ifndef CAISSON_VIRTIO_DEVICES_H
#define CAISSON_VIRTIO_DEVICES_H

#include "vmm/virtio/device.h"

/*
 * Console (5.3) with two ports: 0 is the kernel's console (hvc0), 1 is named VIRTIO_AGENT_PORT.
 * Both are stream sockets; end of file on one closes that port only.
 */
#define VIRTIO_AGENT_PORT "caisson.agent"
int virtio_console_new(const struct virtio_env *env, int console_fd, int agent_fd,
		       struct virtio_device **ret, struct error *err);

/* Disk (5.2) on a regular file or block device; serial: at most 20 bytes. */
struct virtio_blk_config_host {
	int fd;
	const char *serial;
	bool readonly;
	bool no_uring; /* use pread(2) and pwrite(2) even where io_uring is permitted */
};
int virtio_blk_new(const struct virtio_env *env, const struct virtio_blk_config_host *c,
		   struct virtio_device **ret, struct error *err);

/* Network interface (5.1) on a tap with IFF_VNET_HDR (or, in tests, a datagram socket). */
struct virtio_net_config_host {
	int tap_fd;
	int vhost_fd; /* /dev/vhost-net, opened by the caller; -1: packets go through us */
	uint8_t mac[6];
	uint16_t mtu;
};
int virtio_net_new(const struct virtio_env *env, const struct virtio_net_config_host *c,
		   struct virtio_device **ret, struct error *err);

/* Entropy (5.4), from getrandom(2). */
int virtio_rng_new(const struct virtio_env *env, struct virtio_device **ret, struct error *err);

/* Memory balloon (5.5) with free page reporting. */
int virtio_balloon_new(const struct virtio_env *env, struct virtio_device **ret, struct error *err);
/* Asks the guest to give back `bytes` of its memory in all; any thread. */
void virtio_balloon_set(struct virtio_device *d, uint64_t bytes);
/* What it has given back, in bytes; any thread. */
uint64_t virtio_balloon_actual(struct virtio_device *d);

/* Memory that comes while the guest runs (5.15): the last region of env->mem, which grows. */
int virtio_mem_new(const struct virtio_env *env, struct virtio_device **ret, struct error *err);
/* mem_grow() was called: tells the guest.  Any thread. */
void virtio_mem_grown(struct virtio_device *d);
/* How much of it the guest has taken, in bytes; any thread. */
uint64_t virtio_mem_plugged(struct virtio_device *d);

/* File system (5.11): front end of a vhost-user back end at the other end of `vhost_fd`. */
int virtio_fs_new(const struct virtio_env *env, int vhost_fd, const char *tag,
		  struct virtio_device **ret, struct error *err);

#endif
