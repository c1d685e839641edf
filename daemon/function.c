// SPDX-License-Identifier: Apache-2.0
#include "daemon/function.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/if_link.h>
#include <linux/vfio.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/sysfs.h"
#include "lib/cleanup.h"
#include "lib/fds.h"
#include "lib/timeline.h"
#include "runtime/netlink.h"
#include "runtime/vf.h"
#include "vmm/vfio/device.h"
#include "vmm/vfio/lend.h"

#define DRIVERS "/sys/bus/pci/drivers"
#define LOOK_EVERY_US 10000u
#define BIND_MS 5000u
#define _cleanup_netlink_ _cleanup_(netlink_close)

static int no_function(const struct lease_function *f, struct error *err)
{
	return error_set(err, ENODEV, "function %s is not there", f->address);
}

static int write_file(const char *path, const char *text)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd < 0 || write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

/* --- the proof --- */

static int wait_closed(const struct lease_function *f, uint64_t deadline, struct error *err)
{
	int rc;

	while ((rc = vfio_is_open(f->address)) == 1 && monotonic_ns() < deadline)
		usleep(LOOK_EVERY_US);
	if (rc == 1)
		return error_set(err, EBUSY,
				 "function %s did not come back: a process still has it open, or a "
				 "mapping of it",
				 f->address);
	/* If it cannot be seen, unbinding will say. */
	return 0;
}

/*
 * In a process of its own, which may have to wait in the kernel where nothing can end it, and is
 * then init's.  Of a process with threads only what is safe after fork(2) is called.
 */
static pid_t fork_unbind(const char *path, const char *address, int status_fd)
{
	pid_t pid = fork();
	size_t size = strlen(address);
	int fd, keep[] = {status_fd};
	char failed;

	if (pid != 0)
		return pid;
	if (fork() != 0)
		_exit(0);
	/* While it waits it must not look like who keeps other functions' descriptors. */
	fds_close_but(0, keep, ARRAY_SIZE(keep));
	fd = open(path, O_WRONLY | O_CLOEXEC);
	failed = fd < 0 || write(fd, address, size) < 0 ? (char)errno : 0;
	if (write(status_fd, &failed, 1) < 0)
		_exit(1);
	_exit(0);
}

static int unbind(const struct lease_function *f, const char *driver, uint64_t deadline,
		  struct error *err)
{
	uint64_t now = monotonic_ns();
	char path[PATH_MAX], failed = 0;
	struct pollfd pfd;
	int ends[2], rc;
	pid_t pid;

	snprintf(path, sizeof(path), DRIVERS "/%s/unbind", driver);
	if (pipe2(ends, O_CLOEXEC) < 0)
		return error_errno(err, "pipe");
	pid = fork_unbind(path, f->address, ends[1]);
	close(ends[1]);
	if (pid > 0)
		waitpid(pid, NULL, 0);
	pfd = (struct pollfd){.fd = ends[0], .events = POLLIN};
	rc = pid < 0 ? -1 : poll(&pfd, 1, now < deadline ? (int)((deadline - now) / 1000000) : 0);
	if (rc == 1 && read(ends[0], &failed, 1) != 1)
		failed = EIO;
	close(ends[0]);
	if (rc < 0)
		return error_errno(err, "function %s: unbind it", f->address);
	if (rc == 0)
		return error_set(err, EBUSY,
				 "function %s cannot be unbound from %s in time: a process still "
				 "has it open",
				 f->address, driver);
	/* It may have gone by itself. */
	if (failed && failed != ENODEV && failed != ENOENT)
		return error_set(err, failed, "function %s: unbind it from %s: %s", f->address,
				 driver, strerrordesc_np(failed));
	return 0;
}

static int prove(const struct lease_function *f, uint32_t timeout_ms, struct error *err)
{
	uint64_t deadline = monotonic_ns() + timeout_ms * 1000000ull;
	char driver[LEASE_NAME_MAX + 1];

	if (sysfs_link(f->address, "driver", driver) < 0)
		return 0; /* with no driver, nobody can have got at it */
	if (strcmp(driver, "vfio-pci") == 0 && wait_closed(f, deadline, err) < 0)
		return -err->code;
	/* Time for itself: it is quick when the group was not open. */
	deadline = monotonic_ns() + timeout_ms * 1000000ull;
	if (unbind(f, driver, deadline, err) < 0)
		return -err->code;
	if (sysfs_link(f->address, "driver", driver) == 0)
		return error_set(err, EBUSY, "function %s is still bound to %s", f->address,
				 driver);
	return 0;
}

