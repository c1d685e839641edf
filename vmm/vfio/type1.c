// SPDX-License-Identifier: Apache-2.0
/* A DMA address space that is a VFIO container: drivers/vfio/{group,container,vfio_iommu_type1}.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "vmm/vfio/space.h"

#define CONTAINER "/dev/vfio/vfio"

static int probe(const char *address, struct error *err)
{
	(void)address;
	return access(CONTAINER, F_OK) == 0
		       ? 0
		       : error_set(err, ENODEV, "the host has no '" CONTAINER "' (module vfio)");
}

static void group_path(const char *address, char *ret, size_t size)
{
	char group[32];

	vfio_link_name(address, "iommu_group", group, sizeof(group));
	snprintf(ret, size, "/dev/vfio/%s", group);
}

static int is_open(const char *address)
{
	_cleanup_close_ int fd = -1;
	char path[64];

	group_path(address, path, sizeof(path));
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 && errno != EBUSY)
		return -errno;
	return fd < 0;
}

static int open_group(struct vfio_lent *v, struct error *err)
{
	struct vfio_group_status status = {.argsz = sizeof(status)};
	char path[64];

	group_path(v->address, path, sizeof(path));
	v->group_fd = open(path, O_RDWR | O_CLOEXEC);
	if (v->group_fd < 0 && errno == EBUSY)
		return error_set(err, EBUSY, "somebody else has '%s' open", path);
	if (v->group_fd < 0)
		return error_errno(err, "open '%s'", path);
	if (ioctl(v->group_fd, VFIO_GROUP_GET_STATUS, &status) < 0)
		return error_errno(err, "'%s'", path);
	if (!(status.flags & VFIO_GROUP_FLAGS_VIABLE))
		return error_set(err, EPERM,
				 "its IOMMU group '%s' holds other devices that are in use by the "
				 "host",
				 path);
	return 0;
}

static int open_all(struct vfio_lent *v, struct error *err)
{
	if (open_group(v, err) < 0)
		return -err->code;
	v->space.fd = open(CONTAINER, O_RDWR | O_CLOEXEC);
	if (v->space.fd < 0)
		return error_errno(err, "open '" CONTAINER "'");
	if (ioctl(v->space.fd, VFIO_GET_API_VERSION) != VFIO_API_VERSION ||
	    ioctl(v->space.fd, VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU) <= 0)
		return error_set(err, ENOTSUP,
				 "the host's VFIO has no type1 IOMMU (module vfio_iommu_type1)");
	if (ioctl(v->group_fd, VFIO_GROUP_SET_CONTAINER, &v->space.fd) < 0)
		return error_errno(err, "put its group into a container");
	if (ioctl(v->space.fd, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) < 0)
		return error_errno(err, "make an IOMMU domain");
	v->device_fd = ioctl(v->group_fd, VFIO_GROUP_GET_DEVICE_FD, v->address);
	if (v->device_fd < 0)
		return error_errno(err, "open it");
	return 0;
}

static int map(const struct vfio_space *s, int memfd, uint64_t offset, uint64_t size, uint64_t iova)
{
	struct vfio_iommu_type1_dma_map m = {
		.argsz = sizeof(m),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.iova = iova,
		.size = size,
	};
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, (off_t)offset);
	int rc;

	if (at == MAP_FAILED)
		return -errno;
	m.vaddr = (uintptr_t)at;
	rc = ioctl(s->fd, VFIO_IOMMU_MAP_DMA, &m) < 0 ? -errno : 0;
	/* The pages are pinned: where we had them is of no interest any more. */
	munmap(at, size);
	return rc;
}

static int unmap_range(const struct vfio_space *s, uint64_t at, uint64_t size, uint32_t flags)
{
	struct vfio_iommu_type1_dma_unmap u = {
		.argsz = sizeof(u), .flags = flags, .iova = at, .size = size};

	return ioctl(s->fd, VFIO_IOMMU_UNMAP_DMA, &u) < 0 ? -errno : 0;
}

static int unmap(const struct vfio_space *s, uint64_t iova, uint64_t size)
{
	return unmap_range(s, iova, size, 0);
}

static int unmap_all(const struct vfio_space *s)
{
	int rc = unmap_range(s, 0, 0, VFIO_DMA_UNMAP_FLAG_ALL);

	/* Kernels before 5.12: everything between the ends, in two steps that do not overflow. */
	if (rc == -EINVAL || rc == -ENOTTY) {
		rc = unmap_range(s, 0, 1ull << 63, 0);
		if (rc == 0)
			rc = unmap_range(s, 1ull << 63, (1ull << 63) - 4096, 0);
	}
	return rc;
}

const struct vfio_ops vfio_type1 = {
	.probe = probe,
	.is_open = is_open,
	.open = open_all,
	.map = map,
	.unmap = unmap,
	.unmap_all = unmap_all,
};
