// SPDX-License-Identifier: Apache-2.0
/* Memory where the host has it (mem.h): pieces by physical address, in the order of those. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "vmm/mem/backing.h"
#include "vmm/mem/mem.h"

#define PAGEMAP_PRESENT (1ull << 63)
#define PAGEMAP_PFN ((1ull << 55) - 1)
#define SORT_TRIES 3

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* A guest's kernel needs a piece of this many blocks, and its initramfs one behind it. */
#define PIECE 16u
#define MORE_MAX 2048u /* blocks that are taken for a moment, to choose from */
#define FREE_PAGES "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages"

struct block {
	uint64_t physical;
	uint64_t index; /* in the memfd */
	int fd;
	bool keep;
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

/* Where the kernel has the blocks of a memfd: of each, in its order; 0 where it does not say. */
static void look(const uint8_t *mapped, int fd, int pagemap, struct block *ret, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const uintptr_t at = (uintptr_t)mapped + i * MEM_BLOCK;
		uint64_t entry;

		ret[i] = (struct block){.index = i, .fd = fd};
		if (pread(pagemap, &entry, sizeof(entry), (off_t)(at / 4096 * sizeof(entry))) ==
			    (ssize_t)sizeof(entry) &&
		    entry & PAGEMAP_PRESENT)
			ret[i].physical = (entry & PAGEMAP_PFN) * 4096;
	}
}

static bool is_sorted(const struct block *blocks, size_t n)
{
	for (size_t i = 1; i < n; i++)
		if (blocks[i].physical <= blocks[i - 1].physical)
			return false;
	return true;
}

static int populate(const struct mem *m, struct error *err)
{
	if (madvise(mapping(m), m->size, MADV_POPULATE_WRITE) < 0)
		return error_errno(err, "take %llu huge pages",
				   (unsigned long long)(m->size / MEM_BLOCK));
	return 0;
}

/* The blocks, which are in the order of their addresses, that follow each other from `i` on. */
static size_t run_at(const struct block *blocks, size_t i, size_t n)
{
	size_t end = i + 1;

	while (end < n && blocks[end].physical == blocks[end - 1].physical + MEM_BLOCK)
		end++;
	return end - i;
}

static size_t longest_run(const struct block *blocks, size_t n, size_t *ret_at)
{
	size_t longest = 0;

	for (size_t i = 0, size; i < n; i += size) {
		size = run_at(blocks, i, n);
		if (size > longest) {
			longest = size;
			*ret_at = i;
		}
	}
	return longest;
}

/*
 * Huge pages that are given back are the first to be given out again, the last of them first
 * (mm/hugetlb.c, enqueue_hugetlb_folio()): so those that are to be had go back last, from the top
 * down.
 */
static int give_back(const struct block *blocks, size_t n, bool keep, struct error *err)
{
	for (size_t i = n; i-- > 0;)
		if (blocks[i].keep == keep &&
		    fallocate(blocks[i].fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			      (off_t)(blocks[i].index * MEM_BLOCK), MEM_BLOCK) < 0)
			return error_errno(err, "give a huge page back");
	return 0;
}

/* `want` of the blocks: the longest run, and what else there is from the bottom up. */
static void choose(struct block *blocks, size_t n, size_t want)
{
	size_t at = 0, size = longest_run(blocks, n, &at);

	for (size_t i = at; i < at + size && want; i++, want--)
		blocks[i].keep = true;
	for (size_t i = 0; i < n && want; i++)
		if (!blocks[i].keep) {
			blocks[i].keep = true;
			want--;
		}
}

static size_t free_pages(void)
{
	_cleanup_fclose_ FILE *f = fopen(FREE_PAGES, "re");
	size_t n = 0;

	return f && fscanf(f, "%zu", &n) == 1 ? n : 0;
}

/* The next populate() gets the best of ours and most of the free ones.  Best effort. */
static int exchange(const struct mem *m, int pagemap, struct error *err)
{
	const size_t n = m->size / MEM_BLOCK, part = free_pages() / 4 * 3;
	const size_t more = part < MORE_MAX ? part : MORE_MAX;
	_cleanup_free_ struct block *all = calloc(n + more, sizeof(*all));
	_cleanup_close_ int fd = mem_backing_make(more * MEM_BLOCK, true, err);
	uint8_t *mapped = MAP_FAILED;
	int rc = 0;

	if (!more || !all || fd < 0)
		return 0;
	mapped = mmap(NULL, more * MEM_BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
		      fd, 0);
	if (mapped == MAP_FAILED)
		return 0;
	if (madvise(mapped, more * MEM_BLOCK, MADV_POPULATE_WRITE) == 0) {
		look(mapping(m), m->fd, pagemap, all, n);
		look(mapped, fd, pagemap, all + n, more);
		qsort(all, n + more, sizeof(*all), compare);
		choose(all, n + more, n);
		rc = give_back(all, n + more, false, err) < 0 ||
				     give_back(all, n + more, true, err) < 0
			     ? -err->code
			     : 0;
	}
	munmap(mapped, more * MEM_BLOCK);
	return rc;
}

int mem_sort(struct mem *m, struct error *err)
{
	const size_t n = m->size / MEM_BLOCK, piece = n < PIECE ? n : PIECE;
	_cleanup_free_ struct block *blocks = calloc(n, sizeof(*blocks));
	_cleanup_close_ int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	bool sorted, exchanged = false;
	size_t at = 0;

	if (!blocks)
		return error_set(err, ENOMEM, "out of memory");
	for (unsigned int try = 0;; try++) {
		if (populate(m, err) < 0)
			return -err->code;
		look(mapping(m), m->fd, pagemap, blocks, n);
		sorted = is_sorted(blocks, n);
		qsort(blocks, n, sizeof(*blocks), compare);
		if (!blocks[0].physical)
			return 0;
		if (!exchanged && longest_run(blocks, n, &at) < piece) {
			exchanged = true;
			if (exchange(m, pagemap, err) < 0)
				return -err->code;
			continue;
		}
		if (sorted || try >= SORT_TRIES)
			return 0;
		if (give_back(blocks, n, false, err) < 0)
			return -err->code;
	}
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
