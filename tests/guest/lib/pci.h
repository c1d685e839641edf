/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PCI for micro guests (runner -p): mechanism #1, and the toy that is device 1 of the bus.
 *
 * The toy has two windows.  0, of 4 KiB, is trapped: a write of n to its start is interrupt n, a
 * read gives TOY_MAGIC.  2, of 8 KiB: a page that is memory, then the MSI-X table of TOY_VECTORS
 * vectors and the pending bits at TOY_PENDING.
 */
#ifndef CAISSON_TESTS_GUEST_PCI_H
#define CAISSON_TESTS_GUEST_PCI_H

#include <stdint.h>

#define TOY_ID 0xca155001u /* device, vendor */
#define TOY_MAGIC 0x70797479u
#define TOY_VECTORS 4u
#define TOY_TABLE 0x1000u
#define TOY_PENDING 0x1800u

#endif
