/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's functions in a sandbox of the module caisson (kmod/uapi/caisson_boot.h): a PCI
 * bus whose configuration space is calls of the guest's, registers lent to it as windows
 * of the module's, at the host's addresses, and vectors that raise events past this process.
 *
 * DMA is the lender's (vmm/vfio/lend.h): the guest's memory is mapped for it in place.
 *
 * A vector is connected to its line once and for all, before the guest runs; the bus has
 * no sink, so what the guest writes to MSI-X tables is kept and means nothing.
 */
#ifndef CAISSON_CKI_FUNCTIONS_H
#define CAISSON_CKI_FUNCTIONS_H

#include "lib/confine.h"
#include "lib/error.h"
#include "vmm/cki/sandbox.h"
#include "vmm/io.h"
#include "vmm/machine.h"
#include "vmm/mem/mem.h"
#include "vmm/pci/bus.h"
#include "vmm/vfio/function.h"

/* Behind those of the machine's own devices. */
#define CKI_FUNCTIONS_LINE DEVICES_LINES

#define CKI_FUNCTIONS_CALLS_MAX (1u + VFIO_FUNCTION_CALLS * PCI_FUNCTIONS_MAX)

struct cki_functions {
	struct pci_bus bus;
	/* What vCPU threads need for their registers. */
	struct confine_call calls[CKI_FUNCTIONS_CALLS_MAX];
	size_t calls_n;
};

/*
 * Those of `m`, of which there are some.  With privileges, before the guest runs; its memory is
 * there, and vCPU 0.  `gone` as in vfio_function_watch().  On error nothing is left behind but what
 * closing the sandbox ends.
 */
int cki_functions_init(struct cki_functions *f, const struct cki_sandbox *s,
		       const struct machine *m, const struct mem *mem, struct io *io,
		       void (*gone)(void *arg, const struct error *reason), void *arg,
		       struct error *err);
/* After the end of the vCPU threads and of the sandbox's descriptors: it loses its windows. */
void cki_functions_done(struct cki_functions *f);

#endif
