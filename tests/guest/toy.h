/* SPDX-License-Identifier: Apache-2.0 */
/* A PCI function for micro guests: tests/guest/lib/pci.h says what it does. */
#ifndef CAISSON_TESTS_GUEST_TOY_H
#define CAISSON_TESTS_GUEST_TOY_H

#include "vmm/pci/function.h"

int toy_new(struct pci_function **ret, struct error *err);

#endif
