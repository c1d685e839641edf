// SPDX-License-Identifier: Apache-2.0
#include "vmm/mem/blocks.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kmod/uapi/caisson.h"
#include "lib/cleanup.h"
#include "vmm/mem/backing.h"

#define PAGEMAP_PRESENT (1ull << 63)
#define PAGEMAP_PFN ((1ull << 55) - 1)
#define SORT_TRIES 3

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* A guest's kernel needs a piece of this many blocks, and its initramfs one behind it. */
#define PIECE 16u
/* More pieces of memory than these a volume's file server does not take. */
#define PIECES 8u
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

/* False: nothing is known of them. */
static bool ask_module(const uint8_t *mapped, uint64_t *ret, size_t n)
{
	_cleanup_close_ int fd = open("/dev/caisson", O_RDWR | O_CLOEXEC);
	struct caisson_memory m = {.address = (uintptr_t)mapped,
				   .size = n * MEM_BLOCK,
				   .runs = (uintptr_t)ret};

	return fd >= 0 && ioctl(fd, CAISSON_ADD_MEMORY, &m) == 0;
}

static void look_by_module(const uint8_t *mapped, struct block *ret, size_t n)
{
	_cleanup_free_ uint64_t *physical = calloc(n, sizeof(*physical));

	if (!physical || !ask_module(mapped, physical, n))
		return;
	for (size_t i = 0; i < n; i++)
		ret[i].physical = physical[i];
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
	if (n && !ret[0].physical)
		look_by_module(mapped, ret, n);
}

static bool is_sorted(const struct block *blocks, size_t n)
{
	for (size_t i = 1; i < n; i++)
		if (blocks[i].physical <= blocks[i - 1].physical)
			return false;
	return true;
}

static int populate(uint8_t *mapped, uint64_t size, struct error *err)
{
	if (madvise(mapped, size, MADV_POPULATE_WRITE) < 0)
		return error_errno(err, "take %llu huge pages",
				   (unsigned long long)(size / MEM_BLOCK));
	return 0;
}

/* The blocks, which are in the order of their addresses, that follow each other from `i` on and are
 * as that one is. */
static size_t run_at(const struct block *blocks, size_t i, size_t n)
{
	size_t end = i + 1;

	while (end < n && blocks[end].keep == blocks[i].keep &&
	       blocks[end].physical == blocks[end - 1].physical + MEM_BLOCK)
		end++;
	return end - i;
}

/* Of those that are not kept; 0: there is none. */
static size_t longest_run(const struct block *blocks, size_t n, size_t *ret_at)
{
	size_t longest = 0;

	for (size_t i = 0, size; i < n; i += size) {
		size = run_at(blocks, i, n);
		if (!blocks[i].keep && size > longest) {
			longest = size;
			*ret_at = i;
		}
	}
	return longest;
}

/* In few pieces, one of them long enough. */
static bool is_good(const struct block *blocks, size_t n)
{
	const size_t piece = n < PIECE ? n : PIECE;
	size_t at, runs = 0;

	for (size_t i = 0; i < n; i += run_at(blocks, i, n))
		runs++;
	return runs <= PIECES && longest_run(blocks, n, &at) >= piece;
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

/* `want` of the blocks, the longest runs first. */
static void choose(struct block *blocks, size_t n, size_t want)
{
	size_t at = 0, size;

	while (want && (size = longest_run(blocks, n, &at)) > 0) {
		size = size < want ? size : want;
		for (size_t i = at; i < at + size; i++)
			blocks[i].keep = true;
		want -= size;
	}
}

static size_t free_pages(void)
{
	_cleanup_fclose_ FILE *f = fopen(FREE_PAGES, "re");
	size_t n = 0;

	return f && fscanf(f, "%zu", &n) == 1 ? n : 0;
}

/* The next populate() gets the best of ours and most of the free ones.  Best effort. */
static int exchange(const uint8_t *ours, int our_fd, size_t n, int pagemap, struct error *err)
{
	const size_t part = free_pages() / 4 * 3;
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
		look(ours, our_fd, pagemap, all, n);
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

int mem_blocks_sort(uint8_t *mapped, int fd, uint64_t size, bool others, struct error *err)
{
	const size_t n = size / MEM_BLOCK;
	_cleanup_free_ struct block *blocks = calloc(n, sizeof(*blocks));
	_cleanup_close_ int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	bool sorted, exchanged = !others;

	if (!blocks)
		return error_set(err, ENOMEM, "out of memory");
	for (unsigned int try = 0;; try++) {
		if (populate(mapped, size, err) < 0)
			return -err->code;
		look(mapped, fd, pagemap, blocks, n);
		sorted = is_sorted(blocks, n);
		qsort(blocks, n, sizeof(*blocks), compare);
		if (!blocks[0].physical)
			return 0;
		if (!exchanged && !is_good(blocks, n)) {
			exchanged = true;
			if (exchange(mapped, fd, n, pagemap, err) < 0)
				return -err->code;
			continue;
		}
		if (sorted || try >= SORT_TRIES)
			return 0;
		if (give_back(blocks, n, false, err) < 0)
			return -err->code;
	}
}

int mem_blocks_find(uint8_t *mapped, uint64_t size, uint64_t *ret, struct error *err)
{
	const size_t n = size / MEM_BLOCK;
	_cleanup_free_ struct block *blocks = calloc(n, sizeof(*blocks));
	_cleanup_close_ int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	if (!blocks)
		return error_set(err, ENOMEM, "out of memory");
	if (populate(mapped, size, err) < 0)
		return -err->code;
	look(mapped, -1, pagemap, blocks, n);
	for (size_t i = 0; i < n; i++) {
		if (!blocks[i].physical || blocks[i].physical % MEM_BLOCK)
			return error_set(err, EPERM, "the kernel does not say where its memory is");
		ret[i] = blocks[i].physical;
	}
	return 0;
}
