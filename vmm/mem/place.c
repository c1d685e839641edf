// SPDX-License-Identifier: Apache-2.0
/* Memory where the host has it (mem.h): pieces by physical address, in the order of those. */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "lib/cleanup.h"
#include "vmm/mem/mem.h"

struct block {
	uint64_t physical;
	uint64_t index; /* in the memfd */
};

static int compare(const void *a, const void *b)
{
	const struct block *x = a, *y = b;

	return x->physical < y->physical ? -1 : x->physical > y->physical;
}

static uint8_t *mapping(const struct mem *m)
{
	return m->regions[0].at - m->regions[0].offset;
}

int mem_sort(struct mem *m, struct error *err)
{
	return mem_blocks_sort(mapping(m), m->fd, m->size, true, err);
}

/* As many blocks as follow each other both in the memfd and in the host. */
static size_t piece(const struct block *blocks, size_t n)
{
	size_t i = 1;

	while (i < n && blocks[i].physical == blocks[0].physical + i * MEM_BLOCK &&
	       blocks[i].index == blocks[0].index + i)
		i++;
	return i;
}

static int add_piece(struct mem *m, uint8_t *at, const struct block *blocks, size_t n,
		     struct error *err)
{
	const uint64_t offset = blocks[0].index * MEM_BLOCK;

	if (m->regions_n == MEM_REGIONS_MAX)
		return error_set(err, E2BIG,
				 "the host's huge pages are in more than %u pieces: reserve them "
				 "when it boots",
				 MEM_REGIONS_MAX);
	if (mmap(at, n * MEM_BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE,
		 m->fd, (off_t)offset) == MAP_FAILED)
		return error_errno(err, "map a piece");
	madvise(at, n * MEM_BLOCK, MADV_DONTDUMP);
	m->regions[m->regions_n++] = (struct mem_region){
		.base = GPA(blocks[0].physical), .size = n * MEM_BLOCK, .offset = offset, .at = at};
	return 0;
}

int mem_place(struct mem *m, const uint64_t *physical, struct error *err)
{
	const size_t n = m->size / MEM_BLOCK;
	_cleanup_free_ struct block *blocks = calloc(n, sizeof(*blocks));
	uint8_t *at = mapping(m);
	size_t size;

	if (!blocks)
		return error_set(err, ENOMEM, "out of memory");
	if (m->size % MEM_BLOCK || m->grows)
		return error_set(err, EINVAL, "memory that is not placed block by block");
	for (size_t i = 0; i < n; i++) {
		if (physical[i] % MEM_BLOCK || physical[i] >= 1ull << 52)
			return error_set(err, EINVAL, "a block at 0x%llx",
					 (unsigned long long)physical[i]);
		blocks[i] = (struct block){.physical = physical[i], .index = i};
	}
	qsort(blocks, n, sizeof(*blocks), compare);
	for (size_t i = 1; i < n; i++)
		if (blocks[i].physical == blocks[i - 1].physical)
			return error_set(err, EINVAL, "two blocks at 0x%llx",
					 (unsigned long long)physical[i]);
	m->fixed = true;
	m->regions_n = 0;
	for (size_t i = 0; i < n; i += size, at += size * MEM_BLOCK) {
		size = piece(&blocks[i], n - i);
		if (add_piece(m, at, &blocks[i], size, err) < 0)
			return -err->code;
	}
	return 0;
}
