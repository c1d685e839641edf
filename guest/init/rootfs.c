// SPDX-License-Identifier: Apache-2.0
#include "guest/init/rootfs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "guest/init/loop.h"
#include "guest/init/path.h"
#include "guest/init/sandbox.h"
#include "guest/init/uevent.h"
#include "lib/cleanup.h"

/* A disk may be plugged while the container is being made. */
#define DISK_TIMEOUT_MS 5000
/* A virtio disk's serial number is cut to this by the device. */
#define SERIAL_SIZE 20
/* vda to vdz: more disks than a machine can have */
#define DISKS_MAX 26

/* The disk's device under /dev, or -ENOENT. */
static int disk_find(const char *serial, char *ret, size_t size)
{
	char path[] = "/sys/block/vda/serial", got[64];

	for (char i = 0; i < DISKS_MAX; i++) {
		path[strlen("/sys/block/vd")] = (char)('a' + i);
		if (path_read(AT_FDCWD, path, got, sizeof(got)) < 0)
			continue; /* maybe unplugged */
		if (strncmp(got, serial, SERIAL_SIZE) == 0) {
			snprintf(ret, size, "/dev/vd%c", 'a' + i);
			return 0;
		}
	}
	return -ENOENT;
}

static int disk_wait(const char *serial, char *ret, size_t size, struct error *err)
{
	const uint64_t until = loop_now_ms() + DISK_TIMEOUT_MS;
	_cleanup_close_ int events = -1;

	if (disk_find(serial, ret, size) == 0)
		return 0;
	events = uevent_open();
	while (disk_find(serial, ret, size) < 0)
		if (events < 0 || uevent_wait(events, until) < 0)
			return error_set(err, ENOENT, "disk '%s': not there", serial);
	return 0;
}

static int mount_disk(const char *serial, const char *on, const char *type, unsigned long flags,
		      struct error *err)
{
	char device[300];

	if (disk_wait(serial, device, sizeof(device), err) < 0)
		return -err->code;
	if (mount(device, on, type, flags, NULL) < 0)
		return error_errno(err, "mount %s of disk '%s'", type, serial);
	return 0;
}

static int mount_upper(const struct spec_rootfs *r, struct error *err)
{
	char options[64] = "mode=0700";

	if (r->scratch_serial)
		return mount_disk(r->scratch_serial, AGENT_UPPER, "ext4", 0, err);
	if (r->upper_size)
		snprintf(options, sizeof(options), "mode=0700,size=%llu",
			 (unsigned long long)r->upper_size);
	if (mount("upper", AGENT_UPPER, "tmpfs", 0, options) < 0)
		return error_errno(err, "mount upper layer '%s'", options);
	return 0;
}

/* The overlay's root directory takes its owner and mode from the upper layer's. */
static int make_upper_dirs(struct error *err)
{
	struct stat st;

	if (stat(AGENT_LOWER, &st) < 0)
		return error_errno(err, "stat the image's root");
	if ((mkdir(AGENT_UPPER "/upper", 0755) < 0 && errno != EEXIST) ||
	    (mkdir(AGENT_UPPER "/work", 0700) < 0 && errno != EEXIST) ||
	    chown(AGENT_UPPER "/upper", st.st_uid, st.st_gid) < 0 ||
	    chmod(AGENT_UPPER "/upper", st.st_mode & 07777) < 0)
		return error_errno(err, "make the upper layer");
	return 0;
}

/* The image is a disk, or a file that the host shares. */
static int mount_lower(const struct spec_rootfs *r, struct error *err)
{
	char path[64];

	if (r->lower_serial)
		return mount_disk(r->lower_serial, AGENT_LOWER, "erofs", MS_RDONLY, err);
	snprintf(path, sizeof(path), AGENT_SHARES "/%d", r->lower_share);
	if (mount(path, AGENT_LOWER, "erofs", MS_RDONLY, NULL) < 0)
		return error_errno(err, "mount the image that is share %d", r->lower_share);
	return 0;
}

int rootfs_mount(const struct spec_rootfs *r, struct error *err)
{
	/* What is on the scratch disk dies with the container: no sync has to reach it. */
	const char *options = r->scratch_serial ? "lowerdir=" AGENT_LOWER ",upperdir=" AGENT_UPPER
						  "/upper,workdir=" AGENT_UPPER "/work,volatile"
						: "lowerdir=" AGENT_LOWER ",upperdir=" AGENT_UPPER
						  "/upper,workdir=" AGENT_UPPER "/work";
	int fd;

	if (mount_lower(r, err) < 0 || mount_upper(r, err) < 0 || make_upper_dirs(err) < 0)
		return -err->code;
	if (mount("overlay", AGENT_ROOT, "overlay", 0, options) < 0)
		return error_errno(err, "mount overlay");
	fd = open(AGENT_ROOT, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? error_errno(err, "open the container's root") : fd;
}

int rootfs_enter(int root, const struct spec_rootfs *r, struct error *err)
{
	if (r->readonly &&
	    mount(NULL, AGENT_ROOT, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) < 0)
		return error_errno(err, "make the root read-only");
	/* Both roots on one directory: no place for the old one is needed in the image. */
	if (fchdir(root) < 0 || syscall(SYS_pivot_root, ".", ".") < 0)
		return error_errno(err, "pivot_root");
	if (umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return error_errno(err, "unmount the agent's root");
	if (r->propagation && mount(NULL, "/", NULL, r->propagation, NULL) < 0)
		return error_errno(err, "set propagation 0x%llx of the root",
				   (unsigned long long)r->propagation);
	return 0;
}
