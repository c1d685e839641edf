/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Message-signalled interrupts by KVM: a write to a function's eventfd becomes the
 * message that the guest wrote for it (KVM_SET_GSI_ROUTING, KVM_IRQFD).
 *
 * KVM knows one table of routes for all of a machine's interrupts, and takes it as a
 * whole: the pins of the I/O APIC first, as KVM's own default table has them, then a
 * route per line of the PCI bus (vmm/pci/bus.h).
 */
#ifndef CAISSON_KVM_MSI_H
#define CAISSON_KVM_MSI_H

#include <pthread.h>
#include <stdint.h>

#include "lib/confine.h"
#include "lib/error.h"
#include "vmm/kvm/vm.h"
#include "vmm/pci/msix.h"

struct kvm_irq_routing;

struct msi {
	const struct vm *vm;
	pthread_mutex_t lock; /* of the table */
	struct kvm_irq_routing *table;
	uint32_t lines;
	struct msi_sink sink; /* for pci_bus_init() */
};

/* For up to `lines` lines.  `vm` outlives it.  -ENOTSUP where KVM cannot. */
int msi_init(struct msi *m, const struct vm *vm, uint32_t lines, struct error *err);
/* After the end of the vCPU threads. */
void msi_done(struct msi *m);

/* System calls of the sink: for the filters of vCPU threads. */
extern const struct confine_call msi_calls[];
extern const size_t msi_calls_n;

#endif
