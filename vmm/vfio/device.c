// SPDX-License-Identifier: Apache-2.0
#include "vmm/vfio/device.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "lib/cleanup.h"

#define CAPS_SIZE_MAX 4096u /* of a region's description; the kernel writes a few hundred bytes */

union region_info {
	struct vfio_region_info head;
	uint8_t bytes[CAPS_SIZE_MAX];
};

/* The one thing of interest in the chain: areas that can be mapped.  What lies between the first
 * two of them is the hole; a region cut in another way is not mapped. */
static void apply_sparse(struct vfio_region *r,
			 const struct vfio_region_info_cap_sparse_mmap *sparse)
{
	const struct vfio_region_sparse_mmap_area *a = sparse->areas;

	if (sparse->nr_areas == 1 && a[0].offset == 0) {
		r->hole = a[0].size;
		r->hole_size = r->size - a[0].size;
	} else if (sparse->nr_areas == 1) {
		r->hole = 0;
		r->hole_size = a[0].offset;
		r->mappable = a[0].offset + a[0].size == r->size;
	} else if (sparse->nr_areas == 2) {
		r->hole = a[0].size;
		r->hole_size = a[1].offset - a[0].size;
		r->mappable = a[0].offset == 0 && a[1].offset + a[1].size == r->size;
	} else {
		r->mappable = false;
	}
}

static void read_caps(struct vfio_region *r, const union region_info *info)
{
	uint32_t at = info->head.cap_offset;

	for (int i = 0; i < 16 && at; i++) {
		struct vfio_info_cap_header h;

		if (at < sizeof(info->head) || at > sizeof(*info) - sizeof(h))
			return;
		memcpy(&h, info->bytes + at, sizeof(h));
		if (h.id == VFIO_REGION_INFO_CAP_SPARSE_MMAP) {
			const void *sparse = info->bytes + at;

			apply_sparse(r, sparse);
		}
		at = h.next;
	}
}

int vfio_device_region(int fd, uint32_t index, struct vfio_region *ret, struct error *err)
{
	union region_info info = {.head = {.argsz = sizeof(info), .index = index}};

	*ret = (struct vfio_region){.size = 0};
	if (ioctl(fd, VFIO_DEVICE_GET_REGION_INFO, &info) < 0) {
		if (errno == EINVAL)
			return 0;
		return error_errno(err, "ask for region %u", index);
	}
	*ret = (struct vfio_region){
		.size = info.head.size,
		.offset = info.head.offset,
		.readable = info.head.flags & VFIO_REGION_INFO_FLAG_READ,
		.writable = info.head.flags & VFIO_REGION_INFO_FLAG_WRITE,
		.mappable = info.head.flags & VFIO_REGION_INFO_FLAG_MMAP,
	};
	if (info.head.flags & VFIO_REGION_INFO_FLAG_CAPS && info.head.argsz <= sizeof(info))
		read_caps(ret, &info);
	return 0;
}

uint32_t vfio_device_irqs(int fd, uint32_t index)
{
	struct vfio_irq_info info = {.argsz = sizeof(info), .index = index};

	return ioctl(fd, VFIO_DEVICE_GET_IRQ_INFO, &info) < 0 ? 0 : info.count;
}

int vfio_device_set_irqs(int fd, uint32_t index, const int *eventfds, uint32_t n)
{
	union {
		struct vfio_irq_set head;
		uint8_t bytes[sizeof(struct vfio_irq_set) + VFIO_VECTORS_MAX * sizeof(int32_t)];
	} set = {.head = {.argsz = (uint32_t)(sizeof(set.head) + n * sizeof(int32_t)),
			  .flags = VFIO_IRQ_SET_ACTION_TRIGGER |
				   (n ? VFIO_IRQ_SET_DATA_EVENTFD : VFIO_IRQ_SET_DATA_NONE),
			  .index = index,
			  .count = n}};

	if (n > VFIO_VECTORS_MAX)
		return -E2BIG;
	if (n)
		memcpy(set.bytes + sizeof(set.head), eventfds, n * sizeof(*eventfds));
	return ioctl(fd, VFIO_DEVICE_SET_IRQS, &set) < 0 ? -errno : 0;
}

int vfio_device_read(int fd, uint64_t at, void *buf, size_t size)
{
	ssize_t n = pread(fd, buf, size, (off_t)at);

	return n < 0 ? -errno : (size_t)n == size ? 0 : -EIO;
}

int vfio_device_write(int fd, uint64_t at, const void *buf, size_t size)
{
	ssize_t n = pwrite(fd, buf, size, (off_t)at);

	return n < 0 ? -errno : (size_t)n == size ? 0 : -EIO;
}

int vfio_device_reset(int fd, struct error *err)
{
	static const uint32_t kinds[] = {VFIO_PCI_INTX_IRQ_INDEX, VFIO_PCI_MSI_IRQ_INDEX,
					 VFIO_PCI_MSIX_IRQ_INDEX, VFIO_PCI_ERR_IRQ_INDEX,
					 VFIO_PCI_REQ_IRQ_INDEX};
	struct vfio_region config;
	uint16_t command = 0;

	if (vfio_device_region(fd, VFIO_PCI_CONFIG_REGION_INDEX, &config, err) < 0)
		return -err->code;
	if (vfio_device_write(fd, config.offset + PCI_COMMAND, &command, sizeof(command)) < 0)
		return error_set(err, EIO, "it does not take a write to its command register");
	/* Kinds that are off already, or that it does not have, are refused. */
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		vfio_device_set_irqs(fd, kinds[i], NULL, 0);
	if (ioctl(fd, VFIO_DEVICE_RESET) < 0)
		return error_errno(err, "reset it");
	return 0;
}
