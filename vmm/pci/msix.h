/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MSI-X (PCI Local Bus Specification 3.0, 6.8.2): the table a guest writes its
 * interrupts' messages to, the pending bits, and what is to be done when they change.
 *
 * A device's interrupt is an eventfd that somebody else writes to.  While a vector
 * can fire, the eventfd is connected to the guest's interrupt controllers; while it
 * is masked it is not, and the eventfd's count is the pending bit.  So nothing is
 * lost, and no thread of ours stands in between.
 *
 * Trust: every byte of the table is the guest's.  No locks: the owner has one.
 */
#ifndef CAISSON_PCI_MSIX_H
#define CAISSON_PCI_MSIX_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/error.h"

#define MSIX_ENTRY_SIZE 16u /* bytes of a vector in the table */

/* Whoever turns a write to an eventfd into an interrupt (vmm/kvm/msi.h).  `line` names the vector
 * among all of the machine's. */
struct msi_sink {
	void *arg;
	/* 0 or -errno: an impossible message. */
	int (*connect)(void *arg, uint32_t line, int eventfd, uint64_t address, uint32_t data);
	void (*disconnect)(void *arg, uint32_t line, int eventfd);
};

struct msix_vector {
	uint32_t words[4]; /* as in the table: address (2), data, control */
	int eventfd;	   /* the owner's; does not block */
	bool connected;
};

struct msix {
	struct msix_vector *vectors;
	uint32_t n; /* 0: the function has none */
	uint32_t first_line;
	const struct msi_sink *sink; /* NULL: nothing is connected */
	bool enabled, masked;	     /* of all vectors */
	uint64_t faults;	     /* messages that could not be */
};

/* n vectors, masked, whose eventfds are copied from the array and stay the caller's. */
int msix_init(struct msix *m, const int *eventfds, uint32_t n, struct error *err);
/* Disconnects nothing: the machine is gone by then. */
void msix_done(struct msix *m);

/* The bits of message control. */
void msix_control(struct msix *m, bool enabled, bool masked);

/* Accesses to the table and to the pending bits, `offset` bytes from their start, of 4 or 8 bytes
 * and aligned; others read as they find `buf`, and write nothing. */
void msix_table_read(const struct msix *m, uint64_t offset, void *buf, uint32_t size);
void msix_table_write(struct msix *m, uint64_t offset, const void *buf, uint32_t size);
void msix_pending_read(const struct msix *m, uint64_t offset, void *buf, uint32_t size);

/* Bytes of both. */
uint64_t msix_table_size(const struct msix *m);
uint64_t msix_pending_size(const struct msix *m);

#endif
