/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first 256 bytes of a function's configuration space (PCI Local Bus
 * Specification 3.0, 6.1), type 0, as a guest sees it: all of it is ours.
 *
 * What a guest can change: bits that `mask` names, and the sizing of base address
 * registers.  A register tells its size after all ones were written to it, as
 * 6.2.5.1 wants it, and its address after anything else was: functions lie where
 * the monitor put them.
 *
 * Trust: offsets, sizes and values are the guest's.  No locks: the owner has one.
 */
#ifndef CAISSON_PCI_CONFIG_H
#define CAISSON_PCI_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/mem/layout.h"

#define PCI_CONFIG_SIZE 256u
#define PCI_BARS 6u

struct pci_bar {
	uint64_t size; /* a power of two from 16 up; 0: there is none */
	gpa_t at;
	bool wide; /* 64 bits: the next register is its upper half */
	bool prefetchable;
	bool sizing[2]; /* lower, upper: what the guest wrote last were ones */
};

struct pci_identity {
	uint16_t vendor, device, subsystem_vendor, subsystem;
	uint32_t class; /* 24 bits: class, subclass, interface */
	uint8_t revision;
};

struct pci_config {
	uint8_t data[PCI_CONFIG_SIZE];
	uint8_t mask[PCI_CONFIG_SIZE];
	struct pci_bar bars[PCI_BARS];
	uint8_t cap_last; /* where the last capability is; 0: none yet */
	uint8_t cap_end;  /* where the next one goes */
};

void pci_config_init(struct pci_config *c, const struct pci_identity *id);

/*
 * Adds a capability of `size` bytes, of which the first two (id, next) are filled in here.  Returns
 * its offset, or -ENOSPC.
 */
int pci_config_add_cap(struct pci_config *c, uint8_t id, unsigned int size);

/* Accesses of `size` bytes at `offset` that cross a register of four bytes, or lie outside, read as
 * ones and write nothing. */
void pci_config_read(const struct pci_config *c, uint32_t offset, void *buf, uint32_t size);
void pci_config_write(struct pci_config *c, uint32_t offset, const void *buf, uint32_t size);

uint16_t pci_config_get16(const struct pci_config *c, unsigned int offset);
void pci_config_set16(struct pci_config *c, unsigned int offset, uint16_t v);
void pci_config_set32(struct pci_config *c, unsigned int offset, uint32_t v);

#endif
