// SPDX-License-Identifier: Apache-2.0
/*
 * A DMA address space of iommufd's, in a context of its own, and the function's own node
 * (drivers/iommu/iommufd/, drivers/vfio/device_cdev.c).
 *
 * Who has the device's descriptor can detach the function from the space and attach it again, which
 * nothing can with type1.  The kernel then lets go of the memory, and pins anew what is in the same
 * place of the process that mapped it.  So each piece is mapped by a process that has nothing else
 * there and ends at once: afterwards there is no such place, attaching again fails, and the
 * function reaches what was mapped or nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <dirent.h>
#include <limits.h>
#include <linux/vfio.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fds.h"
#include "vmm/vfio/space.h"

#define CONTEXT "/dev/iommu"
#define RANGES_MAX 64u

/* From linux/vfio.h of 6.6 and linux/iommufd.h of 6.2: the headers here may be older. */
#define BIND _IO(VFIO_TYPE, VFIO_BASE + 18)
#define ATTACH _IO(VFIO_TYPE, VFIO_BASE + 19)
#define IOAS_ALLOC _IO(VFIO_TYPE, 0x81)
#define IOAS_IOVA_RANGES _IO(VFIO_TYPE, 0x84)
#define IOAS_MAP _IO(VFIO_TYPE, 0x85)
#define IOAS_UNMAP _IO(VFIO_TYPE, 0x86)
#define MAP_FIXED_IOVA 1u
#define MAP_WRITEABLE 2u
#define MAP_READABLE 4u

struct bind {
	uint32_t argsz, flags;
	int32_t iommufd;
	uint32_t out_devid;
};

struct attach {
	uint32_t argsz, flags, pt_id;
};

struct ioas_alloc {
	uint32_t size, flags, out_ioas_id;
};

struct ioas_map {
	uint32_t size, flags, ioas_id, reserved;
	uint64_t user_va, length, iova;
};

struct ioas_unmap {
	uint32_t size, ioas_id;
	uint64_t iova, length;
};

struct iova_range {
	uint64_t start, last;
};

struct ioas_iova_ranges {
	uint32_t size, ioas_id, num_iovas, reserved;
	uint64_t allowed_iovas, out_iova_alignment;
};

/* Whether VFIO makes nodes for functions (CONFIG_VFIO_DEVICE_CDEV): it has numbers for them. */
static bool has_nodes(void)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/devices", "re");
	unsigned int major;
	char line[128], name[64];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%u %63s", &major, name) == 2 && strcmp(name, "vfio-dev") == 0)
			return true;
	return false;
}

/* /dev/vfio/devices/vfioN; -ENODEV: the function has none. */
static int find_node(const char *address, char ret[static PATH_MAX])
{
	_cleanup_closedir_ DIR *d = NULL;
	char path[128];
	struct dirent *e;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/vfio-dev", address);
	d = opendir(path);
	while (d && (e = readdir(d)))
		if (strncmp(e->d_name, "vfio", 4) == 0) {
			snprintf(ret, PATH_MAX, "/dev/vfio/devices/%s", e->d_name);
			return access(ret, F_OK) == 0 ? 0 : -ENODEV;
		}
	return -ENODEV;
}

static int probe(const char *address, struct error *err)
{
	char node[PATH_MAX];

	if (access(CONTEXT, F_OK) < 0)
		return error_set(err, ENODEV, "the kernel has no '" CONTEXT "' (CONFIG_IOMMUFD)");
	if (address ? find_node(address, node) < 0 : !has_nodes())
		return error_set(err, ENODEV,
				 "the kernel's VFIO has no nodes for functions below "
				 "/dev/vfio/devices (CONFIG_VFIO_DEVICE_CDEV)");
	return 0;
}

static int bind_device(struct vfio_lent *v, const char *node, struct error *err)
{
	struct bind b = {.argsz = sizeof(b), .iommufd = v->space.fd};

	if (ioctl(v->device_fd, BIND, &b) == 0)
		return 0;
	/* vfio_df_open(): a node can be bound once.  vfio_device_block_group(), and
	 * iommu_device_claim_dma_owner(): so can its group. */
	if (errno == EINVAL)
		return error_set(err, EBUSY, "somebody else has '%s' open", node);
	if (errno == EBUSY)
		return error_set(err, EBUSY,
				 "its IOMMU group is open, or holds other devices that are in use "
				 "by the host");
	return error_errno(err, "bind '%s' to '" CONTEXT "'", node);
}

