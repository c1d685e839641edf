// SPDX-License-Identifier: Apache-2.0
#include "vmm/pci/config.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>

#define CAPS_AT 0x40u

static uint32_t get32(const struct pci_config *c, unsigned int offset)
{
	uint32_t v;

	memcpy(&v, c->data + offset, sizeof(v));
	return v;
}

uint16_t pci_config_get16(const struct pci_config *c, unsigned int offset)
{
	uint16_t v;

	memcpy(&v, c->data + offset, sizeof(v));
	return v;
}

void pci_config_set16(struct pci_config *c, unsigned int offset, uint16_t v)
{
	memcpy(c->data + offset, &v, sizeof(v));
}

void pci_config_set32(struct pci_config *c, unsigned int offset, uint32_t v)
{
	memcpy(c->data + offset, &v, sizeof(v));
}

void pci_config_init(struct pci_config *c, const struct pci_identity *id)
{
	*c = (struct pci_config){.cap_end = CAPS_AT};
	pci_config_set16(c, PCI_VENDOR_ID, id->vendor);
	pci_config_set16(c, PCI_DEVICE_ID, id->device);
	pci_config_set32(c, PCI_CLASS_REVISION, id->class << 8 | id->revision);
	pci_config_set16(c, PCI_SUBSYSTEM_VENDOR_ID, id->subsystem_vendor);
	pci_config_set16(c, PCI_SUBSYSTEM_ID, id->subsystem);
	/* No interrupt pin; drivers keep notes in the line, and nothing comes of it. */
	c->mask[PCI_INTERRUPT_LINE] = 0xff;
}

int pci_config_add_cap(struct pci_config *c, uint8_t id, unsigned int size)
{
	const unsigned int at = c->cap_end;

	if (size > PCI_CONFIG_SIZE - at)
		return -ENOSPC;
	c->data[at + PCI_CAP_LIST_ID] = id;
	if (c->cap_last)
		c->data[c->cap_last + PCI_CAP_LIST_NEXT] = (uint8_t)at;
	else
		c->data[PCI_CAPABILITY_LIST] = (uint8_t)at;
	pci_config_set16(c, PCI_STATUS, PCI_STATUS_CAP_LIST);
	c->cap_last = (uint8_t)at;
	/* The last byte stays free, so that the next offset fits into one. */
	c->cap_end = (uint8_t)(at + size >= PCI_CONFIG_SIZE - 4 ? PCI_CONFIG_SIZE - 4
								: (at + size + 3) & ~3u);
	return (int)at;
}

/* The register whose number is n: which BAR it belongs to, and which half of it. */
static const struct pci_bar *bar_of(const struct pci_config *c, unsigned int n, unsigned int *half)
{
	*half = 0;
	if (c->bars[n].size)
		return &c->bars[n];
	*half = 1;
	return n > 0 && c->bars[n - 1].size && c->bars[n - 1].wide ? &c->bars[n - 1] : NULL;
}

static bool is_bar(unsigned int reg)
{
	return reg >= PCI_BASE_ADDRESS_0 && reg <= PCI_BASE_ADDRESS_5;
}

static uint32_t read_bar(const struct pci_config *c, unsigned int n)
{
	unsigned int half;
	const struct pci_bar *b = bar_of(c, n, &half);
	uint64_t v;

	if (!b)
		return 0;
	v = b->sizing[half] ? ~(b->size - 1) : b->at.v;
	if (half)
		return (uint32_t)(v >> 32);
	return ((uint32_t)v & (uint32_t)PCI_BASE_ADDRESS_MEM_MASK) |
	       (b->wide ? PCI_BASE_ADDRESS_MEM_TYPE_64 : 0) |
	       (b->prefetchable ? PCI_BASE_ADDRESS_MEM_PREFETCH : 0);
}

static void write_bar(struct pci_config *c, unsigned int n, uint32_t v)
{
	unsigned int half;
	const struct pci_bar *b = bar_of(c, n, &half);

	if (b)
		c->bars[b - c->bars].sizing[half] = v == UINT32_MAX;
}

static bool within(uint32_t offset, uint32_t size)
{
	return size >= 1 && size <= 4 && offset < PCI_CONFIG_SIZE && (offset & 3) + size <= 4;
}

void pci_config_read(const struct pci_config *c, uint32_t offset, void *buf, uint32_t size)
{
	const unsigned int reg = offset & ~3u;
	uint32_t v;

	memset(buf, 0xff, size);
	if (!within(offset, size))
		return;
	v = is_bar(reg) ? read_bar(c, (reg - PCI_BASE_ADDRESS_0) / 4) : get32(c, reg);
	memcpy(buf, (const uint8_t *)&v + (offset & 3), size);
}

void pci_config_write(struct pci_config *c, uint32_t offset, const void *buf, uint32_t size)
{
	const unsigned int reg = offset & ~3u;
	const uint8_t *bytes = buf;
	uint32_t v;

	if (!within(offset, size))
		return;
	if (is_bar(reg)) {
		if (size == sizeof(v)) {
			memcpy(&v, buf, sizeof(v));
			write_bar(c, (reg - PCI_BASE_ADDRESS_0) / 4, v);
		}
		return;
	}
	for (uint32_t i = 0; i < size; i++) {
		const uint8_t mask = c->mask[offset + i];

		c->data[offset + i] = (uint8_t)((c->data[offset + i] & ~mask) | (bytes[i] & mask));
	}
}
