// SPDX-License-Identifier: Apache-2.0
#include "vmm/vfio/lend.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "vmm/mem/blocks.h"
#include "vmm/vfio/space.h"

static const struct {
	const char *name;
	const struct vfio_ops *ops;
} kinds[VFIO_KINDS] = {
	[VFIO_AUTO] = {"auto", NULL},
	[VFIO_TYPE1] = {"type1", &vfio_type1},
	[VFIO_IOMMUFD] = {"iommufd", &vfio_iommufd},
};

const char *vfio_kind_name(enum vfio_kind kind)
{
	return kind < VFIO_KINDS ? kinds[kind].name : "";
}

int vfio_kind_parse(const char *name, enum vfio_kind *ret)
{
	for (unsigned int i = 0; i < VFIO_KINDS; i++)
		if (strcmp(name, kinds[i].name) == 0) {
			*ret = (enum vfio_kind)i;
			return 0;
		}
	return -EINVAL;
}

/*
 * iommufd first: it is where the kernel goes, and type1 is what it keeps for programs that know
 * nothing else.  What it would cost in safety is paid for in vmm/vfio/iommufd.c.
 */
static enum vfio_kind choose(const char *address)
{
	struct error ignored;

	return vfio_iommufd.probe(address, &ignored) == 0 ? VFIO_IOMMUFD : VFIO_TYPE1;
}

int vfio_kind_of_host(enum vfio_kind *ret, struct error *err)
{
	*ret = choose(NULL);
	return kinds[*ret].ops->probe(NULL, err);
}

static bool address_valid(const char *a)
{
	static const char form[] = "xxxx:xx:xx.f";

	for (size_t i = 0; i < sizeof(form); i++) {
		const char *digits = form[i] == 'x' ? "0123456789abcdef" : "01234567";

		if (form[i] == 'x' || form[i] == 'f' ? !a[i] || !strchr(digits, a[i])
						     : a[i] != form[i])
			return false;
	}
	return true;
}

void vfio_link_name(const char *address, const char *link, char *ret, size_t size)
{
	char path[128], target[512];
	ssize_t n;
	const char *last;

	*ret = 0;
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", address, link);
	n = readlink(path, target, sizeof(target) - 1);
	if (n <= 0)
		return;
	target[n] = 0;
	last = strrchr(target, '/');
	snprintf(ret, size, "%s", last ? last + 1 : target);
}

/* Bound to vfio-pci, and behind an IOMMU. */
static int check_bound(const char *address, struct error *err)
{
	char group[32], driver[64];

	vfio_link_name(address, "iommu_group", group, sizeof(group));
	vfio_link_name(address, "driver", driver, sizeof(driver));
	if (!*group)
		return error_set(err, ENODEV,
				 "there is no such function, or no IOMMU translates for it");
	if (strcmp(driver, "vfio-pci") != 0)
		return error_set(err, ENODEV, "it is bound to %s%s%s, not to vfio-pci",
				 *driver ? "'" : "", *driver ? driver : "nothing",
				 *driver ? "'" : "");
	return 0;
}

static int open_as(struct vfio_lent *v, enum vfio_kind kind, struct error *err)
{
	if (check_bound(v->address, err) < 0)
		return -err->code;
	v->space.kind = kind == VFIO_AUTO ? choose(v->address) : kind;
	if (kinds[v->space.kind].ops->probe(v->address, err) < 0)
		return -err->code;
	return kinds[v->space.kind].ops->open(v, err);
}

int vfio_open(struct vfio_lent *v, const char *address, enum vfio_kind kind, struct error *err)
{
	*v = VFIO_LENT_NONE;
	if (!address_valid(address))
		return error_set(err, EINVAL,
				 "'%s' is not the address of a function, as in 0000:3b:00.1",
				 address);
	snprintf(v->address, sizeof(v->address), "%s", address);
	if (open_as(v, kind, err) < 0) {
		vfio_close(v);
		return error_wrap(err, "function %s", address);
	}
	return 0;
}

int vfio_is_open(const char *address)
{
	int rc = vfio_type1.is_open(address);

	return rc == -ENOENT ? vfio_iommufd.is_open(address) : rc;
}

void vfio_close(struct vfio_lent *v)
{
	cleanup_close(&v->device_fd);
	cleanup_close(&v->group_fd);
	cleanup_close(&v->space.fd);
	*v = VFIO_LENT_NONE;
}

