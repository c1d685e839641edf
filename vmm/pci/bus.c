// SPDX-License-Identifier: Apache-2.0
#include "vmm/pci/bus.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>

#define PORT_ADDRESS 0xcf8u
#define PORT_DATA 0xcfcu
#define ADDRESS_ENABLE 0x80000000u
#define PAGE 4096u

/* What other hypervisors' host bridges without registers call themselves (Red Hat's "QEMU PCIe Host
 * bridge"); drivers know it as nothing special. */
static const struct pci_identity bridge_identity = {
	.vendor = 0x1b36,
	.device = 0x0008,
	.class = 0x060000,
};

static void no_bus_master(struct pci_function *f, bool on)
{
	(void)f;
	(void)on;
}

/* It has no windows. */
static const struct pci_ops bridge_ops = {.bus_master = no_bus_master};

void pci_bus_init(struct pci_bus *b, const struct msi_sink *sink)
{
	*b = (struct pci_bus){.sink = sink, .end = PCI_WINDOW_AT};
	pthread_mutex_init(&b->lock, NULL);
	pci_function_init(&b->bridge, &bridge_ops, &bridge_identity);
}

void pci_bus_done(struct pci_bus *b)
{
	for (unsigned int i = 0; i < b->n; i++)
		b->functions[i]->ops->free(b->functions[i]);
	b->n = 0;
	pci_function_done(&b->bridge);
	pthread_mutex_destroy(&b->lock);
}

/* Never less than a page: what is mapped of one window must not show another. */
static int place(struct pci_bus *b, struct pci_function *f, struct error *err)
{
	for (unsigned int i = 0; i < PCI_BARS; i++) {
		struct pci_bar *bar = &f->config.bars[i];
		const uint64_t size = bar->size < PAGE ? PAGE : bar->size;
		uint64_t at;

		if (!bar->size || bar->at.v)
			continue;
		at = (b->end + size - 1) & ~(size - 1);
		if (size > PCI_WINDOW_END - PCI_WINDOW_AT || at > PCI_WINDOW_END - size)
			return error_set(err, ENOSPC,
					 "its window %u of 0x%llx bytes does not fit into the "
					 "machine's 0x%llx",
					 i, (unsigned long long)bar->size,
					 PCI_WINDOW_END - PCI_WINDOW_AT);
		bar->at = GPA(at);
		b->end = at + size;
	}
	return 0;
}

static int attach(struct pci_bus *b, struct pci_function *f, struct error *err)
{
	if (b->n == PCI_FUNCTIONS_MAX)
		return error_set(err, E2BIG, "more than %u functions", PCI_FUNCTIONS_MAX);
	if (f->msix.n > PCI_LINES_MAX - b->lines)
		return error_set(err, E2BIG, "more than %u interrupts of functions", PCI_LINES_MAX);
	if (place(b, f, err) < 0)
		return -err->code;
	f->msix.sink = b->sink;
	f->msix.first_line = b->lines;
	b->lines += f->msix.n;
	b->functions[b->n++] = f;
	return 0;
}

int pci_bus_add(struct pci_bus *b, struct pci_function *f, struct error *err)
{
	if (attach(b, f, err) < 0) {
		f->ops->free(f);
		return -err->code;
	}
	return 0;
}

static struct pci_function *selected(struct pci_bus *b, uint32_t address)
{
	const unsigned int devfn = address >> 8 & 0xff, device = devfn >> 3;

	if (address >> 16 & 0xff || devfn & 7)
		return NULL;
	if (device == 0)
		return &b->bridge;
	return device <= b->n ? b->functions[device - 1] : NULL;
}

static void access_address(struct pci_bus *b, void *data, uint32_t size, bool write)
{
	/* Only a whole one is the register; parts belong to others on real machines. */
	if (size != sizeof(b->address))
		return;
	pthread_mutex_lock(&b->lock);
	memcpy(write ? (void *)&b->address : data, write ? data : (void *)&b->address, size);
	b->address &= ADDRESS_ENABLE | 0xfffffc;
	pthread_mutex_unlock(&b->lock);
}

void pci_bus_config(struct pci_bus *b, uint32_t address, void *data, uint32_t size, bool write)
{
	struct pci_function *f = selected(b, address);

	if (f && write)
		pci_function_config_write(f, address & 0xff, data, size);
	else if (f)
		pci_function_config_read(f, address & 0xff, data, size);
}

bool pci_bus_port(struct pci_bus *b, uint16_t port, void *data, uint32_t size, bool write)
{
	uint32_t address;

	if (port < PCI_PORT_FIRST || port > PCI_PORT_LAST || size > PCI_PORT_LAST + 1u - port)
		return false;
	if (port < PORT_DATA) {
		if (port == PORT_ADDRESS)
			access_address(b, data, size, write);
		return true;
	}
	pthread_mutex_lock(&b->lock);
	address = b->address;
	pthread_mutex_unlock(&b->lock);
	if (address & ADDRESS_ENABLE)
		pci_bus_config(b, (address & 0xfffffc) | (port - PORT_DATA), data, size, write);
	return true;
}

bool pci_bus_mmio(struct pci_bus *b, gpa_t at, void *data, uint32_t size, bool write)
{
	for (unsigned int i = 0; i < b->n; i++)
		for (unsigned int n = 0; n < PCI_BARS; n++) {
			const struct pci_bar *bar = &b->functions[i]->config.bars[n];

			if (bar->size && at.v >= bar->at.v && at.v - bar->at.v < bar->size) {
				pci_function_access(b->functions[i], n, at.v - bar->at.v, data,
						    size, write);
				return true;
			}
		}
	return at.v >= PCI_WINDOW_AT && at.v < b->end;
}
