// SPDX-License-Identifier: Apache-2.0
/* Memory that comes while the guest runs: what becomes RAM when, and which blocks may be plugged.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_mem.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/virtio_driver.h"
#include "vmm/growth.h"

#define STEP MEM_GROWTH_STEP
#define BLOCK (2ull << 20)
#define BASE (4ull << 30)

static void open_memory(struct guest *g)
{
	int fd = memfd_create("lent", MFD_ALLOW_SEALING);
	struct virtio_device *dev;
	struct error err = {0};

	guest_open(g);
	mem_done(&g->mem);
	assert_int_equal(ftruncate(fd, (off_t)(RAM_SIZE + 3 * STEP)), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
	assert_int_equal(mem_init_lent(&g->mem, fd, RAM_SIZE, RAM_SIZE + 3 * STEP, false, &err), 0);
	close(fd);
	assert_int_equal(virtio_mem_new(&g->env, &dev, &err), 0);
	guest_plug(g, dev);
	drv_start(g, 0);
}

static uint64_t config(struct guest *g, uint32_t offset)
{
	return reg_get(g, VIRTIO_MMIO_CONFIG + offset) |
	       (uint64_t)reg_get(g, VIRTIO_MMIO_CONFIG + offset + 4) << 32;
}

#define CONFIG(g, field) config(g, offsetof(struct virtio_mem_config, field))

static struct virtio_mem_resp ask(struct guest *g, uint16_t type, uint64_t addr, uint16_t blocks)
{
	const uint64_t at = guest_alloc(g, 64, 64);
	struct virtio_mem_req *req = guest_at(g, at, sizeof(*req));
	struct virtio_mem_resp *resp = guest_at(g, at + 32, sizeof(*resp));

	memset(resp, 0xff, sizeof(*resp));
	*req = (struct virtio_mem_req){.type = type, .u.plug = {.addr = addr, .nb_blocks = blocks}};
	assert_int_equal(drv_do(g, 0,
				(struct drv_buf[]){{at, sizeof(*req), false},
						   {at + 32, sizeof(*resp), true}},
				2),
			 sizeof(*resp));
	return *resp;
}

static void expect(struct guest *g, uint16_t type, uint64_t addr, uint16_t blocks, uint16_t answer)
{
	assert_int_equal(ask(g, type, addr, blocks).type, answer);
}

static void expect_state(struct guest *g, uint64_t addr, uint16_t blocks, uint16_t state)
{
	const struct virtio_mem_resp r = ask(g, VIRTIO_MEM_REQ_STATE, addr, blocks);

	assert_int_equal(r.type, VIRTIO_MEM_RESP_ACK);
	assert_int_equal(r.u.state.state, state);
}

static void test_layout(void **state)
{
	struct mem_extent e;

	(void)state;
	assert_false(mem_growth(RAM_SIZE, RAM_SIZE, &e));
	assert_false(mem_growth(RAM_SIZE, RAM_SIZE - STEP, &e));
	assert_false(mem_growth(RAM_SIZE, RAM_SIZE + STEP / 2, &e));
	assert_false(mem_growth(RAM_SIZE + 4096, RAM_SIZE + 4096 + STEP, &e));
	assert_false(mem_growth(STEP, MEM_SIZE_MAX + STEP, &e));
	assert_true(mem_growth(RAM_SIZE, RAM_SIZE + STEP, &e));
	assert_true(e.base.v == BASE && e.size == STEP && e.offset == RAM_SIZE);
	assert_true(mem_growth(BASE, BASE + STEP, &e)); /* 1 GiB of it is behind the hole */
	assert_true(e.base.v == 6ull << 30 && e.offset == BASE);
}

static void test_ram(void **state)
{
	struct guest g;

	(void)state;
	open_memory(&g);
	assert_null(mem_at(&g.mem, GPA(BASE), 1));
	assert_int_equal(mem_grow(&g.mem, STEP / 2), -EINVAL);
	assert_int_equal(mem_grow(&g.mem, 4 * STEP), -EINVAL);
	assert_int_equal(mem_grow(&g.mem, 2 * STEP), 0);
	assert_int_equal(mem_grow(&g.mem, STEP), -EINVAL);
	assert_non_null(mem_at(&g.mem, GPA(BASE), 2 * STEP));
	assert_null(mem_at(&g.mem, GPA(BASE + 2 * STEP - 1), 2));
	assert_null(mem_at(&g.mem, GPA(RAM_SIZE - 1), 2));
	assert_int_equal(mem_gpa(&g.mem, mem_at(&g.mem, GPA(BASE + 5), 1)).v, BASE + 5);
	guest_close(&g);
}

