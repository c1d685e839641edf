// SPDX-License-Identifier: Apache-2.0
/* vmm/pci: what a guest reads and writes of a bus with functions, and what comes of it. */
#include <errno.h>
#include <linux/pci_regs.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/cleanup.h"
#include "vmm/pci/bus.h"
#include "vmm/vfio/function.h"

#define VECTORS 70u
#define TABLE 0x1000u
#define PENDING 0x1ff0u
#define ENTRY(i) (TABLE + 16 * (i))

/* A device that remembers what it was told. */
struct toy {
	struct pci_function pci;
	int eventfds[VECTORS];
	bool bus_master;
	unsigned int reads, writes, bar;
	uint64_t offset, value;
};

/* The connections there are. */
static struct {
	bool on;
	int eventfd;
	uint64_t address;
	uint32_t data;
} lines[PCI_LINES_MAX];
static unsigned int connects, disconnects;
static int connect_result;

static int sink_connect(void *arg, uint32_t line, int fd, uint64_t address, uint32_t data)
{
	(void)arg;
	assert_true(line < PCI_LINES_MAX && !lines[line].on);
	connects++;
	if (connect_result)
		return connect_result;
	lines[line].on = true;
	lines[line].eventfd = fd;
	lines[line].address = address;
	lines[line].data = data;
	return 0;
}

static void sink_disconnect(void *arg, uint32_t line, int fd)
{
	(void)arg;
	assert_true(line < PCI_LINES_MAX && lines[line].on && lines[line].eventfd == fd);
	lines[line].on = false;
	disconnects++;
}

static const struct msi_sink sink = {NULL, sink_connect, sink_disconnect};

static struct toy *toy_of(struct pci_function *f)
{
	return (struct toy *)((uint8_t *)f - offsetof(struct toy, pci));
}

static void toy_bus_master(struct pci_function *f, bool on)
{
	toy_of(f)->bus_master = on;
}

static void toy_read(struct pci_function *f, unsigned int bar, uint64_t offset, void *data,
		     uint32_t size)
{
	struct toy *t = toy_of(f);

	t->reads++;
	t->bar = bar;
	t->offset = offset;
	memset(data, 0x5a, size);
}

static void toy_write(struct pci_function *f, unsigned int bar, uint64_t offset, const void *data,
		      uint32_t size)
{
	struct toy *t = toy_of(f);

	t->writes++;
	t->bar = bar;
	t->offset = offset;
	t->value = 0;
	memcpy(&t->value, data, size);
}

static void toy_free(struct pci_function *f)
{
	for (unsigned int i = 0; i < VECTORS; i++)
		close(toy_of(f)->eventfds[i]);
	pci_function_done(f);
	free(toy_of(f));
}

static const struct pci_ops toy_ops = {toy_bus_master, toy_read, toy_write, toy_free};

static struct toy *make_toy(uint64_t size)
{
	const struct pci_identity id = {0x1234, 0x5678, 0x9abc, 0xdef0, 0x020000, 7};
	struct toy *t = calloc(1, sizeof(*t));
	struct error err = {0};

	assert_non_null(t);
	pci_function_init(&t->pci, &toy_ops, &id);
	for (unsigned int i = 0; i < VECTORS; i++)
		t->eventfds[i] = eventfd(0, EFD_NONBLOCK);
	assert_int_equal(pci_function_add_bar(&t->pci, 0, size, true, true, &err), 0);
	assert_int_equal(pci_function_add_bar(&t->pci, 3, 0x2000, false, false, &err), 0);
	assert_int_equal(pci_function_add_msix(&t->pci, t->eventfds, VECTORS,
					       (struct pci_place){3, TABLE},
					       (struct pci_place){3, PENDING}, &err),
			 0);
	return t;
}

static struct pci_bus bus;
static struct toy *toy;

