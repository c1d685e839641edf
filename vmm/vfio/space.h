/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two kinds of DMA address space, behind vmm/vfio/lend.h: what each does its own way.
 */
#ifndef CAISSON_VFIO_SPACE_H
#define CAISSON_VFIO_SPACE_H

#include <stddef.h>
#include <stdint.h>

#include "lib/error.h"
#include "vmm/vfio/lend.h"

struct vfio_ops {
	/* 0 if the kernel has it: for the function at that address, which is bound to vfio-pci, or
	 * (NULL) at all.  Else a sentence. */
	int (*probe)(const char *address, struct error *err);
	/* vfio_is_open(); -ENOENT: not by this kind. */
	int (*is_open)(const char *address);
	/* The function v->address, alone in a new space.  On error v has what there is to close. */
	int (*open)(struct vfio_lent *v, struct error *err);
	/* `size` bytes at `offset` of the memfd, at `iova`.  0 or -errno; -ERANGE: the IOMMU does
	 * not translate all of these addresses. */
	int (*map)(const struct vfio_space *s, int memfd, uint64_t offset, uint64_t size,
		   uint64_t iova);
	/* What was mapped by one call; all there is.  0 or -errno. */
	int (*unmap)(const struct vfio_space *s, uint64_t iova, uint64_t size);
	int (*unmap_all)(const struct vfio_space *s);
};

extern const struct vfio_ops vfio_type1, vfio_iommufd;

/* The last part of where a link of the device in sysfs points to; "" if there is no such link. */
void vfio_link_name(const char *address, const char *link, char *ret, size_t size);

#endif
