/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A function of the host's, passed through: the guest's driver talks to the device,
 * and what belongs to the host stays out of its reach.
 *
 *	configuration	ours (vmm/pci/config.h): identity copied, command register
 *			emulated but for bus mastering, MSI-X the only capability
 *	windows		memory windows are mapped into the guest, all but the pages of
 *			the MSI-X table and pending bits; accesses there, and to windows
 *			that cannot be mapped, are carried out by read and write on
 *			VFIO's descriptor.  I/O windows and ROMs are not shown.
 *	interrupts	all vectors are switched on at the start, each with an eventfd,
 *			and stay so; what the guest does to its table connects the
 *			eventfds (vmm/pci/msix.h)
 *	reset		the guest has none: no PCI Express capability, no power states.
 *			The lender resets the function when it gets it back.
 *	DMA		the lender's (vmm/vfio/lend.h); nothing is mapped here
 *
 * When the host wants the function back, or it reports an error that cannot be
 * corrected, `gone` is called, and the machine should end.
 */
#ifndef CAISSON_VFIO_FUNCTION_H
#define CAISSON_VFIO_FUNCTION_H

#include "lib/confine.h"
#include "lib/error.h"
#include "vmm/io.h"
#include "vmm/machine.h"
#include "vmm/pci/function.h"

/* System calls of a vCPU thread that serves one function's registers. */
#define VFIO_FUNCTION_CALLS 2u

/* With privileges.  The descriptor stays the caller's and outlives the function. */
int vfio_function_new(const struct machine_function *m, struct pci_function **ret,
		      struct error *err);

/* Calls gone() in the I/O thread, at most once, with the reason. */
int vfio_function_watch(struct pci_function *f, struct io *io,
			void (*gone)(void *arg, const struct error *reason), void *arg,
			struct error *err);

void vfio_function_calls(const struct pci_function *f,
			 struct confine_call ret[static VFIO_FUNCTION_CALLS]);

/*
 * The parts of a window of `size` bytes that can be mapped: whole pages outside the n holes.
 * Returns how many there are, at most max; what would not fit is left to be trapped.
 */
struct vfio_part {
	uint64_t offset, size;
};

unsigned int vfio_parts(uint64_t size, const struct vfio_part *holes, unsigned int n,
			struct vfio_part *ret, unsigned int max);

#endif
