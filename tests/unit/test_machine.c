// SPDX-License-Identifier: Apache-2.0
/* vmm/machine.h in both directions; the layout of RAM; memory that is lent. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/cleanup.h"
#include "vmm/machine.h"
#include "vmm/mem/mem.h"

#define GIB (1ull << 30)
#define SIZE (4ull << 20)
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW)

static struct machine machine(void)
{
	static struct machine_disk disk = {.serial = (char *)"lower", .fd = 7, .readonly = true};
	static struct machine_nic nic = {.tap_fd = 8, .mac = {2, 1}, .mtu = 1500};
	static struct machine_function functions[] = {
		{.name = (char *)"0000:3b:00.1", .device_fd = 9, .mac = {2, 3, 4, 5, 6, 7}},
		{.name = (char *)"0000:3b:00.2", .device_fd = 10, .mac = {2, 3, 4, 5, 6, 8}},
	};
	static struct machine_share share = {.source = (char *)"/srv", .is_dir = true};

	return (struct machine){
		.id = (char *)"web-1",
		.engine = (char *)"kvm",
		.kernel = (char *)"/k",
		.initrd = (char *)"/i",
		.cmdline = (char *)"",
		.vcpus = 2,
		.memory = SIZE,
		.hugepages = true,
		.memory_fd = 11,
		.memory_max = SIZE * 3,
		.growth_fd = 13,
		.functions = functions,
		.functions_n = ARRAY_SIZE(functions),
		.disks = &disk,
		.disks_n = 1,
		.nics = &nic,
		.nics_n = 1,
		.shares = &share,
		.shares_n = 1,
		.jail_dir = (char *)"/j",
		.listen_fd = 12,
		.boot_timeout_ms = 30000,
		.sandbox = {.hostname = (char *)"h"},
	};
}

static void encode(struct msg *m, struct machine *x)
{
	msg_init_encode(m);
	machine_codec(m, x);
	assert_false(m->broken);
}

static void test_codec(void **state)
{
	struct machine x = machine(), y = {0};
	struct msg out, in, again;

	(void)state;
	encode(&out, &x);
	msg_init_decode(&in, out.data, out.size);
	machine_codec(&in, &y);
	assert_int_equal(msg_finish(&in), 0);
	assert_int_equal(y.memory_fd, 11);
	assert_int_equal(y.memory_max, SIZE * 3);
	assert_int_equal(y.growth_fd, 13);
	assert_int_equal(y.functions_n, 2);
	assert_string_equal(y.functions[1].name, "0000:3b:00.2");
	assert_int_equal(y.functions[1].device_fd, 10);
	assert_memory_equal(y.functions[1].mac, x.functions[1].mac, 6);
	encode(&again, &y);
	assert_int_equal(again.size, out.size);
	assert_memory_equal(again.data, out.data, out.size);
	msg_done(&again);
	msg_done(&in);
	msg_done(&out);
}

static void test_codec_cut(void **state)
{
	struct machine x = machine(), y;
	struct msg out, in;

	(void)state;
	encode(&out, &x);
	for (size_t size = 0; size < out.size; size++) {
		memset(&y, 0, sizeof(y));
		msg_init_decode(&in, out.data, size);
		machine_codec(&in, &y);
		assert_true(msg_finish(&in) < 0);
		msg_done(&in);
	}
	msg_done(&out);
	x.functions[0].name = NULL;
	msg_init_encode(&out);
	machine_codec(&out, &x);
	assert_true(out.broken);
	msg_done(&out);
}

static void test_layout(void **state)
{
	struct mem_extent e[MEM_EXTENTS_MAX];

	(void)state;
	assert_int_equal(mem_layout(0, e), 0);
	assert_int_equal(mem_layout(MEM_SIZE_MAX + 1, e), 0);
	assert_int_equal(mem_layout(3 * GIB, e), 1);
	assert_int_equal(e[0].base.v, 0);
	assert_int_equal(e[0].size, 3 * GIB);
	assert_int_equal(e[0].offset, 0);
	assert_int_equal(mem_layout(3 * GIB + 4096, e), 2);
	assert_int_equal(e[0].size, 3 * GIB);
	assert_int_equal(e[1].base.v, 4 * GIB);
	assert_int_equal(e[1].size, 4096);
	assert_int_equal(e[1].offset, 3 * GIB);
}

static int memfd(uint64_t size, int seals)
{
	int fd = memfd_create("lent", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

static void test_lent(void **state)
{
	int fd = memfd(SIZE, SEALS);
	struct error err = {0};
	struct mem m;
	char b[4] = "";

	(void)state;
	assert_int_equal(mem_init_lent(&m, fd, SIZE, SIZE, false, &err), 0);
	assert_int_equal(pwrite(fd, "abc", 4, 8192), 4);
	assert_int_equal(mem_read(&m, GPA(8192), b, 4), 0);
	assert_string_equal(b, "abc");
	/* The lender's to empty, not the guest's. */
	assert_int_equal(mem_discard(&m, GPA(8192), 4096), -EPERM);
	assert_int_equal(mem_discard(&m, GPA(SIZE), 4096), -EFAULT);
	assert_int_equal(mem_read(&m, GPA(8192), b, 4), 0);
	assert_string_equal(b, "abc");
	mem_done(&m);
	assert_int_equal(pread(fd, b, 4, 8192), 4);
	close(fd);
}

