// SPDX-License-Identifier: Apache-2.0
/* Guest memory, queues, the state machine and the mmio registers, with the simplest device there
 * is (entropy).  Second half: a driver that means harm. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "tests/unit/virtio_driver.h"

static void open_rng(struct guest *g)
{
	struct virtio_device *dev;
	struct error err = {0};

	guest_open(g);
	assert_int_equal(virtio_rng_new(&g->env, &dev, &err), 0);
	guest_plug(g, dev);
}

/* --- Memory ------------------------------------------------------------------------------------*/

static void test_mem_bounds(void **state)
{
	struct error err = {0};
	struct mem m;
	uint8_t b[4];

	(void)state;
	assert_int_equal(mem_init(&m, 8192, false, &err), 0);
	assert_non_null(mem_at(&m, GPA(0), 8192));
	assert_non_null(mem_at(&m, GPA(8191), 1));
	assert_null(mem_at(&m, GPA(0), 0));
	assert_null(mem_at(&m, GPA(0), 8193));
	assert_null(mem_at(&m, GPA(8191), 2));
	assert_null(mem_at(&m, GPA(8192), 1));
	assert_null(mem_at(&m, GPA(UINT64_MAX), 1));
	assert_null(mem_at(&m, GPA(UINT64_MAX), 2));
	assert_null(mem_at(&m, GPA(4096), UINT64_MAX));
	assert_null(mem_at(&m, GPA(1), UINT64_MAX));
	assert_int_equal(mem_write(&m, GPA(8188), "abcd", 4), 0);
	assert_int_equal(mem_read(&m, GPA(8188), b, 4), 0);
	assert_memory_equal(b, "abcd", 4);
	assert_int_equal(mem_read(&m, GPA(8189), b, 4), -EFAULT);
	assert_int_equal(mem_write(&m, GPA(8189), b, 4), -EFAULT);
	mem_done(&m);
	assert_int_equal(mem_init(&m, 0, false, &err), -EINVAL);
	assert_int_equal(mem_init(&m, 4097, false, &err), -EINVAL);
	assert_int_equal(mem_init(&m, MEM_SIZE_MAX + 4096, false, &err), -EINVAL);
}

/* Hugepages that are not there are missed now, and not at a page fault. */
static void test_mem_hugepages(void **state)
{
	struct error err = {0};
	struct mem m;

	(void)state;
	assert_int_equal(mem_init(&m, 256ull << 30, true, &err), -ENOMEM);
	assert_non_null(strstr(err.text, "not enough free 2 MiB pages (131072 needed)"));
	assert_int_equal(mem_init(&m, (2 << 20) + 4096, true, &err), -EINVAL);
}

static void test_mem_hole(void **state)
{
	struct error err = {0};
	struct mem m;

	(void)state;
	assert_int_equal(mem_init(&m, MEM_HOLE_START + 8192, false, &err), 0);
	assert_int_equal(m.regions_n, 2);
	assert_int_equal((uintptr_t)m.regions[0].at % (2 << 20), 0);
	assert_int_equal((uintptr_t)m.regions[1].at % (2 << 20), 0);
	assert_non_null(mem_at(&m, GPA(MEM_HOLE_START - 1), 1));
	assert_null(mem_at(&m, GPA(MEM_HOLE_START - 1), 2));
	assert_null(mem_at(&m, GPA(MEM_HOLE_START), 1));
	assert_null(mem_at(&m, GPA(MEM_HOLE_END - 1), 2));
	assert_non_null(mem_at(&m, GPA(MEM_HOLE_END), 8192));
	assert_null(mem_at(&m, GPA(MEM_HOLE_END), 8193));
	mem_done(&m);
}

