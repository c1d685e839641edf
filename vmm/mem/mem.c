// SPDX-License-Identifier: Apache-2.0
#include "vmm/mem/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/cleanup.h"

#define HUGE (2ull << 20)

static int backing_open(uint64_t size, bool hugepages, struct error *err)
{
	unsigned int flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	_cleanup_close_ int fd = -1;

	if (hugepages)
		flags |= MFD_HUGETLB | MFD_HUGE_2MB;
	fd = memfd_create("caisson-guest", flags);
	if (fd < 0)
		return error_errno(err, "make a memfd");
	if (ftruncate(fd, (off_t)size) < 0)
		return error_errno(err, "size a memfd");
	/* It is handed to a file server in a jail: who cuts it short would kill us by SIGBUS. */
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return error_errno(err, "seal a memfd");
	return steal_fd(&fd);
}

/*
 * One mapping of all of it, aligned to 2 MiB so that the host can use large pages for the guest,
 * with inaccessible space before and after it.
 */
static int map_backing(struct mem *m, uint8_t **ret, struct error *err)
{
	int flags = MAP_SHARED | MAP_FIXED;
	uint8_t *at;

	m->reserved_size = m->size + 4 * HUGE;
	m->reserved = mmap(NULL, m->reserved_size, PROT_NONE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (m->reserved == MAP_FAILED) {
		m->reserved = NULL;
		return error_errno(err, "reserve address space");
	}
	at = (uint8_t *)(((uintptr_t)m->reserved + 2 * HUGE - 1) & ~(uintptr_t)(HUGE - 1));
	/* With MAP_NORESERVE huge pages would be promised and then missed at a page fault. */
	if (m->page_size != HUGE)
		flags |= MAP_NORESERVE;
	if (mmap(at, m->size, PROT_READ | PROT_WRITE, flags, m->fd, 0) == MAP_FAILED) {
		if (errno == ENOMEM && m->page_size == HUGE)
			return error_set(err, ENOMEM, "not enough free 2 MiB pages (%llu needed)",
					 (unsigned long long)(m->size / HUGE));
		return error_errno(err, "map it");
	}
	/* The guest's secrets are no part of the monitor's core dump. */
	madvise(at, m->size, MADV_DONTDUMP);
	*ret = at;
	return 0;
}

static void add_region(struct mem *m, uint64_t base, uint64_t size, uint64_t offset, uint8_t *at)
{
	m->regions[m->regions_n++] = (struct mem_region){GPA(base), size, offset, at + offset};
}

static int init(struct mem *m, bool hugepages, struct error *err)
{
	uint64_t low = m->size < MEM_HOLE_START ? m->size : MEM_HOLE_START;
	uint8_t *at = NULL;

	if (!m->size || m->size % m->page_size || m->size > MEM_SIZE_MAX)
		return error_set(err, EINVAL, "the size is no multiple of %llu bytes up to %llu",
				 (unsigned long long)m->page_size,
				 (unsigned long long)MEM_SIZE_MAX);
	m->fd = backing_open(m->size, hugepages, err);
	if (m->fd < 0 || map_backing(m, &at, err) < 0)
		return -err->code;
	add_region(m, 0, low, 0, at);
	if (m->size > low)
		add_region(m, MEM_HOLE_END, m->size - low, low, at);
	return 0;
}

int mem_init(struct mem *m, uint64_t size, bool hugepages, struct error *err)
{
	*m = (struct mem){.fd = -1, .size = size, .page_size = hugepages ? HUGE : 4096};
	if (init(m, hugepages, err) < 0) {
		mem_done(m);
		return error_wrap(err, "guest memory of %llu bytes", (unsigned long long)size);
	}
	return 0;
}

void mem_done(struct mem *m)
{
	if (m->reserved)
		munmap(m->reserved, m->reserved_size);
	cleanup_close(&m->fd);
	*m = (struct mem){.fd = -1};
}

static const struct mem_region *region_of(const struct mem *m, gpa_t gpa, uint64_t size)
{
	if (!size)
		return NULL;
	for (unsigned int i = 0; i < m->regions_n; i++) {
		const struct mem_region *r = &m->regions[i];
		uint64_t offset = gpa.v - r->base.v; /* huge when gpa is below */

		if (size <= r->size && offset <= r->size - size)
			return r;
	}
	return NULL;
}

void *mem_at(const struct mem *m, gpa_t gpa, uint64_t size)
{
	const struct mem_region *r = region_of(m, gpa, size);

	return r ? r->at + (gpa.v - r->base.v) : NULL;
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