static int open_bus(void **state)
{
	struct error err = {0};

	(void)state;
	memset(lines, 0, sizeof(lines));
	connects = disconnects = 0;
	connect_result = 0;
	pci_bus_init(&bus, &sink);
	toy = make_toy(0x4000);
	assert_int_equal(pci_bus_add(&bus, &toy->pci, &err), 0);
	return 0;
}

static int close_bus(void **state)
{
	(void)state;
	pci_bus_done(&bus);
	return 0;
}

/* As a kernel does it (arch/x86/pci/direct.c). */
static void cfg_select(uint32_t device, uint32_t offset)
{
	uint32_t address = 0x80000000u | device << 11 | (offset & 0xfc);

	assert_true(pci_bus_port(&bus, 0xcf8, &address, 4, true));
}

static uint32_t cfg_read(uint32_t device, uint32_t offset, uint32_t size)
{
	uint32_t v = 0;

	memset(&v, 0xff, size);
	cfg_select(device, offset);
	assert_true(pci_bus_port(&bus, (uint16_t)(0xcfc + (offset & 3)), &v, size, false));
	return v;
}

static void cfg_write(uint32_t device, uint32_t offset, uint32_t v, uint32_t size)
{
	cfg_select(device, offset);
	assert_true(pci_bus_port(&bus, (uint16_t)(0xcfc + (offset & 3)), &v, size, true));
}

static void mmio_write(uint64_t at, uint64_t v, uint32_t size)
{
	assert_true(pci_bus_mmio(&bus, GPA(at), &v, size, true));
}

static uint64_t mmio_read(uint64_t at, uint32_t size)
{
	uint64_t v = 0;

	memset(&v, 0xff, size);
	assert_true(pci_bus_mmio(&bus, GPA(at), &v, size, false));
	return v;
}

static uint64_t bar3(void)
{
	return toy->pci.config.bars[3].at.v;
}

static void test_identity(void **state)
{
	(void)state;
	assert_int_equal(cfg_read(0, PCI_CLASS_DEVICE, 2), 0x0600);
	assert_int_equal(cfg_read(1, PCI_VENDOR_ID, 4), 0x56781234);
	assert_int_equal(cfg_read(1, PCI_CLASS_REVISION, 4), 0x02000007);
	assert_int_equal(cfg_read(1, PCI_SUBSYSTEM_ID, 2), 0xdef0);
	assert_int_equal(cfg_read(1, PCI_SUBSYSTEM_VENDOR_ID + 1, 1), 0x9a);
	assert_int_equal(cfg_read(1, PCI_INTERRUPT_PIN, 1), 0);
	assert_int_equal(cfg_read(2, PCI_VENDOR_ID, 4), 0xffffffff);
	assert_int_equal(cfg_read(31, PCI_VENDOR_ID, 4), 0xffffffff);
	/* Read-only. */
	for (uint32_t at = 0; at < 256; at += 4)
		if (at != PCI_COMMAND && at != PCI_INTERRUPT_LINE && at != toy->pci.msix_cap) {
			uint32_t before = cfg_read(0, at, 4);

			cfg_write(0, at, 0x12345678, 4);
			assert_int_equal(cfg_read(0, at, 4), before);
			before = cfg_read(1, at, 4);
			cfg_write(1, at, 0x12345678, 4);
			assert_int_equal(cfg_read(1, at, 4), before);
		}
}

static void test_ports(void **state)
{
	uint32_t v = 0x80000800, r = 0;
	uint8_t byte = 1;

	(void)state;
	pci_bus_port(&bus, 0xcf8, &v, 4, true);
	/* As kernels see whether this is mechanism #1: a byte is not the register. */
	assert_true(pci_bus_port(&bus, 0xcfb, &byte, 1, true));
	pci_bus_port(&bus, 0xcf8, &r, 4, false);
	assert_int_equal(r, 0x80000800);
	/* Other functions, other buses, not enabled. */
	for (unsigned int i = 0; i < 3; i++) {
		static const uint32_t none[] = {0x80000900, 0x80010800, 0x00000800};

		v = none[i];
		pci_bus_port(&bus, 0xcf8, &v, 4, true);
		r = 0xffffffff;
		assert_true(pci_bus_port(&bus, 0xcfc, &r, 4, false));
		assert_int_equal(r, 0xffffffff);
	}
	/* Across the end, and next to it. */
	assert_false(pci_bus_port(&bus, 0xcfe, &r, 4, false));
	assert_false(pci_bus_port(&bus, 0xcf7, &r, 1, false));
	assert_false(pci_bus_port(&bus, 0xd00, &r, 1, false));
}

