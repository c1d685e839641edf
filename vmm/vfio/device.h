/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A PCI function behind VFIO's descriptor of it: what its lender and its monitor both
 * do with one.  The calls follow the kernel's include/uapi/linux/vfio.h.
 */
#ifndef CAISSON_VFIO_DEVICE_H
#define CAISSON_VFIO_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/error.h"

#define VFIO_VECTORS_MAX 256u /* of MSI-X that we give a guest */

struct vfio_region {
	uint64_t size;	 /* bytes; 0: there is none */
	uint64_t offset; /* in the descriptor */
	bool readable, writable;
	bool mappable; /* by mmap(2): all of it but `hole` */
	/* Where it may not be mapped, if anywhere: the MSI-X table on kernels that protect it. */
	uint64_t hole, hole_size;
};

/* What region number `index` (VFIO_PCI_*_REGION_INDEX) is.  One that does not exist has size 0. */
int vfio_device_region(int fd, uint32_t index, struct vfio_region *ret, struct error *err);

/* How many interrupts of kind `index` (VFIO_PCI_*_IRQ_INDEX) there are; 0 for an unknown kind. */
uint32_t vfio_device_irqs(int fd, uint32_t index);

/*
 * Interrupts 0..n-1 (up to VFIO_VECTORS_MAX) of kind `index` write to the eventfds from now on;
 * with n 0 all are switched off.  0 or -errno.
 */
int vfio_device_set_irqs(int fd, uint32_t index, const int *eventfds, uint32_t n);

/* Reads or writes all of the bytes at `at` in the descriptor: 0 or -errno. */
int vfio_device_read(int fd, uint64_t at, void *buf, size_t size);
int vfio_device_write(int fd, uint64_t at, const void *buf, size_t size);

/*
 * Makes it as it was when it was opened: no DMA, no interrupts, then a function level reset, which
 * takes 100 ms and more.  Needs nothing of whoever had it before.  -EAGAIN while the host is taking
 * the function away: close it, that resets it.
 */
int vfio_device_reset(int fd, struct error *err);

#endif
