/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A PCI function as a guest sees it: configuration space, memory windows (BARs), MSI-X.
 *
 * This part answers for configuration space and for the MSI-X table, which lies in one
 * of the windows; everything else in a window is the device's (ops).  A device can also
 * hand out parts of a window to be the guest's directly, without an exit (`direct`).
 *
 * Accesses come from any vCPU thread; `lock` makes them one at a time, and the device's
 * own functions are called with it held, but read and write.
 */
#ifndef CAISSON_PCI_FUNCTION_H
#define CAISSON_PCI_FUNCTION_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/error.h"
#include "vmm/pci/config.h"
#include "vmm/pci/msix.h"

#define PCI_DIRECT_MAX 16u

struct pci_function;

struct pci_ops {
	/* The guest lets the device access memory, or no longer does. */
	void (*bus_master)(struct pci_function *f, bool on);
	/* What is neither direct nor of MSI-X: `size` bytes (1, 2, 4, 8) at `offset` of a window,
	 * all of them in it.  Reads find ones in `data`. */
	void (*read)(struct pci_function *f, unsigned int bar, uint64_t offset, void *data,
		     uint32_t size);
	void (*write)(struct pci_function *f, unsigned int bar, uint64_t offset, const void *data,
		      uint32_t size);
	void (*free)(struct pci_function *f);
};

/* Where something is: in which window, and how far from its start. */
struct pci_place {
	uint8_t bar;
	uint64_t offset;
};

struct pci_direct {
	struct pci_place place;
	uint64_t size; /* place and size: multiples of a page */
	void *at;
};

struct pci_function {
	const struct pci_ops *ops;
	pthread_mutex_t lock;
	struct pci_config config;
	struct msix msix;
	uint8_t msix_cap; /* its offset; 0: none */
	struct pci_place table, pending;
	struct pci_direct direct[PCI_DIRECT_MAX]; /* fixed once the function is on a bus */
	unsigned int direct_n;
};

/* Embedded in a device's own structure.  No windows, no MSI-X yet. */
void pci_function_init(struct pci_function *f, const struct pci_ops *ops,
		       const struct pci_identity *id);
void pci_function_done(struct pci_function *f);

/* A window of memory; its place is the bus's to choose.  -EINVAL: no such size or number. */
int pci_function_add_bar(struct pci_function *f, unsigned int n, uint64_t size, bool wide,
			 bool prefetchable, struct error *err);
/* Its interrupts: table and pending bits must lie in windows that are there, and not overlap. */
int pci_function_add_msix(struct pci_function *f, const int *eventfds, uint32_t n,
			  struct pci_place table, struct pci_place pending, struct error *err);

void pci_function_config_read(struct pci_function *f, uint32_t offset, void *buf, uint32_t size);
void pci_function_config_write(struct pci_function *f, uint32_t offset, const void *buf,
			       uint32_t size);
/* An access of the guest to a window; what does not lie wholly in it has no effect. */
void pci_function_access(struct pci_function *f, unsigned int bar, uint64_t offset, void *data,
			 uint32_t size, bool write);

#endif
