/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a guest's RAM is: a function of its size alone, so that whoever maps it for
 * a device's DMA and the monitor that runs the guest agree without talking.
 *
 * RAM starts at guest-physical 0; what does not fit below the hole at 3 GiB, where
 * interrupt controllers and device windows live, goes on at 4 GiB.  In the memfd
 * that backs it there is no hole.
 */
#ifndef CAISSON_MEM_LAYOUT_H
#define CAISSON_MEM_LAYOUT_H

#include <stdint.h>

typedef struct {
	uint64_t v;
} gpa_t; /* guest-physical address */

#define GPA(x) ((gpa_t){x})

#define MEM_HOLE_START (3ull << 30)
#define MEM_HOLE_END (4ull << 30)
#define MEM_SIZE_MAX (1ull << 40) /* bytes of one guest */
#define MEM_EXTENTS_MAX 2u

struct mem_extent {
	gpa_t base;	 /* a multiple of 1 GiB */
	uint64_t size;	 /* bytes, not 0 */
	uint64_t offset; /* in the memfd */
};

/* Fills in the extents of `size` bytes of RAM, ascending, and returns their number; 0 for a size
 * of 0 or over MEM_SIZE_MAX. */
unsigned int mem_layout(uint64_t size, struct mem_extent ret[static MEM_EXTENTS_MAX]);

#endif
