/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a lender of functions does, with privileges, before a monitor runs: opens a
 * function through VFIO, alone in an IOMMU domain of its own, and maps a guest's RAM
 * in that domain.  device_fd and the memfd are then the monitor's to use
 * (vmm/machine.h); they stay usable there whatever becomes of the lender.
 *
 * The interface is VFIO's groups and type1 containers, which every kernel with VFIO
 * has (Documentation/driver-api/vfio.rst).  There is none for iommufd here.
 *
 * Opening and resetting a function takes 100 ms and more, mapping fresh memory the
 * time it takes to zero it: lenders do both beforehand, several at a time; all of
 * this may be called for several functions at once.
 */
#ifndef CAISSON_VFIO_LEND_H
#define CAISSON_VFIO_LEND_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/error.h"
#include "vmm/mem/layout.h"

#define VFIO_ADDRESS_SIZE 13 /* "0000:3b:00.1" and NUL */

struct vfio_lent {
	char address[VFIO_ADDRESS_SIZE];
	int container_fd, group_fd, device_fd; /* -1: not open */
};

#define VFIO_LENT_NONE ((struct vfio_lent){.container_fd = -1, .group_fd = -1, .device_fd = -1})

/*
 * Opens the function at a host's address (DDDD:BB:DD.F), which is bound to vfio-pci and shares its
 * IOMMU group with nothing that is not.  The kernel resets it.  On error nothing is left open.
 */
int vfio_open(struct vfio_lent *v, const char *address, struct error *err);
/* Also unmaps everything.  If somebody else has a copy of device_fd the function and its domain
 * live on until that one is closed. */
void vfio_close(struct vfio_lent *v);

/*
 * Lets the function reach a guest's RAM: all `size` bytes of the memfd, placed by mem_layout().
 * Pages that are not there yet are made, zeroed, and all are pinned until vfio_unmap() or the end
 * of the domain.  On error nothing of it is mapped.
 */
int vfio_map(struct vfio_lent *v, int memfd, uint64_t size, struct error *err);
/* One part of it: e->size bytes at e->offset of the memfd become visible at e->base. */
int vfio_map_extent(struct vfio_lent *v, int memfd, const struct mem_extent *e, struct error *err);
/* Takes it all away. */
int vfio_unmap(struct vfio_lent *v, struct error *err);

/* Whether the IOMMU keeps DMA coherent with the CPUs' caches whatever the function asks for; where
 * it does not, KVM must know of the function (vmm/kvm/vm.h). */
bool vfio_coherent(const struct vfio_lent *v);

#endif
