// SPDX-License-Identifier: Apache-2.0
#include "vmm/mem/backing.h"

#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/cleanup.h"

int mem_backing_make(uint64_t size, bool hugepages, struct error *err)
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
	return steal_fd(&fd);
}

int mem_backing_seal(int fd, struct error *err)
{
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return error_errno(err, "seal a memfd");
	return 0;
}

int mem_backing_open(uint64_t size, bool hugepages, struct error *err)
{
	_cleanup_close_ int fd = mem_backing_make(size, hugepages, err);

	if (fd < 0 || mem_backing_seal(fd, err) < 0)
		return -err->code;
	return steal_fd(&fd);
}