static void test_mem_discard(void **state)
{
	struct error err = {0};
	struct stat before, after;
	struct mem m;
	uint8_t *at;

	(void)state;
	assert_int_equal(mem_init(&m, 1 << 20, false, &err), 0);
	at = mem_at(&m, GPA(0), 1 << 20);
	memset(at, 7, 1 << 20);
	assert_int_equal(fstat(m.fd, &before), 0);
	assert_int_equal(mem_discard(&m, GPA(4095), 8194), 0); /* two whole pages and two bytes */
	assert_int_equal(fstat(m.fd, &after), 0);
	assert_int_equal(before.st_blocks - after.st_blocks, 16);
	assert_int_equal(at[4095], 7);
	assert_int_equal(at[4096], 0);
	assert_int_equal(at[12287], 0);
	assert_int_equal(at[12288], 7);
	assert_int_equal(mem_discard(&m, GPA(1), 4096), 0); /* not one whole page */
	assert_int_equal(mem_discard(&m, GPA(0), 2 << 20), -EFAULT);
	assert_int_equal(ftruncate(m.fd, 4096), -1); /* sealed */
	mem_done(&m);
}

/* --- A driver that does it right ---------------------------------------------------------------*/

static void test_registers(void **state)
{
	struct guest g;
	uint64_t wide = 1;
	uint8_t byte = 1;

	(void)state;
	open_rng(&g);
	assert_int_equal(reg_get(&g, VIRTIO_MMIO_MAGIC_VALUE), 0x74726976);
	assert_int_equal(reg_get(&g, VIRTIO_MMIO_VERSION), 2);
	assert_int_equal(reg_get(&g, VIRTIO_MMIO_DEVICE_ID), 4);
	assert_int_equal(reg_get(&g, VIRTIO_MMIO_QUEUE_NUM_MAX), 8);
	reg_set(&g, VIRTIO_MMIO_QUEUE_SEL, 1);
	assert_int_equal(reg_get(&g, VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
	assert_int_equal(reg_get(&g, VIRTIO_MMIO_SHM_LEN_LOW), UINT32_MAX);
	assert_int_equal(drv_features(&g), 1ull << VIRTIO_F_VERSION_1 |
						   1ull << VIRTIO_RING_F_EVENT_IDX |
						   1ull << VIRTIO_RING_F_INDIRECT_DESC);
	/* Registers are words. */
	virtio_mmio_read(&g.mmio, VIRTIO_MMIO_MAGIC_VALUE, &wide, 8);
	assert_int_equal(wide, 0);
	virtio_mmio_read(&g.mmio, VIRTIO_MMIO_MAGIC_VALUE, &byte, 1);
	assert_int_equal(byte, 0);
	assert_int_equal(reg_get(&g, VIRTIO_MMIO_MAGIC_VALUE + 2), 0);
	assert_int_equal(reg_get(&g, 0x1000), 0);
	virtio_mmio_write(&g.mmio, UINT64_MAX, &wide, 4);
	guest_close(&g);
}

static void test_features(void **state)
{
	struct guest g;

	(void)state;
	open_rng(&g);
	drv_negotiate(&g, 0); /* no VERSION_1 */
	assert_false(reg_get(&g, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_FEATURES_OK);
	drv_negotiate(&g, drv_features(&g) | 1); /* one that was not offered */
	assert_false(reg_get(&g, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_FEATURES_OK);
	drv_negotiate(&g, 1ull << VIRTIO_F_VERSION_1);
	assert_true(reg_get(&g, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_FEATURES_OK);
	guest_close(&g);
}

static void fetch(struct guest *g, uint32_t size, unsigned int times)
{
	uint64_t at = guest_alloc(g, 4096, 4096);
	uint8_t zero[64] = {0};

	for (unsigned int i = 0; i < times; i++) {
		memset(guest_at(g, at, 4096), 0, 4096);
		assert_int_equal(drv_do(g, 0, &(struct drv_buf){at, size, true}, 1), size);
		assert_memory_not_equal(guest_at(g, at, size), zero, size < 64 ? size : 64);
	}
}

/* More than 65536 requests, so that every index wraps. */
static void test_requests(void **state)
{
	static const uint64_t without[] = {0, 1ull << VIRTIO_RING_F_EVENT_IDX};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(without); i++) {
		struct guest g;

		open_rng(&g);
		drv_start(&g, without[i]);
		fetch(&g, 64, i ? 100 : 70000);
		assert_int_equal(g.dev->faults, 0);
		guest_close(&g);
	}
}

static void test_reset_and_again(void **state)
{
	struct guest g;

	(void)state;
	open_rng(&g);
	for (int i = 0; i < 20; i++) {
		drv_start(&g, 0);
		fetch(&g, 64, 5);
	}
	guest_close(&g);
}

static void test_indirect(void **state)
{
	struct guest g;
	struct vring_desc *table;
	uint64_t at, buf;

	(void)state;
	open_rng(&g);
	drv_start(&g, 0);
	at = guest_alloc(&g, 4096, 1) + 1; /* tables need no alignment */
	buf = guest_alloc(&g, 4096, 16);
	table = guest_at(&g, at, 4000);
	for (uint16_t i = 0; i < 100; i++) {
		struct vring_desc d = {buf + i, 1, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT,
				       (uint16_t)(i + 1)};

		if (i == 99)
			d.flags = VRING_DESC_F_WRITE;
		memcpy((uint8_t *)table + 16 * i, &d, 16);
	}
	/* one plain descriptor, then the table */
	drv_desc(&g, 0, 0, buf + 100, 28, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 1);
	drv_desc(&g, 0, 1, at, 1600, VRING_DESC_F_INDIRECT, 0);
	drv_offer(&g, 0, 0);
	drv_kick(&g, 0);
	assert_int_equal(drv_get(&g, 0).len, 128);
	guest_close(&g);
}

static void test_interrupt_suppression(void **state)
{
	struct guest g;
	uint64_t buf;

	(void)state;
	open_rng(&g);
	/* by flag */
	drv_start(&g, 1ull << VIRTIO_RING_F_EVENT_IDX);
	buf = guest_alloc(&g, 64, 16);
	q_avail(&g, 0)->flags = VRING_AVAIL_F_NO_INTERRUPT;
	drv_add_one(&g, 0, buf, 64, true);
	drv_kick(&g, 0);
	while (!drv_used_ready(&g, 0))
		poll(NULL, 0, 1);
	assert_false(drv_irq(&g, 50));
	/* by index: after the third */
	drv_start(&g, 0);
	q_avail(&g, 0)->ring[g.q[0].size] = 2;
	for (int i = 0; i < 3; i++) {
		drv_add_one(&g, 0, buf, 64, true);
		drv_kick(&g, 0);
		while (__atomic_load_n(&q_used(&g, 0)->idx, __ATOMIC_ACQUIRE) != i + 1)
			poll(NULL, 0, 1);
		assert_int_equal(drv_irq(&g, i == 2 ? 1000 : 50), i == 2);
	}
	guest_close(&g);
}

/* --- A driver that means harm ------------------------------------------------------------------*/

/* Each starts afresh, does its worst, must be found out, and the device must work after a reset. */
typedef void harm_fn(struct guest *g, uint64_t buf);

static void harm_loop(struct guest *g, uint64_t buf)
{
	drv_desc(g, 0, 0, buf, 1, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 1);
	drv_desc(g, 0, 1, buf, 1, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 0);
	drv_offer(g, 0, 0);
}

static void harm_self_loop(struct guest *g, uint64_t buf)
{
	drv_desc(g, 0, 3, buf, 1, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 3);
	drv_offer(g, 0, 3);
}

static void harm_next_out_of_range(struct guest *g, uint64_t buf)
{
	drv_desc(g, 0, 0, buf, 1, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 8);
	drv_offer(g, 0, 0);
}

static void harm_head_out_of_range(struct guest *g, uint64_t buf)
{
	(void)buf;
	drv_offer(g, 0, 0xffff);
}

static void harm_length(struct guest *g, uint64_t buf)
{
	drv_add_one(g, 0, buf, 0xffffffff, true);
}

static void harm_length_past_ram(struct guest *g, uint64_t buf)
{
	drv_add_one(g, 0, buf, (uint32_t)(RAM_SIZE - buf + 1), true);
}

static void harm_address_wraps(struct guest *g, uint64_t buf)
{
	(void)buf;
	drv_add_one(g, 0, UINT64_MAX - 8, 64, true);
}

static void harm_address(struct guest *g, uint64_t buf)
{
	(void)buf;
	drv_add_one(g, 0, RAM_SIZE, 1, true);
}

static void harm_zero_length(struct guest *g, uint64_t buf)
{
	drv_add_one(g, 0, buf, 0, true);
}

static void harm_avail_jump(struct guest *g, uint64_t buf)
{
	(void)buf;
	q_avail(g, 0)->idx = 9;
}

static void harm_avail_backwards(struct guest *g, uint64_t buf)
{
	(void)buf;
	q_avail(g, 0)->idx = 0xffff;
}

static void harm_wrong_direction(struct guest *g, uint64_t buf)
{
	drv_add_one(g, 0, buf, 64, false);
}

static void harm_mixed_direction(struct guest *g, uint64_t buf)
{
	const struct drv_buf bufs[] = {{buf, 8, true}, {buf, 8, false}};

	drv_add(g, 0, bufs, 2);
}

static void indirect(struct guest *g, uint64_t table, uint32_t len, uint16_t flags)
{
	drv_desc(g, 0, 0, table, len, VRING_DESC_F_INDIRECT | flags, 1);
	drv_offer(g, 0, 0);
}

static void harm_indirect_nested(struct guest *g, uint64_t buf)
{
	*(struct vring_desc *)guest_at(g, buf, 16) = (struct vring_desc){buf, 16,
									 VRING_DESC_F_INDIRECT, 0};
	indirect(g, buf, 16, 0);
}

/*
 * The table is the queue's own: found by fuzz_virtio when nesting was told from a plain chain by
 * the table's address.  The walk began anew at each turn and never ended.
 */
static void harm_indirect_own_table(struct guest *g, uint64_t buf)
{
	(void)buf;
	indirect(g, g->q[0].desc, 16, 0);
}

static void harm_indirect_next(struct guest *g, uint64_t buf)
{
	indirect(g, buf, 16, VRING_DESC_F_NEXT);
}

static void harm_indirect_empty(struct guest *g, uint64_t buf)
{
	indirect(g, buf, 0, 0);
}

static void harm_indirect_uneven(struct guest *g, uint64_t buf)
{
	indirect(g, buf, 24, 0);
}

static void harm_indirect_huge(struct guest *g, uint64_t buf)
{
	indirect(g, buf, 0xfffffff0, 0);
}

static void harm_indirect_outside(struct guest *g, uint64_t buf)
{
	(void)buf;
	indirect(g, RAM_SIZE - 8, 16, 0);
}

static void harm_indirect_index(struct guest *g, uint64_t buf)
{
	*(struct vring_desc *)guest_at(g, buf, 16) =
		(struct vring_desc){buf, 16, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 1};
	indirect(g, buf, 16, 0);
}

static void harm_indirect_loop(struct guest *g, uint64_t buf)
{
	*(struct vring_desc *)guest_at(g, buf, 16) =
		(struct vring_desc){buf, 16, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 0};
	indirect(g, buf, 16, 0);
}

static void harm_indirect_too_many(struct guest *g, uint64_t buf)
{
	struct vring_desc *table = guest_at(g, buf, 16 * 200);

	for (uint16_t i = 0; i < 200; i++)
		table[i] = (struct vring_desc){buf, 1, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT,
					       (uint16_t)(i + 1)};
	indirect(g, buf, 16 * 200, 0);
}

static const struct {
	const char *why; /* what the log must say */
	harm_fn *harm;
} harms[] = {
	{"descriptors loop", harm_loop},
	{"descriptors loop", harm_self_loop},
	{"descriptor index out of range", harm_next_out_of_range},
	{"head out of range", harm_head_out_of_range},
	{"too many bytes", harm_length},
	{"buffer outside RAM", harm_length_past_ram},
	{"buffer outside RAM", harm_address_wraps},
	{"buffer outside RAM", harm_address},
	{"buffer of no bytes", harm_zero_length},
	{"available index jumps", harm_avail_jump},
	{"available index jumps", harm_avail_backwards},
	{"readable buffer to fill", harm_wrong_direction},
	{"readable buffer after a writable one", harm_mixed_direction},
	{"indirect descriptor in an indirect table", harm_indirect_nested},
	{"indirect descriptor in an indirect table", harm_indirect_own_table},
	{"indirect descriptor with a next one", harm_indirect_next},
	{"indirect table of a bad size", harm_indirect_empty},
	{"indirect table of a bad size", harm_indirect_uneven},
	{"indirect table of a bad size", harm_indirect_huge},
	{"indirect table outside RAM", harm_indirect_outside},
	{"descriptor index out of range", harm_indirect_index},
	{"descriptors loop", harm_indirect_loop},
	{"too many buffers", harm_indirect_too_many},
};

static void test_harm(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(harms); i++) {
		char line[256] = "";
		struct guest g;

		open_rng(&g);
		drv_start(&g, 0);
		harms[i].harm(&g, guest_alloc(&g, 4096, 4096));
		drv_kick(&g, 0);
		expect_broken(&g);
		assert_true(drv_irq(&g, 1000)); /* of the configuration */
		assert_int_equal(g.dev->faults, 1);
		assert_true(read(g.log[0], line, sizeof(line) - 1) > 0);
		assert_non_null(strstr(line, harms[i].why));
		/* silent: kicks do nothing now */
		for (int k = 0; k < 100; k++)
			drv_kick(&g, 0);
		assert_int_equal(q_used(&g, 0)->idx, 0);
		drv_start(&g, 0);
		fetch(&g, 64, 3);
		guest_close(&g);
	}
}

static void place_badly(struct guest *g, uint32_t size, uint64_t desc, uint64_t avail,
			uint64_t used)
{
	drv_negotiate(g, drv_features(g));
	drv_queue_place(g, 0, size, desc, avail, used);
	assert_int_equal(reg_get(g, VIRTIO_MMIO_QUEUE_READY), 0);
	assert_true(reg_get(g, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
	drv_ok(g); /* nor does this wake it */
	drv_kick(g, 0);
	assert_true(reg_get(g, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
	drv_start(g, 0);
	fetch(g, 64, 1);
}

static void test_bad_queues(void **state)
{
	struct guest g;

	(void)state;
	open_rng(&g);
	place_badly(&g, 0, 0x1000, 0x2000, 0x3000);
	place_badly(&g, 3, 0x1000, 0x2000, 0x3000);
	place_badly(&g, 16, 0x1000, 0x2000, 0x3000); /* more than QueueNumMax */
	place_badly(&g, 65536, 0x1000, 0x2000, 0x3000);
	place_badly(&g, 0x80000000, 0x1000, 0x2000, 0x3000);
	place_badly(&g, 8, 0x1008, 0x2000, 0x3000); /* not aligned */
	place_badly(&g, 8, 0x1000, 0x2001, 0x3000);
	place_badly(&g, 8, 0x1000, 0x2000, 0x3002);
	place_badly(&g, 8, RAM_SIZE, 0x2000, 0x3000); /* outside */
	place_badly(&g, 8, 0x1000, RAM_SIZE - 2, 0x3000);
	place_badly(&g, 8, 0x1000, 0x2000, RAM_SIZE - 68);
	place_badly(&g, 8, 0x1000, 0x2000, UINT64_MAX - 3);
	guest_close(&g);
}

/* Registers in an order no driver would use. */
static void test_bad_order(void **state)
{
	struct guest g;
	uint64_t buf;

	(void)state;
	open_rng(&g);
	reg_set(&g, VIRTIO_MMIO_STATUS, 0);
	reg_set(&g, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_DRIVER_OK);
	expect_broken(&g);
	reg_set(&g, VIRTIO_MMIO_STATUS, 0);
	drv_queue_place(&g, 0, 8, 0x1000, 0x2000, 0x3000); /* before FEATURES_OK */
	expect_broken(&g);
	drv_start(&g, 0);
	/* Moving a queue, disabling it or changing features while it runs changes nothing. */
	drv_queue_place(&g, 0, 4, RAM_SIZE, RAM_SIZE, RAM_SIZE);
	reg_set(&g, VIRTIO_MMIO_QUEUE_READY, 0);
	reg_set(&g, VIRTIO_MMIO_DRIVER_FEATURES, UINT32_MAX);
	reg_set(&g, VIRTIO_MMIO_QUEUE_SEL, UINT32_MAX);
	drv_queue_place(&g, UINT32_MAX, 4, RAM_SIZE, RAM_SIZE, RAM_SIZE);
	drv_kick(&g, 1);
	drv_kick(&g, UINT32_MAX);
	fetch(&g, 64, 3);
	/* A device that runs with no queue at all. */
	drv_negotiate(&g, drv_features(&g));
	drv_ok(&g);
	drv_kick(&g, 0);
	/* The driver cannot say that the device is broken. */
	reg_set(&g, VIRTIO_MMIO_STATUS, 0xff);
	assert_false(reg_get(&g, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
	drv_start(&g, 0);
	buf = guest_alloc(&g, 64, 64);
	reg_set(&g, VIRTIO_MMIO_STATUS, 0);
	/* The rings are still there, the device must not look at them.  (Before, it may at any
	 * time.) */
	drv_add_one(&g, 0, buf, 64, true);
	drv_kick(&g, 0);
	poll(NULL, 0, 20);
	assert_int_equal(q_used(&g, 0)->idx, 0);
	assert_int_equal(g.dev->faults, 2);
	guest_close(&g);
}

static void test_bounded_log(void **state)
{
	struct guest g;
	char all[4096];
	unsigned int lines = 0;
	ssize_t n;

	(void)state;
	open_rng(&g);
	for (int i = 0; i < 50; i++) {
		drv_start(&g, 0);
		g.top = 0x10000;
		drv_offer(&g, 0, 99);
		drv_kick(&g, 0);
		expect_broken(&g);
	}
	assert_int_equal(g.dev->faults, 50);
	n = read(g.log[0], all, sizeof(all));
	for (ssize_t i = 0; i < n; i++)
		lines += all[i] == '\n';
	assert_int_equal(lines, VIRTIO_LOG_MAX);
	guest_close(&g);
}

static void *storm(void *arg)
{
	struct guest *g = arg;

	for (int i = 0; i < 20000; i++)
		drv_kick(g, 0);
	return NULL;
}

static void *reset_storm(void *arg)
{
	struct guest *g = arg;

	for (int i = 0; i < 300; i++) {
		reg_set(g, VIRTIO_MMIO_STATUS, 0);
		poll(NULL, 0, i % 3);
	}
	return NULL;
}

/* Doorbells from one vCPU, resets from another, requests from a third. */
static void test_storm(void **state)
{
	pthread_t kicker, resetter;
	struct guest g;

	(void)state;
	open_rng(&g);
	drv_start(&g, 0);
	pthread_create(&kicker, NULL, storm, &g);
	fetch(&g, 64, 2000);
	pthread_join(kicker, NULL);
	pthread_create(&kicker, NULL, storm, &g);
	pthread_create(&resetter, NULL, reset_storm, &g);
	for (int i = 0; i < 300; i++) {
		g.top = 0x10000;
		drv_negotiate(&g, 7ull << 28 | 1ull << VIRTIO_F_VERSION_1);
		drv_queue_setup(&g, 0, 8);
		drv_ok(&g);
		for (int k = 0; k < 8; k++)
			drv_add_one(&g, 0, 0x20000, 64, true);
		drv_kick(&g, 0);
	}
	pthread_join(kicker, NULL);
	pthread_join(resetter, NULL);
	drv_start(&g, 0);
	fetch(&g, 64, 3);
	guest_close(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mem_bounds), cmocka_unit_test(test_mem_hugepages),
		cmocka_unit_test(test_mem_hole),   cmocka_unit_test(test_mem_discard),
		cmocka_unit_test(test_registers),  cmocka_unit_test(test_features),
		cmocka_unit_test(test_requests),   cmocka_unit_test(test_reset_and_again),
		cmocka_unit_test(test_indirect),   cmocka_unit_test(test_interrupt_suppression),
		cmocka_unit_test(test_harm),	   cmocka_unit_test(test_bad_queues),
		cmocka_unit_test(test_bad_order),  cmocka_unit_test(test_bounded_log),
		cmocka_unit_test(test_storm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
