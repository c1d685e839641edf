// SPDX-License-Identifier: Apache-2.0
/*
 * Disk.  Run twice: as it is, and with `--no-uring`, where the kernel refuses
 * io_uring_setup(2) as it does on hosts that do not permit it.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "tests/unit/virtio_driver.h"

#define DISK_SIZE (4u << 20)
#define SECTORS (DISK_SIZE / 512)

static bool refused; /* --no-uring */

struct bench {
	struct guest g;
	int fd;
	uint64_t head, status, data;
};

/* Descriptors of io_uring this process has. */
static unsigned int rings(void)
{
	_cleanup_closedir_ DIR *dir = opendir("/proc/self/fd");
	unsigned int n = 0;
	struct dirent *e;

	while (dir && (e = readdir(dir))) {
		char target[64] = "";

		if (readlinkat(dirfd(dir), e->d_name, target, sizeof(target) - 1) > 0)
			n += strcmp(target, "anon_inode:[io_uring]") == 0;
	}
	return n;
}

static void start_disk(struct bench *b)
{
	b->g.top = 0x10000;
	drv_start(&b->g, 0);
	b->head = guest_alloc(&b->g, 4096, 4096);
	b->status = b->head + 2048;
	b->data = guest_alloc(&b->g, 1 << 20, 4096);
}

static void open_disk(struct bench *b, int flags, bool readonly)
{
	char path[] = "/tmp/caisson-blk-XXXXXX";
	struct virtio_device *dev;
	struct error err = {0};
	int fd = flags & O_TMPFILE ? open("/tmp", O_TMPFILE | O_RDWR, 0600) : mkstemp(path);

	if (!(flags & O_TMPFILE))
		unlink(path);
	if (fd < 0) /* no such thing on this file system */
		fd = memfd_create("disk", 0);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, DISK_SIZE), 0);
	for (uint32_t s = 0; s < SECTORS; s++)
		assert_int_equal(pwrite(fd, &s, 4, 512ll * s), 4);
	b->fd = fd;
	guest_open(&b->g);
	assert_int_equal(virtio_blk_new(&b->g.env,
					&(struct virtio_blk_config_host){
						.fd = fd, .serial = "image0", .readonly = readonly},
					&dev, &err),
			 0);
	assert_int_equal(rings(), refused ? 0 : 1);
	guest_plug(&b->g, dev);
	start_disk(b);
}

static void close_disk(struct bench *b)
{
	guest_close(&b->g);
	close(b->fd);
	assert_int_equal(rings(), 0);
}

/* Adds a request without waiting; `i` chooses its own head and status. */
static void add(struct bench *b, unsigned int i, uint32_t type, uint64_t sector, uint64_t data,
		uint32_t size)
{
	struct drv_buf bufs[3] = {{b->head + 16ull * i, 16, false}};
	unsigned int n = 1;

	*(struct virtio_blk_outhdr *)guest_at(&b->g, bufs[0].gpa, 16) =
		(struct virtio_blk_outhdr){.type = type, .sector = sector};
	*(uint8_t *)guest_at(&b->g, b->status + i, 1) = 0xff;
	if (size)
		bufs[n++] = (struct drv_buf){data, size,
					     type == VIRTIO_BLK_T_IN ||
						     type == VIRTIO_BLK_T_GET_ID};
	bufs[n++] = (struct drv_buf){b->status + i, 1, true};
	drv_add(&b->g, 0, bufs, n);
}

static uint8_t status_of(struct bench *b, unsigned int i)
{
	return *(uint8_t *)guest_at(&b->g, b->status + i, 1);
}

/* One request, waited for: its status; *ret_len what the used ring says. */
static uint8_t request(struct bench *b, uint32_t type, uint64_t sector, uint32_t size,
		       uint32_t *ret_len)
{
	struct vring_used_elem e;

	add(b, 0, type, sector, b->data, size);
	drv_kick(&b->g, 0);
	e = drv_get(&b->g, 0);
	if (ret_len)
		*ret_len = e.len;
	return status_of(b, 0);
}

static void test_config(void **state)
{
	struct virtio_blk_config c;
	struct bench b;

	(void)state;
	open_disk(&b, 0, true);
	for (uint32_t i = 0; i < sizeof(c); i += 4)
		virtio_mmio_read(&b.g.mmio, VIRTIO_MMIO_CONFIG + i, (uint8_t *)&c + i,
				 sizeof(c) - i < 4 ? sizeof(c) - i : 4);
	assert_int_equal(c.capacity, SECTORS);
	assert_int_equal(c.seg_max, 126);
	assert_int_equal(reg_get(&b.g, VIRTIO_MMIO_DEVICE_ID), 2);
	assert_true(drv_features(&b.g) >> VIRTIO_BLK_F_RO & 1);
	assert_false(drv_features(&b.g) >> VIRTIO_BLK_F_DISCARD & 1);
	close_disk(&b);
}