static int is_open(const char *address)
{
	struct vfio_lent v = VFIO_LENT_NONE;
	struct error ignored;
	char node[PATH_MAX];
	int rc;

	if (find_node(address, node) < 0)
		return -ENODEV;
	v.space.fd = open(CONTEXT, O_RDWR | O_CLOEXEC);
	v.device_fd = open(node, O_RDWR | O_CLOEXEC);
	rc = v.space.fd < 0 || v.device_fd < 0 ? -errno : bind_device(&v, node, &ignored);
	vfio_close(&v);
	return rc == -EBUSY ? 1 : rc;
}

static int open_all(struct vfio_lent *v, struct error *err)
{
	struct ioas_alloc alloc = {.size = sizeof(alloc)};
	struct attach attach = {.argsz = sizeof(attach)};
	char node[PATH_MAX];

	if (find_node(v->address, node) < 0)
		return error_set(err, ENODEV, "it has no node below /dev/vfio/devices");
	v->space.fd = open(CONTEXT, O_RDWR | O_CLOEXEC);
	if (v->space.fd < 0)
		return error_errno(err, "open '" CONTEXT "'");
	v->device_fd = open(node, O_RDWR | O_CLOEXEC);
	if (v->device_fd < 0)
		return error_errno(err, "open '%s'", node);
	if (bind_device(v, node, err) < 0)
		return -err->code;
	if (ioctl(v->space.fd, IOAS_ALLOC, &alloc) < 0)
		return error_errno(err, "make an I/O address space");
	v->space.ioas = attach.pt_id = alloc.out_ioas_id;
	if (ioctl(v->device_fd, ATTACH, &attach) < 0)
		return error_errno(err, "put it into its I/O address space");
	return 0;
}

/* Only what is safe after fork(2) in a process with threads.  An errno value. */
static int map_as_child(const struct vfio_space *s, int memfd, uint64_t offset, struct ioas_map *m)
{
	int keep[] = {memfd, s->fd};
	void *at;

	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return errno;
	/* Other functions' descriptors, above all: they would look like ones that were kept. */
	fds_close_but(0, keep, ARRAY_SIZE(keep));
	at = mmap(NULL, m->length, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, (off_t)offset);
	if (at == MAP_FAILED)
		return errno;
	m->user_va = (uintptr_t)at;
	return ioctl(s->fd, IOAS_MAP, m) < 0 ? errno : 0;
}

static bool translates(const struct vfio_space *s, uint64_t iova, uint64_t size)
{
	struct iova_range ranges[RANGES_MAX] = {0};
	struct ioas_iova_ranges r = {.size = sizeof(r),
				     .ioas_id = s->ioas,
				     .num_iovas = RANGES_MAX,
				     .allowed_iovas = (uintptr_t)ranges};

	if (ioctl(s->fd, IOAS_IOVA_RANGES, &r) < 0)
		return true; /* not known */
	for (uint32_t i = 0; i < r.num_iovas && i < RANGES_MAX; i++)
		if (iova >= ranges[i].start && iova + size - 1 <= ranges[i].last)
			return true;
	return false;
}

static int unmap(const struct vfio_space *s, uint64_t iova, uint64_t size)
{
	struct ioas_unmap u = {.size = sizeof(u), .ioas_id = s->ioas, .iova = iova, .length = size};

	return ioctl(s->fd, IOAS_UNMAP, &u) < 0 ? -errno : 0;
}

static int map(const struct vfio_space *s, int memfd, uint64_t offset, uint64_t size, uint64_t iova)
{
	struct ioas_map m = {.size = sizeof(m),
			     .flags = MAP_FIXED_IOVA | MAP_READABLE | MAP_WRITEABLE,
			     .ioas_id = s->ioas,
			     .length = size,
			     .iova = iova};
	pid_t pid, ended;
	int status;

	if (!translates(s, iova, size))
		return -ERANGE;
	pid = fork();
	if (pid == 0)
		_exit(map_as_child(s, memfd, offset, &m));
	if (pid < 0)
		return -errno;
	do
		ended = waitpid(pid, &status, 0);
	while (ended < 0 && errno == EINTR);
	if (ended == pid && WIFEXITED(status))
		return -WEXITSTATUS(status);
	/* Killed, and not known when. */
	unmap(s, iova, size);
	return -ECANCELED;
}

static int unmap_all(const struct vfio_space *s)
{
	return unmap(s, 0, UINT64_MAX);
}

const struct vfio_ops vfio_iommufd = {
	.probe = probe,
	.is_open = is_open,
	.open = open_all,
	.map = map,
	.unmap = unmap,
	.unmap_all = unmap_all,
};