static void test_blocks(void **state)
{
	struct guest g;

	(void)state;
	open_memory(&g);
	assert_int_equal(CONFIG(&g, block_size), BLOCK);
	assert_int_equal(CONFIG(&g, addr), BASE);
	assert_int_equal(CONFIG(&g, region_size), 3 * STEP);
	assert_int_equal(CONFIG(&g, requested_size), 0);
	expect(&g, VIRTIO_MEM_REQ_PLUG, BASE, 1, VIRTIO_MEM_RESP_ERROR);

	assert_int_equal(mem_grow(&g.mem, STEP), 0);
	virtio_mem_grown(g.dev);
	assert_int_equal(CONFIG(&g, requested_size), STEP);
	assert_int_equal(CONFIG(&g, usable_region_size), STEP);
	expect_state(&g, BASE, STEP / BLOCK, VIRTIO_MEM_STATE_UNPLUGGED);
	expect(&g, VIRTIO_MEM_REQ_PLUG, BASE + BLOCK, 3, VIRTIO_MEM_RESP_ACK);
	expect_state(&g, BASE + BLOCK, 3, VIRTIO_MEM_STATE_PLUGGED);
	expect_state(&g, BASE, 2, VIRTIO_MEM_STATE_MIXED);
	assert_int_equal(CONFIG(&g, plugged_size), 3 * BLOCK);
	assert_int_equal(virtio_mem_plugged(g.dev), 3 * BLOCK);

	/* Twice, half, what was not, outside, not aligned, none, far away. */
	expect(&g, VIRTIO_MEM_REQ_PLUG, BASE + 3 * BLOCK, 2, VIRTIO_MEM_RESP_ERROR);
	expect(&g, VIRTIO_MEM_REQ_UNPLUG, BASE, 2, VIRTIO_MEM_RESP_ERROR);
	expect(&g, VIRTIO_MEM_REQ_PLUG, BASE + STEP - BLOCK, 2, VIRTIO_MEM_RESP_ERROR);
	expect(&g, VIRTIO_MEM_REQ_PLUG, BASE + STEP, 1, VIRTIO_MEM_RESP_ERROR);
	expect(&g, VIRTIO_MEM_REQ_PLUG, BASE - BLOCK, 1, VIRTIO_MEM_RESP_ERROR);
	expect(&g, VIRTIO_MEM_REQ_PLUG, BASE + 4096, 1, VIRTIO_MEM_RESP_ERROR);
	expect(&g, VIRTIO_MEM_REQ_PLUG, BASE + 8 * BLOCK, 0, VIRTIO_MEM_RESP_ERROR);
	expect(&g, VIRTIO_MEM_REQ_PLUG, UINT64_MAX & ~(BLOCK - 1), UINT16_MAX,
	       VIRTIO_MEM_RESP_ERROR);
	expect(&g, VIRTIO_MEM_REQ_STATE, BASE, UINT16_MAX, VIRTIO_MEM_RESP_ERROR);
	expect(&g, 77, BASE, 1, VIRTIO_MEM_RESP_ERROR);

	expect(&g, VIRTIO_MEM_REQ_UNPLUG, BASE + 2 * BLOCK, 1, VIRTIO_MEM_RESP_ACK);
	assert_int_equal(CONFIG(&g, plugged_size), 2 * BLOCK);
	expect(&g, VIRTIO_MEM_REQ_UNPLUG_ALL, 0, 0, VIRTIO_MEM_RESP_ACK);
	assert_int_equal(CONFIG(&g, plugged_size), 0);
	expect(&g, VIRTIO_MEM_REQ_PLUG, BASE, STEP / BLOCK, VIRTIO_MEM_RESP_ACK);
	assert_int_equal(g.dev->faults, 0);
	guest_close(&g);
}

static void test_odd_requests(void **state)
{
	static const struct drv_buf bufs[][2] = {
		{{0x1000, 8, false}, {0x1100, 16, true}},
		{{0x1000, 24, false}, {0x1100, 4, true}},
	};
	struct guest g;

	(void)state;
	open_memory(&g);
	for (unsigned int i = 0; i < ARRAY_SIZE(bufs); i++) {
		drv_add(&g, 0, bufs[i], 2);
		drv_kick(&g, 0);
		expect_broken(&g);
		reg_set(&g, VIRTIO_MMIO_STATUS, 0);
		drv_start(&g, 0);
	}
	guest_close(&g);
}

static bool requested(struct guest *g, uint64_t bytes)
{
	for (uint64_t until = now_ms() + WAIT_MS; now_ms() < until;)
		if (CONFIG(g, requested_size) == bytes)
			return true;
	return false;
}

static void say(int fd, uint64_t bytes)
{
	assert_int_equal(write(fd, &bytes, sizeof(bytes)), sizeof(bytes));
}

/* The lender's word; what cannot be is the last that is heard. */
static void test_growth(void **state)
{
	struct growth growth;
	struct error err = {0};
	struct guest g;
	int fds[2];

	(void)state;
	open_memory(&g);
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(growth_init(&growth, fds[0], &g.mem, g.dev, &g.io, &err), 0);
	say(fds[1], STEP);
	assert_true(requested(&g, STEP));
	assert_true(drv_irq(&g, WAIT_MS));
	say(fds[1], 3 * STEP);
	assert_true(requested(&g, 3 * STEP));
	assert_non_null(mem_at(&g.mem, GPA(BASE), 3 * STEP));
	say(fds[1], STEP);
	close(fds[1]);
	assert_true(requested(&g, 3 * STEP));
	guest_close(&g);
	close(fds[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_layout), cmocka_unit_test(test_ram),
		cmocka_unit_test(test_blocks), cmocka_unit_test(test_odd_requests),
		cmocka_unit_test(test_growth),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