static void test_bars(void **state)
{
	const uint32_t at0 = cfg_read(1, PCI_BASE_ADDRESS_0, 4);

	(void)state;
	assert_int_equal(at0 & 0xf, PCI_BASE_ADDRESS_MEM_TYPE_64 | PCI_BASE_ADDRESS_MEM_PREFETCH);
	assert_true((at0 & ~0xfu) >= PCI_WINDOW_AT && (at0 & ~0xfu) < PCI_WINDOW_END);
	assert_int_equal(cfg_read(1, PCI_BASE_ADDRESS_1, 4), 0);
	/* The size, half by half, then the address again. */
	cfg_write(1, PCI_BASE_ADDRESS_0, 0xffffffff, 4);
	assert_int_equal(cfg_read(1, PCI_BASE_ADDRESS_0, 4), 0xffffc00c);
	assert_int_equal(cfg_read(1, PCI_BASE_ADDRESS_1, 4), 0);
	cfg_write(1, PCI_BASE_ADDRESS_1, 0xffffffff, 4);
	assert_int_equal(cfg_read(1, PCI_BASE_ADDRESS_1, 4), 0xffffffff);
	cfg_write(1, PCI_BASE_ADDRESS_0, at0, 4);
	cfg_write(1, PCI_BASE_ADDRESS_1, 0, 4);
	assert_int_equal(cfg_read(1, PCI_BASE_ADDRESS_0, 4), at0);
	cfg_write(1, PCI_BASE_ADDRESS_3, 0xffffffff, 4);
	assert_int_equal(cfg_read(1, PCI_BASE_ADDRESS_3, 4), 0xffffe000);
	/* It does not move: not onto RAM, not anywhere. */
	cfg_write(1, PCI_BASE_ADDRESS_3, 0x00100000, 4);
	assert_int_equal(cfg_read(1, PCI_BASE_ADDRESS_3, 4), bar3());
	cfg_write(1, PCI_BASE_ADDRESS_0, 0xff, 1);
	assert_int_equal(cfg_read(1, PCI_BASE_ADDRESS_0, 4), at0);
	/* Those that are not there, and the ROM. */
	for (uint32_t n = 0; n < 3; n++) {
		static const uint32_t none[] = {PCI_BASE_ADDRESS_2, PCI_BASE_ADDRESS_5,
						PCI_ROM_ADDRESS};

		cfg_write(1, none[n], 0xffffffff, 4);
		assert_int_equal(cfg_read(1, none[n], 4), 0);
	}
}

static void test_windows(void **state)
{
	const uint64_t at = toy->pci.config.bars[0].at.v;
	uint64_t v;

	(void)state;
	assert_int_equal(at % 0x4000, 0);
	mmio_write(at + 0x3ff8, 0x1122334455667788, 8);
	assert_int_equal(toy->writes, 1);
	assert_int_equal(toy->bar, 0);
	assert_int_equal(toy->offset, 0x3ff8);
	assert_true(toy->value == 0x1122334455667788);
	assert_int_equal(mmio_read(at, 4), 0x5a5a5a5a);
	/* Across the end. */
	mmio_write(at + 0x3ffc, 1, 8);
	assert_int_equal(toy->writes, 1);
	assert_true(mmio_read(at + 0x3fff, 2) == 0xffff);
	assert_int_equal(toy->reads, 1);
	assert_false(pci_bus_mmio(&bus, GPA(bus.end), &v, 4, false));
	assert_false(pci_bus_mmio(&bus, GPA(PCI_WINDOW_AT - 1), &v, 4, false));
	assert_false(pci_bus_mmio(&bus, GPA(UINT64_MAX), &v, 8, false));
}

