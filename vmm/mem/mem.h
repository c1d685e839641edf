/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest memory: RAM regions backed by one shared memfd.
 *
 * Layout: vmm/mem/layout.h; or, for a guest without a second translation, where the host
 * has its pages: mem_place().  Regions, base and size do not change after that until
 * mem_done(), so a pointer from mem_at() stays good until mem_done() and may be
 * used by any thread.
 *
 * The memfd is the monitor's own, or lent: made, zeroed and perhaps mapped for a
 * device's DMA by somebody who takes it back afterwards.  A lent one is never
 * discarded from: a device would go on writing to pages that are no longer there.
 *
 * Trust: the address, the size and every byte are the guest's, and it may change
 * bytes while we look.  mem_at() is the one door: whoever holds a guest address
 * goes through it, copies what it must check, checks the copy and uses only that.
 */
#ifndef CAISSON_MEM_H
#define CAISSON_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/error.h"
#include "vmm/mem/blocks.h"
#include "vmm/mem/layout.h"

#define MEM_REGIONS_MAX 120

struct mem_region {
	gpa_t base;
	uint64_t size;	 /* bytes */
	uint64_t offset; /* in the memfd */
	uint8_t *at;	 /* where this process has it; congruent with base modulo 2 MiB */
};

struct mem {
	int fd;		    /* the memfd; its size is sealed */
	uint64_t size;	    /* that the guest starts with */
	uint64_t page_size; /* of the backing: 4096 or 2 MiB */
	bool lent;
	/* Its pages stay where they are: others know where. */
	bool fixed;
	/* Ascending, disjoint.  Where one begins at the end of another, so it does in `at`. */
	struct mem_region regions[MEM_REGIONS_MAX];
	unsigned int regions_n;
	/* The last region is there to grow into: of it, so many bytes are RAM.  Atomic. */
	bool grows;
	uint64_t grown;
	void *reserved; /* the address range that holds all of it, guards included */
	uint64_t reserved_size;
};

/*
 * `size` bytes, a multiple of the page size and not 0.  With hugepages: 2 MiB pages of hugetlbfs,
 * reserved at once, so that a host without enough of them fails here and not at a page fault.
 * Otherwise memory appears as it is touched.  On error nothing is left behind.
 */
int mem_init(struct mem *m, uint64_t size, bool hugepages, struct error *err);
/*
 * The same with a lent memfd: `fd` stays the caller's, and may be closed.  It must have `max`
 * bytes, be sealed against shrinking and growing and not against writing, and with hugepages be of
 * 2 MiB pages. What is in it is the guest's to read: the lender has zeroed it.  What is behind
 * `size` becomes RAM by mem_grow(); until then mem_at() does not know it, though it is one of the
 * regions.
 */
int mem_init_lent(struct mem *m, int fd, uint64_t size, uint64_t max, bool hugepages,
		  struct error *err);
/* So many bytes of the last region are RAM from now on.  Any thread.  -EINVAL: less than before,
 * more than there is, no multiple of MEM_GROWTH_STEP. */
int mem_grow(struct mem *m, uint64_t grown);
void mem_done(struct mem *m);

/*
 * For memory of huge pages whose guest-physical addresses are the host's own: has the pages of our
 * own memfd (not a lent one) go up in it as they do in the host, as far as they can be had; then
 * there are few regions.  mem_blocks_sort(), also with others' pages.
 */
int mem_sort(struct mem *m, struct error *err);
/*
 * Block i of the memfd (MEM_BLOCK bytes) is at physical[i] from now on: once, before anybody knows
 * an address.  All else about the memory goes on as before; nothing is discarded any more.
 * -E2BIG: it is in more than MEM_REGIONS_MAX pieces; -EINVAL: not blocks, or one of them twice.
 */
int mem_place(struct mem *m, const uint64_t *physical, struct error *err);

/*
 * Where the `size` bytes at `gpa` are, or NULL when they are not all RAM without a gap.
 * size 0 is NULL, too: there is nothing to point to.
 */
void *mem_at(const struct mem *m, gpa_t gpa, uint64_t size);

/* Copies; 0, or -EFAULT (nothing copied) when mem_at() would refuse. */
int mem_read(const struct mem *m, gpa_t gpa, void *buf, size_t size);
int mem_write(const struct mem *m, gpa_t gpa, const void *buf, size_t size);

/* The guest address of a pointer that mem_at() gave out (or one inside what it gave out). */
gpa_t mem_gpa(const struct mem *m, const void *at);

/*
 * Gives the pages that lie wholly in the range back to the host; they read as zero afterwards.
 * 0, -EFAULT (not inside one region), -EPERM (fixed memory: lent, or placed) or -errno.
 */
int mem_discard(const struct mem *m, gpa_t gpa, uint64_t size);

#endif
