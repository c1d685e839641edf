// SPDX-License-Identifier: Apache-2.0
/*
 * Not an engine yet: it says how far this host is, and that the rest is missing.  It is in the
 * table so that `caisson doctor` and `--engine cki` have one true sentence.
 */
#include "vmm/engine/cki.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>

#include "kmod/uapi/caisson.h"
#include "lib/cleanup.h"
#include "vmm/engine/engine.h"

#define DEVICE "/dev/caisson"

static int no_guest_kernel(struct error *err)
{
	return error_set(err, EOPNOTSUPP,
			 DEVICE " is there, but the guest kernel of this build does not run in "
				"ring 1 yet");
}

static int cki_probe(struct error *err)
{
	_cleanup_close_ int fd = open(DEVICE, O_RDWR | O_CLOEXEC);
	int version;

	if (fd < 0 && errno == ENOENT)
		return error_set(err, ENODEV,
				 DEVICE
				 " is missing: the module caisson is not loaded (its reason, "
				 "if it refused, is in the kernel's log)");
	if (fd < 0)
		return error_errno(err, "open '%s'", DEVICE);
	version = ioctl(fd, CAISSON_GET_VERSION);
	if (version != CAISSON_API)
		return error_set(
			err, EPROTO,
			"the module caisson speaks version %d of its interface, this build %d",
			version, CAISSON_API);
	return no_guest_kernel(err);
}

static int cki_start(const struct machine *m, struct guest **ret, struct error *err)
{
	(void)m, (void)ret;
	return no_guest_kernel(err);
}

const struct engine_ops engine_cki = {
	.name = "cki",
	.summary = "guest kernels in ring 1, without hardware virtualization",
	.probe = cki_probe,
	.start = cki_start,
};
