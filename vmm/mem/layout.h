/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a guest's RAM is: a function of its size alone, so that whoever maps it for
 * a device's DMA and the monitor that runs the guest agree without talking.
 *
 * RAM starts at guest-physical 0; what does not fit below the hole at 3 GiB, where
 * interrupt controllers and device windows live, goes on at 4 GiB.  In the memfd
 * that backs it there is no hole.
 *
 * What a guest may grow into while it runs is in the memfd behind that, and in the
 * guest at the next multiple of 2 GiB, so that its kernel takes it in whole blocks.
 */
#ifndef CAISSON_MEM_LAYOUT_H
#define CAISSON_MEM_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
	uint64_t v;
} gpa_t; /* guest-physical address */

#define GPA(x) ((gpa_t){x})

#define MEM_HOLE_START (3ull << 30)
#define MEM_HOLE_END (4ull << 30)
#define MEM_SIZE_MAX (1ull << 40) /* bytes of one guest */
#define MEM_EXTENTS_MAX 2u
#define MEM_GROWTH_STEP                                                                            \
	(128ull << 20) /* growth is a multiple of this: a block of memory in Linux */

struct mem_extent {
	gpa_t base;	 /* a multiple of 1 GiB */
	uint64_t size;	 /* bytes, not 0 */
	uint64_t offset; /* in the memfd */
};

/* Fills in the extents of `size` bytes of RAM, ascending, and returns their number; 0 for a size
 * of 0 or over MEM_SIZE_MAX. */
unsigned int mem_layout(uint64_t size, struct mem_extent ret[static MEM_EXTENTS_MAX]);

/*
 * Where the growth of a guest of `size` bytes up to `max` is.  True if there is any; false when max
 * is not above size, or the sizes cannot be: `size` is to be a multiple of 2 MiB, the growth one of
 * MEM_GROWTH_STEP.
 */
bool mem_growth(uint64_t size, uint64_t max, struct mem_extent *ret);

#endif
