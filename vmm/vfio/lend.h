/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a lender of functions does, with privileges, before a monitor runs: opens a
 * function through VFIO, alone in a DMA address space of its own, and maps a guest's
 * RAM in that.  device_fd and the memfd are then the monitor's to use (vmm/machine.h);
 * they stay usable there whatever becomes of the lender.
 *
 * There are two kinds of address space, by what the kernel has (vmm/vfio/space.h):
 *
 *	type1	a VFIO container of the function's group
 *		(Documentation/driver-api/vfio.rst)
 *	iommufd	an I/O address space of /dev/iommu, and the function's own node
 *		(Documentation/userspace-api/iommufd.rst; both need kernel 6.6)
 *
 * With either the space is whose descriptor one has, it lives as long as the function
 * is open anywhere, and device_fd alone maps nothing in it.
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

enum vfio_kind {
	VFIO_AUTO, /* iommufd, if the kernel has it and the function's node; else type1 */
	VFIO_TYPE1,
	VFIO_IOMMUFD,
	VFIO_KINDS
};

/* "auto", "type1", "iommufd". */
const char *vfio_kind_name(enum vfio_kind kind);
/* -EINVAL: there is no such kind. */
int vfio_kind_parse(const char *name, enum vfio_kind *ret);
/* What VFIO_AUTO means on this machine, as far as can be told without a function.  -ENODEV, with a
 * sentence: the kernel has neither. */
int vfio_kind_of_host(enum vfio_kind *ret, struct error *err);

struct vfio_space {
	enum vfio_kind kind; /* VFIO_AUTO: none */
	int fd;		     /* type1: the container; iommufd: /dev/iommu, opened for this one */
	uint32_t ioas;	     /* iommufd: its number there; else 0 */
};

struct vfio_lent {
	char address[VFIO_ADDRESS_SIZE];
	struct vfio_space space;
	int group_fd; /* type1 only */
	int device_fd;
};

#define VFIO_LENT_NONE ((struct vfio_lent){.space = {.fd = -1}, .group_fd = -1, .device_fd = -1})

/*
 * Opens the function at a host's address (DDDD:BB:DD.F), which is bound to vfio-pci and shares its
 * IOMMU group with nothing that is not.  The kernel resets it.  On error nothing is left open.
 */
int vfio_open(struct vfio_lent *v, const char *address, enum vfio_kind kind, struct error *err);
/* Also unmaps everything.  If somebody else has a copy of device_fd the function and its address
 * space live on until that one is closed. */
void vfio_close(struct vfio_lent *v);

/*
 * Whether it is open anywhere: 1, 0, or -errno if that cannot be seen.  By its VFIO group, which
 * can be opened once only and not while a device of it is open, with either kind
 * (drivers/vfio/group.c); on a kernel without groups by opening the function, which resets it.
 */
int vfio_is_open(const char *address);

/* The address space without the function: enough to map more, whoever has the device.  To be closed
 * as well. */
int vfio_dup_space(const struct vfio_lent *v, struct vfio_lent *ret, struct error *err);

/*
 * Lets the function reach a guest's RAM: all `size` bytes of the memfd, placed by mem_layout().
 * Pages that are not there yet are made, zeroed, and all are pinned until vfio_unmap() or the end
 * of the space.  On error nothing of it is mapped.
 */
int vfio_map(const struct vfio_lent *v, int memfd, uint64_t size, struct error *err);
/* One part of it: e->size bytes at e->offset of the memfd become visible at e->base. */
int vfio_map_extent(const struct vfio_lent *v, int memfd, const struct mem_extent *e,
		    struct error *err);
/*
 * The same for a guest whose addresses are the host's (engine cki): the memfd is of huge pages,
 * each of which becomes visible at its physical address.  What is mapped are these pages, whatever
 * becomes of the memfd: an address leads to the memory at that address, or nowhere.
 * -EAGAIN: the kernel has moved one.
 */
int vfio_map_in_place(const struct vfio_lent *v, int memfd, uint64_t size, struct error *err);
/* Takes it all away. */
int vfio_unmap(const struct vfio_lent *v, struct error *err);

#endif
