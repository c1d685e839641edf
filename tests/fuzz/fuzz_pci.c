// SPDX-License-Identifier: Apache-2.0
/*
 * A PCI bus with two functions against a guest made of the input: accesses to its ports and
 * windows, and interrupts that come at any time.  A vector is connected exactly while it may fire.
 *
 *	program: enum step and its operands
 */
#include <linux/pci_regs.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "vmm/pci/bus.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUNCTIONS 2u
#define VECTORS 66u

enum step {
	PORT_WRITE,   /* u8 port from 0xcf0 on, u8 size, u32 */
	PORT_READ,    /* u8 port, u8 size */
	CONFIG_WRITE, /* u8 device, u8 register, u8 size, u32 */
	CONFIG_READ,  /* u8 device, u8 register, u8 size */
	WINDOW_WRITE, /* u8 window, u16 offset, u8 size, u64 */
	WINDOW_READ,  /* u8 window, u16 offset, u8 size */
	ANYWHERE,     /* u64 address, u8 size */
	FIRE,	      /* u8 vector */
	STEPS
};

struct input {
	const uint8_t *at, *end;
};

struct toy {
	struct pci_function pci;
	uint8_t registers[0x4000];
	bool bus_master;
};

static bool connected[PCI_LINES_MAX];
static int eventfds[FUNCTIONS][VECTORS];
static struct pci_bus bus;

static void must(bool ok)
{
	if (!ok)
		abort();
}

static int sink_connect(void *arg, uint32_t line, int fd, uint64_t address, uint32_t data)
{
	(void)arg;
	(void)data;
	must(line < FUNCTIONS * VECTORS && !connected[line] &&
	     fd == eventfds[line / VECTORS][line % VECTORS]);
	/* As a kernel may refuse a message. */
	if (address >> 56 == 0xee)
		return -1;
	connected[line] = true;
	return 0;
}

static void sink_disconnect(void *arg, uint32_t line, int fd)
{
	(void)arg;
	must(line < FUNCTIONS * VECTORS && connected[line] &&
	     fd == eventfds[line / VECTORS][line % VECTORS]);
	connected[line] = false;
}

static struct toy *toy_of(struct pci_function *f)
{
	return (struct toy *)((uint8_t *)f - offsetof(struct toy, pci));
}

static void toy_bus_master(struct pci_function *f, bool on)
{
	must(toy_of(f)->bus_master != on);
	toy_of(f)->bus_master = on;
}

/* Whoever is called trusts these. */
static void check_access(const struct pci_function *f, unsigned int bar, uint64_t offset,
			 uint32_t size)
{
	must(bar < PCI_BARS && size >= 1 && size <= 8 && f->config.bars[bar].size >= size &&
	     offset <= f->config.bars[bar].size - size);
	must(bar != f->table.bar || offset + size <= f->table.offset ||
	     offset >= f->table.offset + msix_table_size(&f->msix));
}

static void toy_read(struct pci_function *f, unsigned int bar, uint64_t offset, void *data,
		     uint32_t size)
{
	check_access(f, bar, offset, size);
	memcpy(data, toy_of(f)->registers + offset, size);
}

static void toy_write(struct pci_function *f, unsigned int bar, uint64_t offset, const void *data,
		      uint32_t size)
{
	check_access(f, bar, offset, size);
	memcpy(toy_of(f)->registers + offset, data, size);
}

static void toy_free(struct pci_function *f)
{
	pci_function_done(f);
	free(toy_of(f));
}

static const struct pci_ops toy_ops = {toy_bus_master, toy_read, toy_write, toy_free};
static const struct msi_sink sink = {NULL, sink_connect, sink_disconnect};

static void add_function(unsigned int n)
{
	const struct pci_identity id = {0x1234, 0x5678, 0x9abc, 0xdef0, 0x020000, 7};
	struct toy *t = calloc(1, sizeof(*t));
	struct error err;

	must(t);
	pci_function_init(&t->pci, &toy_ops, &id);
	must(pci_function_add_bar(&t->pci, 0, 0x4000, n, n, &err) == 0);
	must(pci_function_add_bar(&t->pci, 2 + n, 0x2000, false, false, &err) == 0);
	must(pci_function_add_msix(&t->pci, eventfds[n], VECTORS,
				   (struct pci_place){(uint8_t)(2 + n), 0x40},
				   (struct pci_place){(uint8_t)(n ? 0 : 2), 0x1ff0}, &err) == 0);
	must(pci_bus_add(&bus, &t->pci, &err) == 0);
}