/* A window that lies somewhere already stays there, and answers there. */
static void test_placed(void **state)
{
	const uint64_t at = 0x380000004000, end = bus.end;
	struct toy *other = make_toy(0x4000);
	struct error err = {0};
	uint64_t v;

	(void)state;
	other->pci.config.bars[0].at = GPA(at);
	assert_int_equal(pci_bus_add(&bus, &other->pci, &err), 0);
	assert_true(other->pci.config.bars[0].at.v == at);
	assert_true(other->pci.config.bars[3].at.v >= end);
	mmio_write(at + 8, 7, 4);
	assert_int_equal(other->writes, 1);
	assert_int_equal(other->offset, 8);
	assert_false(pci_bus_mmio(&bus, GPA(at + 0x4000), &v, 4, false));
	assert_false(pci_bus_mmio(&bus, GPA(at - 1), &v, 4, false));
}

/* Configuration space without ports. */
static void test_config_by_address(void **state)
{
	const uint32_t function = 1 << 11,
		       nowhere[] = {31 << 11, 1 << 8, 1 << 16, 1 << 16 | 1 << 11};
	uint32_t v = ~0u;
	uint16_t half = PCI_COMMAND_MASTER;

	(void)state;
	pci_bus_config(&bus, function | PCI_VENDOR_ID, &v, 4, false);
	assert_int_equal(v, 0x56781234);
	pci_bus_config(&bus, function | PCI_COMMAND, &half, 2, true);
	assert_true(toy->bus_master);
	half = 0xffff;
	pci_bus_config(&bus, function | PCI_DEVICE_ID, &half, 2, false);
	assert_int_equal(half, 0x5678);
	for (unsigned int i = 0; i < ARRAY_SIZE(nowhere); i++) {
		v = ~0u;
		pci_bus_config(&bus, nowhere[i], &v, 4, false);
		assert_int_equal(v, ~0u);
	}
}

