// SPDX-License-Identifier: Apache-2.0
/* Balloon: what the guest gives away is gone from the memfd. */
#include <errno.h>
#include <linux/virtio_balloon.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "tests/unit/virtio_driver.h"

enum { INFLATE, DEFLATE, REPORTS, REPORTS_BY_THE_BOOK = 4 };

static void open_balloon(struct guest *g)
{
	struct virtio_device *dev;
	struct error err = {0};

	guest_open(g);
	assert_int_equal(virtio_balloon_new(&g->env, &dev, &err), 0);
	guest_plug(g, dev);
	drv_start(g, 0);
}

static long pages_in_use(struct guest *g)
{
	struct stat st;

	assert_int_equal(fstat(g->mem.fd, &st), 0);
	return st.st_blocks / 8;
}

static void test_inflate(void **state)
{
	uint64_t list, victims;
	struct guest g;
	uint32_t *pfns;
	long before;

	(void)state;
	open_balloon(&g);
	list = guest_alloc(&g, 4096, 4096);
	victims = guest_alloc(&g, 200 * 4096, 4096);
	memset(guest_at(&g, victims, 200 * 4096), 7, 200 * 4096);
	pfns = guest_at(&g, list, 4096);
	for (uint32_t i = 0; i < 100; i++) /* every other one, backwards, then the same again */
		pfns[i] = pfns[199 - i] = (uint32_t)(victims / 4096) + 198 - 2 * i;
	before = pages_in_use(&g);
	drv_do(&g, INFLATE, &(struct drv_buf){list, 800, false}, 1);
	assert_int_equal(before - pages_in_use(&g), 100);
	for (uint32_t i = 0; i < 200; i++)
		assert_int_equal(*(uint8_t *)guest_at(&g, victims + 4096ull * i, 1), i % 2 ? 7 : 0);
	drv_do(&g, DEFLATE, &(struct drv_buf){list, 800, false}, 1);
	assert_int_equal(g.dev->faults, 0);
	guest_close(&g);
}

static void test_reports(void **state)
{
	static const unsigned int queues[] = {REPORTS, REPORTS_BY_THE_BOOK};
	uint64_t free_pages;
	struct guest g;
	long before;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(queues); i++) {
		open_balloon(&g);
		assert_true(drv_features(&g) >> VIRTIO_BALLOON_F_REPORTING & 1);
		free_pages = guest_alloc(&g, 4 << 20, 2 << 20);
		memset(guest_at(&g, free_pages, 4 << 20), 7, 4 << 20);
		before = pages_in_use(&g);
		drv_do(&g, queues[i],
		       (struct drv_buf[]){{free_pages, 2 << 20, true},
					  {free_pages + (3 << 20), 1 << 20, true}},
		       2);
		assert_int_equal(before - pages_in_use(&g), 768);
		assert_int_equal(*(uint8_t *)guest_at(&g, free_pages + (2 << 20), 1), 7);
		assert_int_equal(*(uint8_t *)guest_at(&g, free_pages, 1), 0);
		guest_close(&g);
	}
}

static void test_target(void **state)
{
	uint32_t actual = 256;
	struct guest g;

	(void)state;
	open_balloon(&g);
	assert_int_equal(reg_get(&g, VIRTIO_MMIO_CONFIG), 0);
	virtio_balloon_set(g.dev, 1 << 20);
	assert_true(drv_irq(&g, 1000));
	assert_int_equal(reg_get(&g, VIRTIO_MMIO_CONFIG), 256);
	virtio_mmio_write(&g.mmio, VIRTIO_MMIO_CONFIG, &actual, 4); /* not the guest's to write */
	virtio_mmio_write(&g.mmio, VIRTIO_MMIO_CONFIG + 4, &actual, 4);
	virtio_mmio_write(&g.mmio, VIRTIO_MMIO_CONFIG + 5, &actual, 4);
	assert_int_equal(virtio_balloon_actual(g.dev), 1 << 20);
	virtio_balloon_set(g.dev, UINT64_MAX);
	assert_int_equal(reg_get(&g, VIRTIO_MMIO_CONFIG), RAM_SIZE / 4096);
	guest_close(&g);
}

static void test_harm(void **state)
{
	struct guest g;
	uint64_t list;
	uint32_t *pfns;

	(void)state;
	open_balloon(&g);
	list = guest_alloc(&g, 4096, 4096);
	pfns = guest_at(&g, list, 4096);
	pfns[0] = RAM_SIZE / 4096;
	drv_add_one(&g, INFLATE, list, 4, false);
	drv_kick(&g, INFLATE);
	expect_broken(&g);
	drv_start(&g, 0);
	pfns[0] = 0xffffffff;
	pfns[1] = 0;
	drv_add_one(&g, INFLATE, list, 8, false);
	drv_kick(&g, INFLATE);
	expect_broken(&g);
	drv_start(&g, 0);
	drv_add_one(&g, INFLATE, list, 7, false);
	drv_kick(&g, INFLATE);
	expect_broken(&g);
	drv_start(&g, 0);
	drv_add_one(&g, INFLATE, list, 1 << 20, false);
	drv_kick(&g, INFLATE);
	expect_broken(&g);
	drv_start(&g, 0);
	drv_add_one(&g, INFLATE, list, 8, true);
	drv_kick(&g, INFLATE);
	expect_broken(&g);
	drv_start(&g, 0);
	drv_add_one(&g, REPORTS, list, 8, false);
	drv_kick(&g, REPORTS);
	expect_broken(&g);
	/* A guest that gives away its own queues finds its index back at 0. */
	drv_start(&g, 0);
	drv_add_one(&g, REPORTS, 0, RAM_SIZE, true);
	drv_kick(&g, REPORTS);
	expect_broken(&g);
	drv_start(&g, 0);
	assert_int_equal(g.dev->faults, 7);
	guest_close(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_inflate),
		cmocka_unit_test(test_reports),
		cmocka_unit_test(test_target),
		cmocka_unit_test(test_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