static void test_read_write(void **state)
{
	struct bench b;
	uint32_t len, *w;
	uint8_t back[8192];

	(void)state;
	open_disk(&b, 0, false);
	w = guest_at(&b.g, b.data, 1 << 20);
	assert_int_equal(request(&b, VIRTIO_BLK_T_IN, 100, 4096, &len), VIRTIO_BLK_S_OK);
	assert_int_equal(len, 4097);
	for (uint32_t s = 0; s < 8; s++)
		assert_int_equal(w[s * 128], 100 + s);
	memset(w, 0x5a, 8192);
	assert_int_equal(request(&b, VIRTIO_BLK_T_OUT, SECTORS - 16, 8192, &len), VIRTIO_BLK_S_OK);
	assert_int_equal(len, 1);
	assert_int_equal(pread(b.fd, back, 8192, DISK_SIZE - 8192), 8192);
	assert_memory_equal(back, w, 8192);
	assert_int_equal(request(&b, VIRTIO_BLK_T_FLUSH, 0, 0, NULL), VIRTIO_BLK_S_OK);
	/* all of one megabyte in one buffer */
	assert_int_equal(request(&b, VIRTIO_BLK_T_IN, 0, 1 << 20, &len), VIRTIO_BLK_S_OK);
	for (uint32_t s = 0; s < 2048; s++)
		assert_int_equal(w[s * 128], s);
	close_disk(&b);
}

