/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine's PCI bus: a host bridge and up to PCI_FUNCTIONS_MAX functions, one per
 * device, all on bus 0.
 *
 * Configuration by mechanism #1 (ports 0xcf8 and 0xcfc; PCI Local Bus Specification
 * 3.0, 3.2.2.3.2).  A memory-mapped configuration space would have to be told of by
 * ACPI, which the guest does not have; what it adds, the extended space, has nothing
 * in it that a guest gets to see.
 *
 * The functions' windows lie in the memory hole from PCI_WINDOW_AT, each at a multiple
 * of its size, in the order the functions were added.  The monitor places them, as
 * firmware would, and there they stay.  A window that has a place already keeps it.
 */
#ifndef CAISSON_PCI_BUS_H
#define CAISSON_PCI_BUS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/pci/function.h"

#define PCI_FUNCTIONS_MAX 31u /* with the bridge: a bus */
#define PCI_WINDOW_AT 0xe0000000ull
#define PCI_WINDOW_END 0xf8000000ull
#define PCI_PORT_FIRST 0xcf8u
#define PCI_PORT_LAST 0xcffu
#define PCI_LINES_MAX 1024u /* MSI-X vectors of all functions */

struct pci_bus {
	pthread_mutex_t lock; /* of `address` */
	uint32_t address;     /* what was written to 0xcf8 */
	struct pci_function bridge;
	struct pci_function *functions[PCI_FUNCTIONS_MAX]; /* device n + 1; owned */
	unsigned int n;
	uint32_t lines; /* given to functions */
	uint64_t end;	/* of what of the window is in use */
	const struct msi_sink *sink;
};

/* The functions' interrupts go to `sink`, their lines counting from 0. */
void pci_bus_init(struct pci_bus *b, const struct msi_sink *sink);
/* Frees the functions.  After the end of the vCPU threads. */
void pci_bus_done(struct pci_bus *b);

/* Places the function's windows and takes it over, also on error. */
int pci_bus_add(struct pci_bus *b, struct pci_function *f, struct error *err);

/* A guest's accesses, by any thread.  False: the port, or the address, is not the bus's. */
bool pci_bus_port(struct pci_bus *b, uint16_t port, void *data, uint32_t size, bool write);
/* The same by an address: bus, device, function and offset as in port 0xcf8, but with the offset's
 * lowest bits.  Reads find ones in `data`. */
void pci_bus_config(struct pci_bus *b, uint32_t address, void *data, uint32_t size, bool write);
bool pci_bus_mmio(struct pci_bus *b, gpa_t at, void *data, uint32_t size, bool write);

#endif
