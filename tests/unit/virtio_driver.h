/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's driver, for tests: lays out queues in a struct mem and pokes the mmio
 * registers as a driver would, or as one would that means harm.  The I/O thread is a
 * real one.  Included by the tests of each device after cmocka.h.
 */
#ifndef CAISSON_TESTS_VIRTIO_DRIVER_H
#define CAISSON_TESTS_VIRTIO_DRIVER_H

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>

#include "lib/cleanup.h"
#include "vmm/virtio/devices.h"
#include "vmm/virtio/mmio.h"

#define RAM_SIZE (8ull << 20)
#define WAIT_MS 5000

struct drv_queue {
	uint16_t size;
	uint64_t desc, avail, used; /* guest-physical */
	uint16_t avail_idx, used_idx;
	uint16_t next_desc;
};

struct guest {
	struct mem mem;
	struct io io;
	struct virtio_env env;
	struct virtio_device *dev;
	struct virtio_mmio mmio;
	struct drv_queue q[VIRTIO_QUEUES_MAX];
	uint64_t top; /* next free guest-physical byte */
	int log[2];   /* pipe */
	bool event_idx;
};

struct drv_buf {
	uint64_t gpa;
	uint32_t len;
	bool writable;
};

static inline uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static inline void guest_open(struct guest *g)
{
	struct error err = {0};

	*g = (struct guest){.top = 0x10000};
	assert_int_equal(mem_init(&g->mem, RAM_SIZE, false, &err), 0);
	assert_int_equal(io_init(&g->io, &err), 0);
	assert_int_equal(pipe(g->log), 0);
	g->env = (struct virtio_env){&g->mem, &g->io, g->log[1]};
}

/* After the device was made with g->env. */
static inline void guest_plug(struct guest *g, struct virtio_device *dev)
{
	struct error err = {0};

	g->dev = dev;
	virtio_mmio_init(&g->mmio, dev);
	assert_int_equal(io_start(&g->io, NULL, NULL, &err), 0);
}

static inline void guest_close(struct guest *g)
{
	io_stop(&g->io);
	virtio_device_free(g->dev);
	io_done(&g->io);
	mem_done(&g->mem);
	close(g->log[0]);
	close(g->log[1]);
}

static inline uint32_t reg_get(struct guest *g, uint32_t offset)
{
	uint32_t v = 0xa5a5a5a5;

	virtio_mmio_read(&g->mmio, offset, &v, 4);
	return v;
}

static inline void reg_set(struct guest *g, uint32_t offset, uint32_t v)
{
	virtio_mmio_write(&g->mmio, offset, &v, 4);
}

static inline uint64_t guest_alloc(struct guest *g, uint64_t size, uint64_t align)
{
	uint64_t at = (g->top + align - 1) & ~(align - 1);

	g->top = at + size;
	assert_true(g->top <= RAM_SIZE);
	return at;
}

static inline void *guest_at(struct guest *g, uint64_t gpa, uint64_t size)
{
	void *at = mem_at(&g->mem, GPA(gpa), size);

	assert_non_null(at);
	return at;
}

static inline struct vring_desc *q_desc(struct guest *g, unsigned int n)
{
	return guest_at(g, g->q[n].desc, 16ull * g->q[n].size);
}

static inline struct vring_avail *q_avail(struct guest *g, unsigned int n)
{
	return guest_at(g, g->q[n].avail, 6 + 2ull * g->q[n].size);
}

static inline struct vring_used *q_used(struct guest *g, unsigned int n)
{
	return guest_at(g, g->q[n].used, 6 + 8ull * g->q[n].size);
}

