// SPDX-License-Identifier: Apache-2.0
#include "vmm/vfio/lend.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/cleanup.h"

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

/* The last part of where a link of the device in sysfs points to; "" if there is no such link. */
static void link_name(const char *address, const char *link, char *ret, size_t size)
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

static int open_group(struct vfio_lent *v, struct error *err)
{
	struct vfio_group_status status = {.argsz = sizeof(status)};
	char group[32], driver[64], path[64];

	link_name(v->address, "iommu_group", group, sizeof(group));
	link_name(v->address, "driver", driver, sizeof(driver));
	if (!*group)
		return error_set(err, ENODEV,
				 "there is no such function, or no IOMMU translates for it");
	if (strcmp(driver, "vfio-pci") != 0)
		return error_set(err, ENODEV, "it is bound to %s%s%s, not to vfio-pci",
				 *driver ? "'" : "", *driver ? driver : "nothing",
				 *driver ? "'" : "");
	snprintf(path, sizeof(path), "/dev/vfio/%s", group);
	v->group_fd = open(path, O_RDWR | O_CLOEXEC);
	if (v->group_fd < 0 && errno == EBUSY)
		return error_set(err, EBUSY, "somebody else has '%s' open", path);
	if (v->group_fd < 0)
		return error_errno(err, "open '%s'", path);
	if (ioctl(v->group_fd, VFIO_GROUP_GET_STATUS, &status) < 0)
		return error_errno(err, "'%s'", path);
	if (!(status.flags & VFIO_GROUP_FLAGS_VIABLE))
		return error_set(
			err, EPERM,
			"its IOMMU group %s holds other devices that are in use by the host",
			group);
	return 0;
}

static int open_all(struct vfio_lent *v, struct error *err)
{
	if (open_group(v, err) < 0)
		return -err->code;
	v->container_fd = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	if (v->container_fd < 0)
		return error_errno(err, "open '/dev/vfio/vfio'");
	if (ioctl(v->container_fd, VFIO_GET_API_VERSION) != VFIO_API_VERSION ||
	    ioctl(v->container_fd, VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU) <= 0)
		return error_set(err, ENOTSUP,
				 "the host's VFIO has no type1 IOMMU (module vfio_iommu_type1)");
	if (ioctl(v->group_fd, VFIO_GROUP_SET_CONTAINER, &v->container_fd) < 0)
		return error_errno(err, "put its group into a container");
	if (ioctl(v->container_fd, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) < 0)
		return error_errno(err, "make an IOMMU domain");
	v->device_fd = ioctl(v->group_fd, VFIO_GROUP_GET_DEVICE_FD, v->address);
	if (v->device_fd < 0)
		return error_errno(err, "open it");
	return 0;
}

int vfio_open(struct vfio_lent *v, const char *address, struct error *err)
{
	*v = VFIO_LENT_NONE;
	if (!address_valid(address))
		return error_set(err, EINVAL,
				 "'%s' is not the address of a function, as in 0000:3b:00.1",
				 address);
	snprintf(v->address, sizeof(v->address), "%s", address);
	if (open_all(v, err) < 0) {
		vfio_close(v);
		return error_wrap(err, "function %s", address);
	}
	return 0;
}

void vfio_close(struct vfio_lent *v)
{
	cleanup_close(&v->device_fd);
	cleanup_close(&v->group_fd);
	cleanup_close(&v->container_fd);
	*v = VFIO_LENT_NONE;
}

static int unmap_range(const struct vfio_lent *v, uint64_t at, uint64_t size, uint32_t flags)
{
	struct vfio_iommu_type1_dma_unmap u = {
		.argsz = sizeof(u), .flags = flags, .iova = at, .size = size};

	return ioctl(v->container_fd, VFIO_IOMMU_UNMAP_DMA, &u) < 0 ? -errno : 0;
}

int vfio_map_extent(struct vfio_lent *v, int memfd, const struct mem_extent *e, struct error *err)
{
	struct vfio_iommu_type1_dma_map m = {
		.argsz = sizeof(m),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.iova = e->base.v,
		.size = e->size,
	};
	void *at = mmap(NULL, e->size, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, (off_t)e->offset);
	int rc;

	if (at == MAP_FAILED)
		return error_errno(err, "function %s: map %llu bytes of guest memory", v->address,
				   (unsigned long long)e->size);
	m.vaddr = (uintptr_t)at;
	rc = ioctl(v->container_fd, VFIO_IOMMU_MAP_DMA, &m) < 0
		     ? error_errno(err, "function %s: map %llu bytes at 0x%llx for DMA", v->address,
				   (unsigned long long)e->size, (unsigned long long)e->base.v)
		     : 0;
	/* The pages are pinned: where we had them is of no interest any more. */
	munmap(at, e->size);
	return rc;
}

int vfio_map(struct vfio_lent *v, int memfd, uint64_t size, struct error *err)
{
	struct mem_extent e[MEM_EXTENTS_MAX];
	const unsigned int n = mem_layout(size, e);

	if (n == 0)
		return error_set(err, EINVAL, "function %s: %llu bytes are no size of a guest",
				 v->address, (unsigned long long)size);
	for (unsigned int i = 0; i < n; i++)
		if (vfio_map_extent(v, memfd, &e[i], err) < 0) {
			while (i-- > 0)
				unmap_range(v, e[i].base.v, e[i].size, 0);
			return -err->code;
		}
	return 0;
}

int vfio_unmap(struct vfio_lent *v, struct error *err)
{
	int rc = unmap_range(v, 0, 0, VFIO_DMA_UNMAP_FLAG_ALL);

	/* Kernels before 5.12: everything between the ends, in two steps that do not overflow. */
	if (rc == -EINVAL || rc == -ENOTTY) {
		rc = unmap_range(v, 0, 1ull << 63, 0);
		if (rc == 0)
			rc = unmap_range(v, 1ull << 63, (1ull << 63) - 4096, 0);
	}
	errno = -rc;
	return rc < 0 ? error_errno(err, "function %s: unmap its memory", v->address) : 0;
}

bool vfio_coherent(const struct vfio_lent *v)
{
	return ioctl(v->container_fd, VFIO_CHECK_EXTENSION, VFIO_DMA_CC_IOMMU) > 0;
}