static void test_serial(void **state)
{
	struct bench b;

	(void)state;
	open_disk(&b, 0, true);
	memset(guest_at(&b.g, b.data, 20), 'x', 20);
	assert_int_equal(request(&b, VIRTIO_BLK_T_GET_ID, 0, 20, NULL), VIRTIO_BLK_S_OK);
	assert_memory_equal(guest_at(&b.g, b.data, 20), "image0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
	close_disk(&b);
}

/* As many at once as the queue has room for, as many buffers each as promised, odd pieces. */
static void test_deep(void **state)
{
	struct bench b;

	(void)state;
	open_disk(&b, 0, false);
	for (unsigned int round = 0; round < 20; round++) {
		for (unsigned int i = 0; i < 42; i++)
			add(&b, i, VIRTIO_BLK_T_IN, round * 42 + i, b.data + 512ull * i, 512);
		drv_kick(&b.g, 0);
		for (unsigned int i = 0; i < 42; i++)
			assert_int_equal(drv_get(&b.g, 0).len, 513);
		for (unsigned int i = 0; i < 42; i++) {
			assert_int_equal(status_of(&b, i), VIRTIO_BLK_S_OK);
			assert_int_equal(*(uint32_t *)guest_at(&b.g, b.data + 512ull * i, 4),
					 round * 42 + i);
		}
	}
	close_disk(&b);
}

static void test_scattered(void **state)
{
	struct drv_buf bufs[128] = {{0, 5, false}, {0, 11, false}};
	struct virtio_blk_outhdr head = {.type = VIRTIO_BLK_T_OUT, .sector = 8};
	uint8_t back[4096];
	struct bench b;
	unsigned int n = 2;

	(void)state;
	open_disk(&b, 0, false);
	memcpy(guest_at(&b.g, b.head, 16), &head, 16);
	bufs[0].gpa = b.head;
	bufs[1].gpa = b.head + 5;
	for (uint32_t i = 0; i < 4096; i++)
		((uint8_t *)guest_at(&b.g, b.data, 4096))[i] = (uint8_t)(i * 7);
	for (uint32_t at = 0, i = 0; at < 4096; i++) {
		uint32_t len = i % 2 ? 33 : 63;

		if (at + len > 4096)
			len = 4096 - at;
		bufs[n++] = (struct drv_buf){b.data + at, len, false};
		at += len;
	}
	bufs[n++] = (struct drv_buf){b.status, 1, true};
	assert_int_equal(drv_do(&b.g, 0, bufs, n), 1);
	assert_int_equal(status_of(&b, 0), VIRTIO_BLK_S_OK);
	assert_int_equal(pread(b.fd, back, 4096, 4096), 4096);
	assert_memory_equal(back, guest_at(&b.g, b.data, 4096), 4096);
	/* and back, head and data and status in the fewest buffers there can be */
	head.type = VIRTIO_BLK_T_IN;
	memcpy(guest_at(&b.g, b.head, 16), &head, 16);
	memset(guest_at(&b.g, b.data, 4097), 0xee, 4097);
	assert_int_equal(drv_do(&b.g, 0,
				(struct drv_buf[]){{b.head, 16, false}, {b.data, 4097, true}}, 2),
			 4097);
	assert_memory_equal(back, guest_at(&b.g, b.data, 4096), 4096);
	assert_int_equal(*(uint8_t *)guest_at(&b.g, b.data + 4096, 1), VIRTIO_BLK_S_OK);
	close_disk(&b);
}

static uint8_t range(struct bench *b, uint32_t type, uint64_t sector, uint32_t n, uint32_t flags)
{
	*(struct virtio_blk_discard_write_zeroes *)guest_at(&b->g, b->data, 16) =
		(struct virtio_blk_discard_write_zeroes){sector, n, flags};
	return request(b, type, 0, 16, NULL);
}

static void test_discard(void **state)
{
	struct stat before, after;
	uint32_t got[128];
	struct bench b;

	(void)state;
	for (int kind = 0; kind < 2; kind++) {
		open_disk(&b, kind ? O_TMPFILE : 0, false);
		assert_int_equal(fstat(b.fd, &before), 0);
		assert_int_equal(range(&b, VIRTIO_BLK_T_DISCARD, 1024, 2048, 0), VIRTIO_BLK_S_OK);
		assert_int_equal(fstat(b.fd, &after), 0);
		assert_true(after.st_blocks < before.st_blocks);
		assert_int_equal(after.st_size, DISK_SIZE);
		assert_int_equal(range(&b, VIRTIO_BLK_T_WRITE_ZEROES, 10, 3, 0), VIRTIO_BLK_S_OK);
		assert_int_equal(range(&b, VIRTIO_BLK_T_WRITE_ZEROES, 20, 1, 1), VIRTIO_BLK_S_OK);
		for (uint32_t s = 9; s < 22; s++) {
			assert_int_equal(pread(b.fd, got, 512, 512ll * s), 512);
			assert_int_equal(got[0], (s >= 10 && s < 13) || s == 20 ? 0 : s);
		}
		close_disk(&b);
	}
}

static void test_refused(void **state)
{
	struct bench b;
	uint32_t len;

	(void)state;
	open_disk(&b, 0, false);
	assert_int_equal(request(&b, VIRTIO_BLK_T_IN, SECTORS, 512, &len), VIRTIO_BLK_S_IOERR);
	assert_int_equal(len, 1);
	assert_int_equal(request(&b, VIRTIO_BLK_T_IN, SECTORS - 1, 1024, NULL), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(&b, VIRTIO_BLK_T_IN, UINT64_MAX, 512, NULL), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(&b, VIRTIO_BLK_T_IN, UINT64_MAX / 512 + 1, 512, NULL),
			 VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(&b, VIRTIO_BLK_T_IN, 0, 511, NULL), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(&b, VIRTIO_BLK_T_IN, 0, 0, NULL), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(&b, VIRTIO_BLK_T_OUT, SECTORS, 512, NULL), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(&b, VIRTIO_BLK_T_OUT, 0, 0, NULL), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(&b, 77, 0, 512, NULL), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(range(&b, VIRTIO_BLK_T_DISCARD, SECTORS, 1, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(range(&b, VIRTIO_BLK_T_DISCARD, 1, UINT32_MAX, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(range(&b, VIRTIO_BLK_T_DISCARD, 0, 0, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(range(&b, VIRTIO_BLK_T_DISCARD, 0, 8, 1), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(range(&b, VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 2), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(request(&b, VIRTIO_BLK_T_DISCARD, 0, 32, NULL), VIRTIO_BLK_S_IOERR);
	/* The file got shorter behind our back. */
	assert_int_equal(ftruncate(b.fd, 512), 0);
	assert_int_equal(request(&b, VIRTIO_BLK_T_IN, 0, 1024, NULL), VIRTIO_BLK_S_IOERR);
	assert_int_equal(b.g.dev->faults, 0);
	close_disk(&b);
	open_disk(&b, 0, true);
	assert_int_equal(request(&b, VIRTIO_BLK_T_OUT, 0, 512, NULL), VIRTIO_BLK_S_IOERR);
	assert_int_equal(range(&b, VIRTIO_BLK_T_DISCARD, 0, 8, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(range(&b, VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(&b, VIRTIO_BLK_T_FLUSH, 0, 0, NULL), VIRTIO_BLK_S_OK);
	close_disk(&b);
}

static void test_harm(void **state)
{
	struct bench b;

	(void)state;
	open_disk(&b, 0, false);
	drv_add_one(&b.g, 0, b.head, 16, false); /* no status */
	drv_kick(&b.g, 0);
	expect_broken(&b.g);
	start_disk(&b);
	drv_add_one(&b.g, 0, b.status, 1, true); /* no head */
	drv_kick(&b.g, 0);
	expect_broken(&b.g);
	start_disk(&b);
	drv_add(&b.g, 0, (struct drv_buf[]){{b.head, 15, false}, {b.status, 1, true}}, 2);
	drv_kick(&b.g, 0);
	expect_broken(&b.g);
	start_disk(&b);
	/* Good ones in flight when a bad one comes. */
	for (unsigned int i = 0; i < 30; i++)
		add(&b, i, VIRTIO_BLK_T_IN, i, b.data, 4096);
	drv_add_one(&b.g, 0, b.head, 15, false);
	add(&b, 31, VIRTIO_BLK_T_IN, 0, b.data, 4096);
	drv_kick(&b.g, 0);
	expect_broken(&b.g);
	start_disk(&b);
	/* The same request over and over without waiting. */
	add(&b, 0, VIRTIO_BLK_T_IN, 0, b.data, 4096);
	for (unsigned int i = 1; i < 128; i++)
		drv_offer(&b.g, 0, 0);
	drv_kick(&b.g, 0);
	for (unsigned int i = 0; i < 128; i++)
		drv_get(&b.g, 0);
	assert_int_equal(request(&b, VIRTIO_BLK_T_IN, 5, 512, NULL), VIRTIO_BLK_S_OK);
	close_disk(&b);
}

/* Reset while reads are in flight: nothing is written to the guest once it has returned. */
static void test_reset_midway(void **state)
{
	struct bench b;
	uint8_t *data;

	(void)state;
	open_disk(&b, 0, false);
	for (int round = 0; round < 100; round++) {
		start_disk(&b);
		posix_fadvise(b.fd, 0, 0, POSIX_FADV_DONTNEED);
		for (unsigned int i = 0; i < 40; i++)
			add(&b, i, VIRTIO_BLK_T_IN, 64 * (i % 64), b.data + 16384ull * i, 16384);
		drv_kick(&b.g, 0);
		if (round % 2)
			sched_yield();
		reg_set(&b.g, VIRTIO_MMIO_STATUS, 0);
		data = guest_at(&b.g, b.data, 1 << 20);
		memset(data, 0xcc, 1 << 20);
		memset(guest_at(&b.g, b.status, 64), 0xcc, 64);
		if (round % 10 == 0)
			poll(NULL, 0, 5);
		for (size_t i = 0; i < 40 * 16384; i++)
			if (data[i] != 0xcc)
				fail_msg("byte %zu written after the reset", i);
		assert_int_equal(status_of(&b, 0), 0xcc);
	}
	start_disk(&b);
	assert_int_equal(request(&b, VIRTIO_BLK_T_IN, 5, 512, NULL), VIRTIO_BLK_S_OK);
	assert_int_equal(b.g.dev->faults, 0);
	close_disk(&b);
}

static void test_operator_errors(void **state)
{
	struct virtio_blk_config_host c = {.serial = "a serial far too long"};
	struct virtio_device *dev;
	struct error err = {0};
	struct guest g;

	(void)state;
	guest_open(&g);
	c.fd = memfd_create("disk", 0);
	assert_int_equal(virtio_blk_new(&g.env, &c, &dev, &err), -EINVAL);
	assert_int_equal(ftruncate(c.fd, 4096), 0);
	assert_int_equal(virtio_blk_new(&g.env, &c, &dev, &err), -EINVAL);
	assert_non_null(strstr(err.text, "longer than 20 bytes"));
	c.serial = "s";
	assert_int_equal(ftruncate(c.fd, 100), 0);
	assert_int_equal(virtio_blk_new(&g.env, &c, &dev, &err), -EINVAL);
	assert_non_null(strstr(err.text, "disk 's': 100 bytes are not whole sectors"));
	close(c.fd);
	c.fd = -1;
	assert_int_equal(virtio_blk_new(&g.env, &c, &dev, &err), -EBADF);
	assert_int_equal(rings(), 0);
	io_done(&g.io);
	mem_done(&g.mem);
	close(g.log[0]);
	close(g.log[1]);
}

static void refuse_uring(void)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);

	if (!ctx || seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(io_uring_setup), 0) < 0 ||
	    seccomp_load(ctx) < 0)
		abort();
	seccomp_release(ctx);
	refused = true;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_config),	     cmocka_unit_test(test_read_write),
		cmocka_unit_test(test_serial),	     cmocka_unit_test(test_deep),
		cmocka_unit_test(test_scattered),    cmocka_unit_test(test_discard),
		cmocka_unit_test(test_refused),	     cmocka_unit_test(test_harm),
		cmocka_unit_test(test_reset_midway), cmocka_unit_test(test_operator_errors),
	};
	struct io_uring_params *none = NULL;

	if (argc > 1 && strcmp(argv[1], "--no-uring") == 0) {
		refuse_uring();
	} else if (syscall(SCMP_SYS(io_uring_setup), 1, none) < 0 && errno != EFAULT) {
		fprintf(stderr, "skip: this kernel does not permit io_uring\n");
		return 77; /* to meson: skipped */
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
