// SPDX-License-Identifier: Apache-2.0
#include "vmm/mem/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "lib/cleanup.h"
#include "vmm/mem/backing.h"

#define HUGE (2ull << 20)

/*
 * One mapping of all of it, aligned to 2 MiB so that the host can use large pages for the guest,
 * with inaccessible space before and after it.
 */
static int map_backing(struct mem *m, uint64_t all, uint8_t **ret, struct error *err)
{
	int flags = MAP_SHARED | MAP_FIXED;
	uint8_t *at;

	m->reserved_size = all + 4 * HUGE;
	m->reserved = mmap(NULL, m->reserved_size, PROT_NONE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (m->reserved == MAP_FAILED) {
		m->reserved = NULL;
		return error_errno(err, "reserve address space");
	}
	at = (uint8_t *)(((uintptr_t)m->reserved + 2 * HUGE - 1) & ~(uintptr_t)(HUGE - 1));
	/* With MAP_NORESERVE huge pages would be promised and then missed at a page fault.  Those
	 * of a lender are there, or will be. */
	if (m->page_size != HUGE || m->lent)
		flags |= MAP_NORESERVE;
	if (mmap(at, all, PROT_READ | PROT_WRITE, flags, m->fd, 0) == MAP_FAILED) {
		if (errno == ENOMEM && m->page_size == HUGE)
			return error_set(err, ENOMEM, "not enough free 2 MiB pages (%llu needed)",
					 (unsigned long long)(all / HUGE));
		return error_errno(err, "map it");
	}
	/* The guest's secrets are no part of the monitor's core dump. */
	madvise(at, all, MADV_DONTDUMP);
	*ret = at;
	return 0;
}

static int check_size(const struct mem *m, struct error *err)
{
	if (!m->size || m->size % m->page_size || m->size > MEM_SIZE_MAX)
		return error_set(err, EINVAL, "the size is no multiple of %llu bytes up to %llu",
				 (unsigned long long)m->page_size,
				 (unsigned long long)MEM_SIZE_MAX);
	return 0;
}

/* The lender may be at fault, and must not be able to end us by SIGBUS. */
static int check_lent(struct mem *m, int fd, uint64_t max, bool hugepages, struct error *err)
{
	const int need = F_SEAL_SHRINK | F_SEAL_GROW, seals = fcntl(fd, F_GET_SEALS);
	struct statfs fs;
	struct stat st;

	if (seals < 0 || fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
		return error_errno(err, "descriptor %d, which is to be a memfd", fd);
	if ((seals & need) != need || seals & F_SEAL_WRITE)
		return error_set(err, EINVAL, "the lent memfd has the wrong seals (0x%x)", seals);
	if ((uint64_t)st.st_size != max)
		return error_set(err, EINVAL, "the lent memfd has %llu bytes",
				 (unsigned long long)st.st_size);
	m->page_size = fs.f_type == HUGETLBFS_MAGIC ? (uint64_t)fs.f_bsize : 4096;
	if (hugepages && m->page_size != HUGE)
		return error_set(err, EINVAL, "the lent memfd has pages of %llu bytes, not 2 MiB",
				 (unsigned long long)m->page_size);
	return 0;
}

static int map_regions(struct mem *m, uint64_t max, struct error *err)
{
	struct mem_extent extents[MEM_EXTENTS_MAX + 1];
	uint8_t *at = NULL;

	m->regions_n = mem_layout(m->size, extents);
	m->grows = mem_growth(m->size, max, &extents[m->regions_n]);
	if (max != m->size && !m->grows)
		return error_set(err, EINVAL, "it cannot grow to %llu bytes",
				 (unsigned long long)max);
	m->regions_n += m->grows;
	if (map_backing(m, max, &at, err) < 0)
		return -err->code;
	for (unsigned int i = 0; i < m->regions_n; i++)
		m->regions[i] = (struct mem_region){extents[i].base, extents[i].size,
						    extents[i].offset, at + extents[i].offset};
	return 0;
}

static int init(struct mem *m, bool hugepages, struct error *err)
{
	if (check_size(m, err) < 0)
		return -err->code;
	m->fd = mem_backing_open(m->size, hugepages, err);
	return m->fd < 0 ? -err->code : map_regions(m, m->size, err);
}

static int init_lent(struct mem *m, int fd, uint64_t max, bool hugepages, struct error *err)
{
	if (check_lent(m, fd, max, hugepages, err) < 0 || check_size(m, err) < 0)
		return -err->code;
	m->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return m->fd < 0 ? error_errno(err, "duplicate it") : map_regions(m, max, err);
}

static int finish(struct mem *m, int rc, struct error *err)
{
	const uint64_t size = m->size;

	if (rc == 0)
		return 0;
	mem_done(m);
	return error_wrap(err, "guest memory of %llu bytes", (unsigned long long)size);
}

int mem_init(struct mem *m, uint64_t size, bool hugepages, struct error *err)
{
	*m = (struct mem){.fd = -1, .size = size, .page_size = hugepages ? HUGE : 4096};
	return finish(m, init(m, hugepages, err), err);
}

int mem_init_lent(struct mem *m, int fd, uint64_t size, uint64_t max, bool hugepages,
		  struct error *err)
{
	*m = (struct mem){.fd = -1, .size = size, .page_size = 4096, .lent = true, .fixed = true};
	return finish(m, init_lent(m, fd, max, hugepages, err), err);
}

int mem_grow(struct mem *m, uint64_t grown)
{
	if (!m->grows || grown % MEM_GROWTH_STEP || grown > m->regions[m->regions_n - 1].size ||
	    grown < __atomic_load_n(&m->grown, __ATOMIC_RELAXED))
		return -EINVAL;
	__atomic_store_n(&m->grown, grown, __ATOMIC_RELEASE);
	return 0;
}

void mem_done(struct mem *m)
{
	if (m->reserved)
		munmap(m->reserved, m->reserved_size);
	cleanup_close(&m->fd);
	*m = (struct mem){.fd = -1};
}

/* Of region i, so many bytes are RAM. */
static uint64_t ram_of(const struct mem *m, unsigned int i)
{
	return m->grows && i + 1 == m->regions_n ? __atomic_load_n(&m->grown, __ATOMIC_ACQUIRE)
						 : m->regions[i].size;
}

/* The last region that does not begin above gpa; regions_n: none. */
static unsigned int region_below(const struct mem *m, gpa_t gpa)
{
	unsigned int low = 0, high = m->regions_n;

	while (low < high) {
		unsigned int middle = low + (high - low) / 2;

		if (m->regions[middle].base.v <= gpa.v)
			low = middle + 1;
		else
			high = middle;
	}
	return low ? low - 1 : m->regions_n;
}

static const struct mem_region *region_of(const struct mem *m, gpa_t gpa, uint64_t size)
{
	unsigned int i = region_below(m, gpa);
	uint64_t offset;

	if (!size || i == m->regions_n)
		return NULL;
	offset = gpa.v - m->regions[i].base.v;
	return size <= ram_of(m, i) && offset <= ram_of(m, i) - size ? &m->regions[i] : NULL;
}

void *mem_at(const struct mem *m, gpa_t gpa, uint64_t size)
{
	const unsigned int first = region_below(m, gpa);
	uint64_t offset, left = size;

	if (!size || first == m->regions_n)
		return NULL;
	offset = gpa.v - m->regions[first].base.v;
	/* On through regions without a gap: they are without one here, too. */
	for (unsigned int i = first;; i++, offset = 0) {
		const uint64_t all = ram_of(m, i);

		if (offset >= all)
			return NULL;
		if (left <= all - offset)
			break;
		left -= all - offset;
		if (i + 1 == m->regions_n || m->regions[i + 1].base.v != m->regions[i].base.v + all)
			return NULL;
	}
	return m->regions[first].at + (gpa.v - m->regions[first].base.v);
}

int mem_read(const struct mem *m, gpa_t gpa, void *buf, size_t size)
{
	const void *at = mem_at(m, gpa, size);

	if (!at)
		return -EFAULT;
	memcpy(buf, at, size);
	return 0;
}

int mem_write(const struct mem *m, gpa_t gpa, const void *buf, size_t size)
{
	void *at = mem_at(m, gpa, size);

	if (!at)
		return -EFAULT;
	memcpy(at, buf, size);
	return 0;
}

gpa_t mem_gpa(const struct mem *m, const void *at)
{
	for (unsigned int i = 0; i < m->regions_n; i++) {
		const struct mem_region *r = &m->regions[i];
		uint64_t offset = (uintptr_t)at - (uintptr_t)r->at;

		if (offset < r->size)
			return GPA(r->base.v + offset);
	}
	abort(); /* the pointer is not from here */
}

int mem_discard(const struct mem *m, gpa_t gpa, uint64_t size)
{
	const struct mem_region *r = region_of(m, gpa, size);
	uint64_t start, end;

	if (!r)
		return -EFAULT;
	if (m->fixed)
		return -EPERM;
	/* Region bases are multiples of every page size, so rounding keeps inside. */
	start = r->offset + (gpa.v - r->base.v);
	end = (start + size) & ~(m->page_size - 1);
	start = (start + m->page_size - 1) & ~(m->page_size - 1);
	if (start >= end)
		return 0;
	if (fallocate(m->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)start,
		      (off_t)(end - start)) < 0)
		return -errno;
	return 0;
}