static void expect_refused(int fd, uint64_t size, bool hugepages, const char *why)
{
	struct error err = {0};
	struct mem m;

	assert_true(mem_init_lent(&m, fd, size, size, hugepages, &err) < 0);
	if (!strstr(err.text, why))
		fail_msg("'%s' does not say '%s'", err.text, why);
	close(fd);
}

/* What it is to grow by is there from the start, in whole steps. */
static void test_growth_refused(void **state)
{
	const uint64_t more = SIZE + MEM_GROWTH_STEP;
	struct error err = {0};
	struct mem m;
	int fd;

	(void)state;
	fd = memfd(SIZE, SEALS);
	assert_true(mem_init_lent(&m, fd, SIZE, more, false, &err) < 0);
	assert_non_null(strstr(err.text, "has 4194304 bytes"));
	close(fd);
	fd = memfd(more + 4096, SEALS);
	assert_true(mem_init_lent(&m, fd, SIZE, more + 4096, false, &err) < 0);
	assert_non_null(strstr(err.text, "cannot grow"));
	close(fd);
	fd = memfd(more, SEALS);
	assert_int_equal(mem_init_lent(&m, fd, SIZE, more, false, &err), 0);
	assert_int_equal(m.regions_n, 2);
	mem_done(&m);
	assert_int_equal(mem_init_lent(&m, fd, more, more, false, &err), 0);
	assert_false(m.grows);
	assert_int_equal(mem_grow(&m, MEM_GROWTH_STEP), -EINVAL);
	mem_done(&m);
	close(fd);
}

static void test_lent_refused(void **state)
{
	(void)state;
	expect_refused(memfd(SIZE, F_SEAL_GROW), SIZE, false, "seals");
	expect_refused(memfd(SIZE, F_SEAL_SHRINK), SIZE, false, "seals");
	expect_refused(memfd(SIZE, SEALS | F_SEAL_WRITE), SIZE, false, "seals");
	expect_refused(memfd(SIZE, SEALS), SIZE * 2, false, "has 4194304 bytes");
	expect_refused(memfd(SIZE, SEALS), SIZE, true, "not 2 MiB");
	expect_refused(memfd(4097, SEALS), 4097, false, "no multiple");
	expect_refused(open("/dev/null", O_RDWR), SIZE, false, "is to be a memfd");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_codec),	     cmocka_unit_test(test_codec_cut),
		cmocka_unit_test(test_layout),	     cmocka_unit_test(test_lent),
		cmocka_unit_test(test_lent_refused), cmocka_unit_test(test_growth_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