static void test_bus_master(void **state)
{
	(void)state;
	assert_false(toy->bus_master);
	cfg_write(1, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	assert_true(toy->bus_master);
	cfg_write(1, PCI_COMMAND, 0xffff, 2);
	assert_int_equal(cfg_read(1, PCI_COMMAND, 2) & PCI_COMMAND_IO, 0);
	cfg_write(1, PCI_COMMAND, 0, 1);
	assert_false(toy->bus_master);
}

static void control(uint16_t v)
{
	cfg_write(1, toy->pci.msix_cap + PCI_MSIX_FLAGS, v, 2);
}

static void test_msix(void **state)
{
	uint64_t one = 1, count;

	(void)state;
	assert_int_equal(cfg_read(1, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST, PCI_STATUS_CAP_LIST);
	assert_int_equal(cfg_read(1, PCI_CAPABILITY_LIST, 1), toy->pci.msix_cap);
	assert_int_equal(cfg_read(1, toy->pci.msix_cap, 4), (VECTORS - 1) << 16 | 0x11);
	assert_int_equal(cfg_read(1, toy->pci.msix_cap + PCI_MSIX_TABLE, 4), TABLE | 3);
	assert_int_equal(cfg_read(1, toy->pci.msix_cap + PCI_MSIX_PBA, 4), PENDING | 3);
	/* Masked at first; as a kernel sets one up. */
	assert_int_equal(mmio_read(bar3() + ENTRY(5) + 12, 4), 1);
	control(PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	mmio_write(bar3() + ENTRY(5), 0xfee01000, 4);
	mmio_write(bar3() + ENTRY(5) + 4, 0, 4);
	mmio_write(bar3() + ENTRY(5) + 8, 0x4031, 4);
	mmio_write(bar3() + ENTRY(5) + 12, 0xfffffffe, 4);
	assert_int_equal(mmio_read(bar3() + ENTRY(5) + 12, 4), 0);
	assert_int_equal(connects, 0);
	control(PCI_MSIX_FLAGS_ENABLE);
	assert_int_equal(connects, 1);
	assert_true(lines[5].on && lines[5].eventfd == toy->eventfds[5]);
	assert_true(lines[5].address == 0xfee01000 && lines[5].data == 0x4031);
	/* Masked: what comes meanwhile is pending, and comes once when it is open again. */
	mmio_write(bar3() + ENTRY(5) + 12, 1, 4);
	assert_false(lines[5].on);
	assert_int_equal(mmio_read(bar3() + PENDING, 8), 0);
	assert_int_equal(write(toy->eventfds[5], &one, 8), 8);
	assert_int_equal(write(toy->eventfds[66], &one, 8), 8);
	assert_int_equal(mmio_read(bar3() + PENDING, 8), 1 << 5);
	assert_int_equal(mmio_read(bar3() + PENDING + 8, 4), 1 << 2);
	mmio_write(bar3() + PENDING, 0, 8);
	assert_int_equal(mmio_read(bar3() + PENDING, 4), 1 << 5);
	mmio_write(bar3() + ENTRY(5) + 8, 0x0000000000004032, 8);
	assert_true(lines[5].on && lines[5].data == 0x4032);
	assert_int_equal(read(toy->eventfds[5], &count, 8), 8);
	assert_int_equal(count, 1);
	/* Another message while it is open. */
	mmio_write(bar3() + ENTRY(5), 0xfee02000, 4);
	assert_true(lines[5].on && lines[5].address == 0xfee02000);
	control(0);
	assert_false(lines[5].on);
	assert_int_equal(connects, disconnects);
}

static void test_msix_odd_accesses(void **state)
{
	const uint64_t table = bar3() + TABLE;

	(void)state;
	control(PCI_MSIX_FLAGS_ENABLE);
	mmio_write(table + 12, 0, 2);
	mmio_write(table + 13, 0, 1);
	mmio_write(table + 10, 0, 8);
	mmio_write(table + 4, 0x77, 8); /* not aligned to its size */
	assert_int_equal(mmio_read(table + 4, 4), 0);
	assert_int_equal(mmio_read(table + 12, 4), 1);
	assert_int_equal(connects, 0);
	/* Half in the table: nobody's, not the device's. */
	mmio_write(table - 4, 0, 8);
	mmio_write(table + 16 * VECTORS - 4, 0, 8);
	assert_int_equal(toy->writes, 0);
	/* Right behind it is. */
	mmio_write(table + 16 * VECTORS, 9, 4);
	assert_int_equal(toy->writes, 1);
	/* A message KVM refuses. */
	connect_result = -EINVAL;
	mmio_write(table + 12, 0, 4);
	assert_int_equal(toy->pci.msix.faults, 1);
	connect_result = 0;
	mmio_write(table, 0xfee00000, 4);
	assert_true(lines[0].on);
}

static void test_room(void **state)
{
	struct error err = {0};

	(void)state;
	assert_int_equal(pci_bus_add(&bus, &make_toy(0x20000000)->pci, &err), -ENOSPC);
	assert_non_null(strstr(err.text, "does not fit"));
	for (unsigned int i = 1; i < PCI_LINES_MAX / VECTORS; i++) {
		assert_int_equal(pci_bus_add(&bus, &make_toy(16)->pci, &err), 0);
		assert_int_equal(bus.functions[i]->msix.first_line, i * VECTORS);
		/* No window shares a page with another's. */
		for (unsigned int n = 0; n < PCI_BARS; n++)
			assert_int_equal(bus.functions[i]->config.bars[n].at.v % 4096, 0);
	}
	assert_int_equal(pci_bus_add(&bus, &make_toy(16)->pci, &err), -E2BIG);
	assert_non_null(strstr(err.text, "interrupts"));
}

static void test_bad_functions(void **state)
{
	const struct pci_identity id = {0};
	struct pci_function f;
	struct error err = {0};
	int fds[2] = {-1, -1};

	(void)state;
	pci_function_init(&f, &toy_ops, &id);
	assert_int_equal(pci_function_add_bar(&f, 5, 4096, true, false, &err), -EINVAL);
	assert_int_equal(pci_function_add_bar(&f, 0, 4097, false, false, &err), -EINVAL);
	assert_int_equal(pci_function_add_bar(&f, 0, 0, false, false, &err), -EINVAL);
	assert_int_equal(pci_function_add_bar(&f, 0, 4096, true, false, &err), 0);
	assert_int_equal(pci_function_add_bar(&f, 1, 4096, false, false, &err), -EINVAL);
	assert_int_equal(pci_function_add_msix(&f, fds, 2, (struct pci_place){0, 4080},
					       (struct pci_place){0, 0}, &err),
			 -EINVAL);
	msix_done(&f.msix);
	assert_int_equal(pci_function_add_msix(&f, fds, 2, (struct pci_place){0, 0},
					       (struct pci_place){0, 24}, &err),
			 -EINVAL);
	msix_done(&f.msix);
	assert_int_equal(pci_function_add_msix(&f, fds, 2, (struct pci_place){2, 0},
					       (struct pci_place){0, 0}, &err),
			 -EINVAL);
	pci_function_done(&f);
}

static void expect_parts(uint64_t size, const struct vfio_part *holes, unsigned int n,
			 const struct vfio_part *parts, unsigned int parts_n)
{
	struct vfio_part got[8] = {0};

	assert_int_equal(vfio_parts(size, holes, n, got, ARRAY_SIZE(got)), parts_n);
	assert_memory_equal(got, parts, parts_n * sizeof(*parts));
}

static void test_parts(void **state)
{
	const struct vfio_part all[] = {{0, 0x8000}}, none = {0x2000, 0};
	const struct vfio_part middle[] = {{0x2010, 0x30}, {0x3ff8, 8}};
	const struct vfio_part ends[] = {{0x7ff0, 0x10}, {0, 1}};
	const struct vfio_part nested[] = {{0x1000, 0x4000}, {0x2000, 8}, {0, 0x1001}};

	(void)state;
	expect_parts(0x8000, NULL, 0, all, 1);
	expect_parts(0x8000, &none, 1, all, 1);
	expect_parts(0x8000, middle, 2, (struct vfio_part[]){{0, 0x2000}, {0x4000, 0x4000}}, 2);
	expect_parts(0x8000, ends, 2, (struct vfio_part[]){{0x1000, 0x6000}}, 1);
	expect_parts(0x8000, nested, 3, (struct vfio_part[]){{0x5000, 0x3000}}, 1);
	expect_parts(0x800, NULL, 0, all, 0);
	expect_parts(0x8000, all, 1, all, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_identity, open_bus, close_bus),
		cmocka_unit_test_setup_teardown(test_ports, open_bus, close_bus),
		cmocka_unit_test_setup_teardown(test_bars, open_bus, close_bus),
		cmocka_unit_test_setup_teardown(test_windows, open_bus, close_bus),
		cmocka_unit_test_setup_teardown(test_placed, open_bus, close_bus),
		cmocka_unit_test_setup_teardown(test_config_by_address, open_bus, close_bus),
		cmocka_unit_test_setup_teardown(test_bus_master, open_bus, close_bus),
		cmocka_unit_test_setup_teardown(test_msix, open_bus, close_bus),
		cmocka_unit_test_setup_teardown(test_msix_odd_accesses, open_bus, close_bus),
		cmocka_unit_test_setup_teardown(test_room, open_bus, close_bus),
		cmocka_unit_test(test_bad_functions),
		cmocka_unit_test(test_parts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