int vfio_dup_space(const struct vfio_lent *v, struct vfio_lent *ret, struct error *err)
{
	*ret = *v;
	ret->group_fd = ret->device_fd = -1;
	ret->space.fd = fcntl(v->space.fd, F_DUPFD_CLOEXEC, 0);
	return ret->space.fd < 0 ? error_errno(err, "duplicate a descriptor") : 0;
}

int vfio_map_extent(const struct vfio_lent *v, int memfd, const struct mem_extent *e,
		    struct error *err)
{
	const unsigned long long at = e->base.v, size = e->size;
	int rc = kinds[v->space.kind].ops->map(&v->space, memfd, e->offset, size, at);

	if (rc == -ERANGE)
		return error_set(err, ERANGE,
				 "function %s: its IOMMU does not translate all of the %llu bytes "
				 "at 0x%llx",
				 v->address, size, at);
	errno = -rc;
	return rc < 0 ? error_errno(err, "function %s: map %llu bytes at 0x%llx for DMA",
				    v->address, size, at)
		      : 0;
}

int vfio_map(const struct vfio_lent *v, int memfd, uint64_t size, struct error *err)
{
	struct mem_extent e[MEM_EXTENTS_MAX];
	const unsigned int n = mem_layout(size, e);

	if (n == 0)
		return error_set(err, EINVAL, "function %s: %llu bytes are no size of a guest",
				 v->address, (unsigned long long)size);
	for (unsigned int i = 0; i < n; i++)
		if (vfio_map_extent(v, memfd, &e[i], err) < 0) {
			while (i-- > 0)
				kinds[v->space.kind].ops->unmap(&v->space, e[i].base.v, e[i].size);
			return -err->code;
		}
	return 0;
}

/* As many blocks as follow each other both in the memfd and in the host are one piece. */
static int map_blocks(const struct vfio_lent *v, int memfd, const uint64_t *blocks, size_t n,
		      struct error *err)
{
	for (size_t i = 0, next; i < n; i = next) {
		struct mem_extent e = {.base = GPA(blocks[i]), .offset = i * MEM_BLOCK};

		next = i + 1;
		while (next < n && blocks[next] == blocks[next - 1] + MEM_BLOCK)
			next++;
		e.size = (next - i) * MEM_BLOCK;
		if (vfio_map_extent(v, memfd, &e, err) < 0)
			return -err->code;
	}
	return 0;
}

static int find_blocks(const struct vfio_lent *v, uint8_t *mapped, uint64_t size, uint64_t *ret,
		       struct error *err)
{
	return mem_blocks_find(mapped, size, ret, err) < 0
		       ? error_wrap(err, "function %s", v->address)
		       : 0;
}

/* Being mapped they are pinned; so if they are still where they were, that is what was mapped. */
static int map_in_place(const struct vfio_lent *v, int memfd, uint8_t *mapped, uint64_t size,
			struct error *err)
{
	const size_t n = size / MEM_BLOCK;
	_cleanup_free_ uint64_t *before = calloc(n, sizeof(*before));
	_cleanup_free_ uint64_t *after = calloc(n, sizeof(*after));

	if (!before || !after)
		return error_set(err, ENOMEM, "out of memory");
	if (find_blocks(v, mapped, size, before, err) < 0 ||
	    map_blocks(v, memfd, before, n, err) < 0 ||
	    find_blocks(v, mapped, size, after, err) < 0)
		return -err->code;
	return memcmp(before, after, n * sizeof(*before)) == 0
		       ? 0
		       : error_set(err, EAGAIN, "function %s: the kernel moves its memory",
				   v->address);
}

int vfio_map_in_place(const struct vfio_lent *v, int memfd, uint64_t size, struct error *err)
{
	struct error ignored;
	uint8_t *mapped;
	int rc;

	if (!size || size % MEM_BLOCK)
		return error_set(err, EINVAL, "function %s: %llu bytes are no size of huge pages",
				 v->address, (unsigned long long)size);
	mapped = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, memfd, 0);
	if (mapped == MAP_FAILED)
		return error_errno(err, "function %s: map its memory", v->address);
	rc = map_in_place(v, memfd, mapped, size, err);
	if (rc < 0)
		vfio_unmap(v, &ignored);
	munmap(mapped, size);
	return rc;
}

int vfio_unmap(const struct vfio_lent *v, struct error *err)
{
	int rc = kinds[v->space.kind].ops->unmap_all(&v->space);

	errno = -rc;
	return rc < 0 ? error_errno(err, "function %s: unmap its memory", v->address) : 0;
}