static uint64_t take(struct input *in, unsigned int bytes)
{
	uint64_t v = 0;

	for (unsigned int i = 0; i < bytes && in->at < in->end; i++)
		v |= (uint64_t)*in->at++ << 8 * i;
	return v;
}

static void port(uint32_t number, uint32_t size, uint32_t v, bool write)
{
	pci_bus_port(&bus, (uint16_t)number, &v, size, write);
}

static void config(struct input *in, bool write)
{
	const uint32_t device = (uint32_t)take(in, 1) % 4, reg = (uint32_t)take(in, 1);
	const uint32_t size = 1u << take(in, 1) % 3;

	port(0xcf8, 4, 0x80000000u | device << 11 | (reg & 0xfc), true);
	port(0xcfc + (reg & 3), size, write ? (uint32_t)take(in, 4) : 0, write);
}

static void window(struct input *in, bool write)
{
	const uint32_t which = (uint32_t)take(in, 1), n = which % FUNCTIONS;
	const uint64_t base = bus.functions[n]->config.bars[which & 2 ? 2 + n : 0].at.v;
	const uint64_t at = base + take(in, 2);
	const uint32_t size = 1u << take(in, 1) % 4;
	uint64_t v = write ? take(in, 8) : 0;

	pci_bus_mmio(&bus, GPA(at), &v, size, write);
}

static void fire(uint32_t n)
{
	const uint64_t one = 1;

	must(write(eventfds[n / VECTORS % FUNCTIONS][n % VECTORS], &one, sizeof(one)) == 8);
}

static void one_step(struct input *in)
{
	const enum step step = (enum step)(take(in, 1) % STEPS);
	uint32_t number, size;
	uint64_t at, v = 0;

	switch (step) {
	case PORT_WRITE:
	case PORT_READ:
		number = 0xcf0 + (uint32_t)take(in, 1) % 32;
		size = 1u << take(in, 1) % 3;
		port(number, size, step == PORT_WRITE ? (uint32_t)take(in, 4) : 0,
		     step == PORT_WRITE);
		break;
	case CONFIG_WRITE:
	case CONFIG_READ:
		config(in, step == CONFIG_WRITE);
		break;
	case WINDOW_WRITE:
	case WINDOW_READ:
		window(in, step == WINDOW_WRITE);
		break;
	case ANYWHERE:
		at = take(in, 8);
		size = 1u << take(in, 1) % 4;
		pci_bus_mmio(&bus, GPA(at), &v, size, size & 1);
		break;
	case FIRE:
	case STEPS:
		fire((uint32_t)take(in, 1));
	}
}

/* A function is where it was, and its vectors are connected as its registers say. */
static void check_end(void)
{
	for (unsigned int n = 0; n < FUNCTIONS; n++) {
		const struct pci_function *f = bus.functions[n];
		const uint16_t c = pci_config_get16(&f->config, f->msix_cap + PCI_MSIX_FLAGS);

		must(pci_config_get16(&f->config, PCI_VENDOR_ID) == 0x1234);
		for (uint32_t i = 0; i < VECTORS; i++) {
			const struct msix_vector *v = &f->msix.vectors[i];

			must(v->connected == connected[n * VECTORS + i]);
			if (v->connected)
				must(c & PCI_MSIX_FLAGS_ENABLE && !(c & PCI_MSIX_FLAGS_MASKALL) &&
				     !(v->words[3] & PCI_MSIX_ENTRY_CTRL_MASKBIT));
		}
		must(toy_of(bus.functions[n])->bus_master ==
		     !!(pci_config_get16(&f->config, PCI_COMMAND) & PCI_COMMAND_MASTER));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, data + size};
	uint64_t count;

	memset(connected, 0, sizeof(connected));
	pci_bus_init(&bus, &sink);
	for (unsigned int n = 0; n < FUNCTIONS; n++) {
		for (unsigned int i = 0; i < VECTORS; i++)
			if (!eventfds[n][i])
				eventfds[n][i] = eventfd(0, EFD_NONBLOCK);
			else if (read(eventfds[n][i], &count, sizeof(count)) < 0)
				count = 0;
		add_function(n);
	}
	for (int steps = 0; in.at < in.end && steps < 4096; steps++)
		one_step(&in);
	check_end();
	pci_bus_done(&bus);
	return 0;
}
