/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtio device without its transport: status, features, queues, configuration
 * (virtio 1.2, chapters 2 and 3), and the ops by which console, blk, net, ... fill it.
 *
 * Threads and locks.  vCPU threads come in through the transport (mmio.h), the I/O
 * thread through kicks of the queues and whatever else a device watches.  One mutex
 * per device, `lock`, is held around every op and every watch callback of a device,
 * so a device's code is never run by two threads.  It is a leaf: nobody takes a
 * second device's lock under it.  A write of 0 to the status calls ops->reset() with
 * the lock held, and that returns only when the device is quiet: nothing in flight
 * touches guest memory any more.  A callback that was on its way waits for the lock
 * and then finds the device inactive.
 *
 * Errors of the guest: virtio_device_broken().  The device sets DEVICE_NEEDS_RESET
 * (2.1.2), says so once by a configuration interrupt, counts it in `faults`, writes
 * one line to the log (at most VIRTIO_LOG_MAX in a device's life), and does nothing
 * more until the driver resets it.
 */
#ifndef CAISSON_VIRTIO_DEVICE_H
#define CAISSON_VIRTIO_DEVICE_H

#include <pthread.h>

#include "vmm/io.h"
#include "vmm/virtio/queue.h"

#define VIRTIO_QUEUES_MAX 8u
#define VIRTIO_LOG_MAX 4u

struct virtio_device;

struct virtio_ops {
	const char *name; /* for messages: "console" */
	uint32_t id;	  /* VIRTIO_ID_*, chapter 5 */

	/* Device-specific configuration (2.5): little endian, any offset and size up to 8 bytes.
	 * What is outside reads as 0 and is not written; the caller has checked nothing.  NULL: no
	 * configuration; write NULL: read-only. */
	void (*config_read)(struct virtio_device *d, uint32_t offset, void *buf, uint32_t size);
	void (*config_write)(struct virtio_device *d, uint32_t offset, const void *buf,
			     uint32_t size);

	/* DRIVER_OK: d->features and the ready queues are final.  -errno: DEVICE_NEEDS_RESET.
	 * NULL: nothing to do. */
	int (*activate)(struct virtio_device *d);
	/* Becomes quiet and as new.  Also before free().  NULL: nothing in flight, ever. */
	void (*reset)(struct virtio_device *d);
	/* Requests may be in queue n.  I/O thread only; the device is active, the queue ready. */
	void (*notify)(struct virtio_device *d, unsigned int n);
	/* Frees the device's own structure, of which `d` is a part; the device is quiet and the I/O
	 * thread does not run. */
	void (*free)(struct virtio_device *d);
};

/* What every device is made with.  mem and io outlive the device. */
struct virtio_env {
	const struct mem *mem;
	struct io *io;
	int log_fd; /* -1: no log */
};

struct virtio_queue {
	struct vq vq;
	/*
	 * Kick: an eventfd, written when the driver notifies the queue; the engine makes it an
	 * ioeventfd.  Watched by the I/O thread all of the device's life, except while a device
	 * has handed it to vhost.
	 */
	struct io_watch kick;
};

struct virtio_device {
	const struct virtio_ops *ops;
	struct virtio_env env;
	pthread_mutex_t lock; /* all below but what says otherwise, and the device's own part */

	uint64_t offered;    /* features */
	uint64_t features;   /* the driver's choice */
	uint8_t status;	     /* VIRTIO_CONFIG_S_* */
	bool active;	     /* DRIVER_OK seen, not reset, not broken */
	uint32_t generation; /* of the configuration */
	/* Atomic, without the lock: each interrupt reads and acknowledges it, and must not wait for
	 * the device's work to do so.  VIRTIO_MMIO_INT_* */
	uint32_t interrupt_status;
	/* Someone else (vhost) raises the interrupt: "queue" always shows as pending, so that the
	 * driver looks into its queues.  Atomic, too. */
	bool interrupt_always;
	/* Interrupt: an eventfd; the engine makes it an irqfd, edge triggered. */
	int irq_fd;

	struct virtio_queue queues[VIRTIO_QUEUES_MAX];
	unsigned int queues_n;

	uint64_t faults; /* the guest broke a rule; never reset */
	unsigned int logged;
};

/*
 * For devices: fills d (embedded in the device's own structure, zeroed) and watches the kicks.
 * `sizes` has queues_n maximal queue sizes.  VERSION_1, EVENT_IDX and INDIRECT_DESC are offered in
 * addition to `features`.  -errno and err; then nothing is left behind.
 */
int virtio_device_init(struct virtio_device *d, const struct virtio_ops *ops,
		       const struct virtio_env *env, uint64_t features, const uint16_t *sizes,
		       unsigned int queues_n, struct error *err);
/* Undoes it; for a device's constructor that fails later, and for virtio_device_free(). */
void virtio_device_done(struct virtio_device *d);

/* The engine's end of it: makes the device quiet and frees it.  After io_stop(); NULL is allowed.
 */
void virtio_device_free(struct virtio_device *d);

static inline bool virtio_device_has(const struct virtio_device *d, unsigned int feature_bit)
{
	return d->features >> feature_bit & 1;
}

/* --- For devices, lock held --------------------------------------------------------------------*/

/* Interrupts the driver if it wants to know what was published in queue n. */
void virtio_device_used(struct virtio_device *d, unsigned int n);
/* The configuration changed: interrupt. */
void virtio_device_config_changed(struct virtio_device *d);
/* The guest broke a rule; `why` is a literal. */
void virtio_device_broken(struct virtio_device *d, const char *why);
/* The host's end of the device is gone: as above, but no fault of the guest's. */
void virtio_device_failed(struct virtio_device *d, const char *why);
/* Says whether somebody else raises the interrupt from now on. */
static inline void virtio_device_interrupts_elsewhere(struct virtio_device *d, bool elsewhere)
{
	__atomic_store_n(&d->interrupt_always, elsewhere, __ATOMIC_RELAXED);
}
/* Notifies queue n to ourselves: to go on later, after others had their turn. */
void virtio_device_kick(struct virtio_device *d, unsigned int n);
/* vq_pop() on queue n; marks the device broken where the queue is. */
int virtio_device_pop(struct virtio_device *d, unsigned int n, struct vq_chain *ret);
/* vq_push() and virtio_device_used(). */
void virtio_device_push(struct virtio_device *d, unsigned int n, uint16_t head, uint32_t written);
/* Reads from a fixed configuration structure: ops->config_read in one line. */
void virtio_config_copy(const void *config, size_t config_size, uint32_t offset, void *buf,
			uint32_t size);

/* --- For transports, without the lock ----------------------------------------------------------*/

/* Why the interrupt was raised (4.2.2, InterruptStatus), and that the driver has seen it. */
static inline uint32_t virtio_device_interrupts(const struct virtio_device *d)
{
	uint32_t bits = __atomic_load_n(&d->interrupt_status, __ATOMIC_SEQ_CST);

	/* VIRTIO_MMIO_INT_VRING */
	return __atomic_load_n(&d->interrupt_always, __ATOMIC_RELAXED) ? bits | 1 : bits;
}
static inline void virtio_device_acknowledge(struct virtio_device *d, uint32_t bits)
{
	__atomic_fetch_and(&d->interrupt_status, ~bits, __ATOMIC_SEQ_CST);
}

/* --- For transports, lock held -----------------------------------------------------------------*/

/* The driver writes the status (3.1.1); 0 resets. */
void virtio_device_set_status(struct virtio_device *d, uint8_t status);
/* The driver's features, 32 bits at a time; ignored after FEATURES_OK. */
void virtio_device_set_features(struct virtio_device *d, unsigned int word, uint32_t bits);
/* QueueReady: 1 checks and enables; 0 is ignored while the device is active (4.2.2: reset it). */
void virtio_device_set_queue_ready(struct virtio_device *d, unsigned int n, bool ready);

#endif