static inline uint64_t drv_features(struct guest *g)
{
	uint64_t f;

	reg_set(g, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
	f = (uint64_t)reg_get(g, VIRTIO_MMIO_DEVICE_FEATURES) << 32;
	reg_set(g, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
	return f | reg_get(g, VIRTIO_MMIO_DEVICE_FEATURES);
}

/* Reset up to FEATURES_OK. */
static inline void drv_negotiate(struct guest *g, uint64_t features)
{
	uint32_t status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;

	reg_set(g, VIRTIO_MMIO_STATUS, 0);
	assert_int_equal(reg_get(g, VIRTIO_MMIO_STATUS), 0);
	reg_set(g, VIRTIO_MMIO_STATUS, status);
	for (uint32_t word = 0; word < 2; word++) {
		reg_set(g, VIRTIO_MMIO_DRIVER_FEATURES_SEL, word);
		reg_set(g, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(features >> (32 * word)));
	}
	reg_set(g, VIRTIO_MMIO_STATUS, status | VIRTIO_CONFIG_S_FEATURES_OK);
	g->event_idx = features >> VIRTIO_RING_F_EVENT_IDX & 1;
}

static inline void drv_queue_place(struct guest *g, unsigned int n, uint32_t size, uint64_t desc,
				   uint64_t avail, uint64_t used)
{
	reg_set(g, VIRTIO_MMIO_QUEUE_SEL, n);
	reg_set(g, VIRTIO_MMIO_QUEUE_NUM, size);
	reg_set(g, VIRTIO_MMIO_QUEUE_DESC_LOW, (uint32_t)desc);
	reg_set(g, VIRTIO_MMIO_QUEUE_DESC_HIGH, (uint32_t)(desc >> 32));
	reg_set(g, VIRTIO_MMIO_QUEUE_AVAIL_LOW, (uint32_t)avail);
	reg_set(g, VIRTIO_MMIO_QUEUE_AVAIL_HIGH, (uint32_t)(avail >> 32));
	reg_set(g, VIRTIO_MMIO_QUEUE_USED_LOW, (uint32_t)used);
	reg_set(g, VIRTIO_MMIO_QUEUE_USED_HIGH, (uint32_t)(used >> 32));
	reg_set(g, VIRTIO_MMIO_QUEUE_READY, 1);
}

static inline void drv_queue_setup(struct guest *g, unsigned int n, uint16_t size)
{
	struct drv_queue *q = &g->q[n];

	*q = (struct drv_queue){.size = size};
	q->desc = guest_alloc(g, 16ull * size, 16);
	q->avail = guest_alloc(g, 6 + 2ull * size, 2);
	q->used = guest_alloc(g, 6 + 8ull * size, 4);
	memset(q_desc(g, n), 0, 16ull * size);
	memset(q_avail(g, n), 0, 6 + 2ull * size);
	memset(q_used(g, n), 0, 6 + 8ull * size);
	drv_queue_place(g, n, size, q->desc, q->avail, q->used);
}

static inline void drv_ok(struct guest *g)
{
	reg_set(g, VIRTIO_MMIO_STATUS, reg_get(g, VIRTIO_MMIO_STATUS) | VIRTIO_CONFIG_S_DRIVER_OK);
}

/* All of it, with every feature but those in `without`, and all queues at their largest. */
static inline void drv_start(struct guest *g, uint64_t without)
{
	drv_negotiate(g, drv_features(g) & ~without);
	assert_true(reg_get(g, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_FEATURES_OK);
	for (unsigned int n = 0; n < g->dev->queues_n; n++) {
		reg_set(g, VIRTIO_MMIO_QUEUE_SEL, n);
		drv_queue_setup(g, n, (uint16_t)reg_get(g, VIRTIO_MMIO_QUEUE_NUM_MAX));
	}
	drv_ok(g);
	assert_int_equal(reg_get(g, VIRTIO_MMIO_STATUS),
			 VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
				 VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK);
}

static inline void drv_desc(struct guest *g, unsigned int n, uint16_t i, uint64_t gpa, uint32_t len,
			    uint16_t flags, uint16_t next)
{
	q_desc(g, n)[i % g->q[n].size] = (struct vring_desc){gpa, len, flags, next};
}

static inline void drv_offer(struct guest *g, unsigned int n, uint16_t head)
{
	struct drv_queue *q = &g->q[n];
	struct vring_avail *a = q_avail(g, n);

	a->ring[q->avail_idx++ % q->size] = head;
	__atomic_store_n(&a->idx, q->avail_idx, __ATOMIC_RELEASE);
}

static inline void drv_kick(struct guest *g, unsigned int n)
{
	reg_set(g, VIRTIO_MMIO_QUEUE_NOTIFY, n);
}

/* Adds a chain, descriptors being taken in a round; returns its head. */
static inline uint16_t drv_add(struct guest *g, unsigned int n, const struct drv_buf *bufs,
			       unsigned int count)
{
	struct drv_queue *q = &g->q[n];
	uint16_t head = q->next_desc % q->size;

	for (unsigned int i = 0; i < count; i++) {
		uint16_t at = q->next_desc++;

		drv_desc(g, n, at, bufs[i].gpa, bufs[i].len,
			 (uint16_t)((i + 1 < count ? VRING_DESC_F_NEXT : 0) |
				    (bufs[i].writable ? VRING_DESC_F_WRITE : 0)),
			 (uint16_t)(at + 1) % q->size);
	}
	drv_offer(g, n, head);
	return head;
}

static inline uint16_t drv_add_one(struct guest *g, unsigned int n, uint64_t gpa, uint32_t len,
				   bool writable)
{
	return drv_add(g, n, &(struct drv_buf){gpa, len, writable}, 1);
}

static inline bool drv_used_ready(struct guest *g, unsigned int n)
{
	return __atomic_load_n(&q_used(g, n)->idx, __ATOMIC_ACQUIRE) != g->q[n].used_idx;
}

/* Waits for an interrupt; false: none came within the time. */
static inline bool drv_irq(struct guest *g, int ms)
{
	struct pollfd p = {.fd = virtio_mmio_irq_fd(&g->mmio), .events = POLLIN};
	eventfd_t v;

	if (poll(&p, 1, ms) <= 0)
		return false;
	eventfd_read(p.fd, &v);
	reg_set(g, VIRTIO_MMIO_INTERRUPT_ACK, reg_get(g, VIRTIO_MMIO_INTERRUPT_STATUS));
	return true;
}

/* The next used element, waiting for interrupts as a driver does. */
static inline struct vring_used_elem drv_get(struct guest *g, unsigned int n)
{
	struct drv_queue *q = &g->q[n];
	const uint64_t until = now_ms() + WAIT_MS;

	while (!drv_used_ready(g, n)) {
		if (g->event_idx) {
			uint16_t *event = &q_avail(g, n)->ring[q->size];

			__atomic_store_n(event, q->used_idx, __ATOMIC_SEQ_CST);
			if (drv_used_ready(g, n))
				break;
		}
		assert_true(now_ms() < until);
		/* Short: an interrupt that was taken for another queue may have been ours. */
		drv_irq(g, 20);
	}
	return q_used(g, n)->ring[q->used_idx++ % q->size];
}

/* Offers one chain and waits until it is used; returns the bytes written. */
static inline uint32_t drv_do(struct guest *g, unsigned int n, const struct drv_buf *bufs,
			      unsigned int count)
{
	uint16_t head = drv_add(g, n, bufs, count);
	struct vring_used_elem e;

	drv_kick(g, n);
	e = drv_get(g, n);
	assert_int_equal(e.id, head);
	return e.len;
}

/* The device must notice, say so, and still be there. */
static inline void expect_broken(struct guest *g)
{
	const uint64_t until = now_ms() + WAIT_MS;

	while (!(reg_get(g, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET)) {
		assert_true(now_ms() < until);
		poll(NULL, 0, 1);
	}
	assert_true(g->dev->faults > 0);
}

#endif