/* --- what the physical function enforces --- */

static int random_mac(uint8_t ret[6])
{
	if (getrandom(ret, 6, 0) != 6)
		return -EIO;
	/* Locally administered, of one interface. */
	ret[0] = (uint8_t)((ret[0] & ~1) | 2);
	return 0;
}

static int restore(struct lease_function *f, struct error *err)
{
	static const uint8_t none[6];
	_cleanup_netlink_ struct netlink nl = {0};
	struct vf now, want;

	sysfs_pf_of(f);
	if (!*f->pf)
		return 0; /* its settings are somebody else's */
	if (netlink_open(&nl, err) < 0)
		return -err->code;
	if (vf_read(&nl, f->pf, f->vf, &now, err) < 0)
		return error_wrap(err, "function %s", f->address);
	if (memcmp(f->mac, none, sizeof(none)) == 0)
		memcpy(f->mac, now.mac, sizeof(f->mac));
	if (memcmp(f->mac, none, sizeof(none)) == 0 && random_mac(f->mac) < 0)
		return error_errno(err, "choose a MAC");
	/* What the driver tells of is what it can be asked for. */
	want = (struct vf){
		.has = now.has | VF_MAC,
		.vlan_proto = now.vlan_proto,
		.spoofchk = true,
		.link_state = IFLA_VF_LINK_STATE_AUTO,
	};
	memcpy(want.mac, f->mac, sizeof(want.mac));
	if (vf_apply(&nl, f->pf, f->vf, &want, err) < 0)
		return error_wrap(err, "function %s: restore it", f->address);
	return 0;
}

int function_return(struct lease_function *f, uint32_t vfs, uint32_t timeout_ms, struct error *err)
{
	if (!sysfs_exists(f->address) && (!vfs || sysfs_make_vfs(f->address, vfs, err) < 0))
		return vfs ? -err->code : no_function(f, err);
	if (prove(f, timeout_ms, err) < 0)
		return -err->code;
	timeline_mark("slot-unbound");
	return restore(f, err);
}

/* --- opening it --- */

int function_bind(const struct lease_function *f, struct error *err)
{
	uint64_t deadline = monotonic_ns() + BIND_MS * 1000000ull;
	char driver[LEASE_NAME_MAX + 1], path[PATH_MAX];
	int rc;

	if (!sysfs_exists(f->address))
		return no_function(f, err);
	if (sysfs_link(f->address, "driver", driver) == 0 && strcmp(driver, "vfio-pci") == 0)
		return 0;
	if (access(DRIVERS "/vfio-pci", F_OK) < 0)
		return error_set(err, ENODEV,
				 "function %s: the kernel has no vfio-pci: `modprobe vfio-pci`",
				 f->address);
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/driver_override", f->address);
	rc = write_file(path, "vfio-pci");
	if (rc == 0)
		rc = write_file("/sys/bus/pci/drivers_probe", f->address);
	if (rc < 0)
		return error_set(err, -rc, "function %s: bind it to vfio-pci: %s", f->address,
				 strerrordesc_np(-rc));
	while (sysfs_link(f->address, "driver", driver) < 0 && monotonic_ns() < deadline)
		usleep(LOOK_EVERY_US);
	if (sysfs_link(f->address, "driver", driver) < 0 || strcmp(driver, "vfio-pci") != 0)
		return error_set(err, ENODEV, "function %s did not bind to vfio-pci", f->address);
	timeline_mark("slot-bound");
	return 0;
}

int function_open(const struct lease_function *f, enum vfio_kind iommu, struct vfio_lent *ret,
		  struct error *err)
{
	struct vfio_device_info info = {.argsz = sizeof(info)};

	if (function_bind(f, err) < 0 || vfio_open(ret, f->address, iommu, err) < 0)
		return -err->code;
	/* Opening resets it, and the flag says that it did (vfio_pci_core_enable()). */
	if (ioctl(ret->device_fd, VFIO_DEVICE_GET_INFO, &info) < 0 ||
	    !(info.flags & VFIO_DEVICE_FLAGS_RESET)) {
		vfio_close(ret);
		return error_set(err, EOPNOTSUPP,
				 "function %s cannot be reset by itself: it cannot be lent",
				 f->address);
	}
	return 0;
}

int function_watch(const struct parts *p)
{
	_cleanup_close_ int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (fd < 0 || p->function.device_fd < 0 ||
	    vfio_device_set_irqs(p->function.device_fd, VFIO_PCI_REQ_IRQ_INDEX, &fd, 1) < 0)
		return -1;
	return steal_fd(&fd);
}
