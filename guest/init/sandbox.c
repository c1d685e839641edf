// SPDX-License-Identifier: Apache-2.0
#include "guest/init/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "guest/init/cgroup.h"
#include "guest/init/latelink.h"
#include "guest/init/network.h"
#include "guest/init/path.h"
#include "lib/cleanup.h"

/*
 * 9p: cache=mmap keeps file data only while a file is open or mapped, which is what shared
 * writable mappings need; directories and attributes are asked of the host every time.
 */
#define SHARES_9P_OPTIONS "trans=virtio,version=9p2000.L,msize=131072,cache=mmap,directio"
/* Descriptors of the agent itself: pipes of every process. */
#define AGENT_NOFILE 65536

/*
 * The initial root (rootfs) can be neither unmounted nor pivoted away from: put a
 * tmpfs over it and live there, so that containers can pivot_root(2) away from the
 * agent's files for good.  The agent's program is removed from the initial root,
 * where nothing is left for anyone who gets to see it.
 */
static int root_replace(struct error *err)
{
	static const char *const dirs[] = {"dev",   "proc",  "sys",  "cgroup", "shares",
					   "lower", "upper", "root", "scratch"};

	if (mount("agent", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0700,size=64k") < 0 ||
	    chdir("/run") < 0)
		return error_errno(err, "mount the agent's root");
	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++)
		if (mkdir(dirs[i], 0700) < 0)
			return error_errno(err, "create '%s'", dirs[i]);
	unlink("/init");
	if (mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 || chdir("/") < 0)
		return error_errno(err, "change to the agent's root");
	return 0;
}

/* A kernel without a console starts us without standard streams: a file opened next would be
 * taken for one. */
static int streams_fill(struct error *err)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd < 0)
		return error_errno(err, "open '/dev/null'");
	close(fd);
	return 0;
}

int sandbox_boot(struct error *err)
{
	if (root_replace(err) < 0)
		return -err->code;
	if (mount("dev", "/dev", "devtmpfs", MS_NOSUID | MS_NOEXEC, NULL) < 0)
		return error_errno(err, "mount '/dev'");
	if (streams_fill(err) < 0)
		return -err->code;
	if (mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NOEXEC | MS_NODEV, NULL) < 0)
		return error_errno(err, "mount '/sys'");
	return 0;
}

int sandbox_prepare(struct error *err)
{
	struct rlimit nofile = {AGENT_NOFILE, AGENT_NOFILE};

	if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NOEXEC | MS_NODEV, NULL) < 0)
		return error_errno(err, "mount '/proc'");
	path_write(AT_FDCWD, "/proc/self/oom_score_adj", "-1000");
	if (setrlimit(RLIMIT_NOFILE, &nofile) < 0)
		return error_errno(err, "set RLIMIT_NOFILE");
	return cgroup_init(err);
}

static int clock_setup(int64_t realtime_ns, struct error *err)
{
	struct timespec ts = {
		.tv_sec = realtime_ns / 1000000000,
		.tv_nsec = realtime_ns % 1000000000,
	};

	if (realtime_ns <= 0)
		return 0;
	if (clock_settime(CLOCK_REALTIME, &ts) < 0)
		return error_errno(err, "set the clock to %lld ns", (long long)realtime_ns);
	return 0;
}

static int entropy_setup(const uint8_t entropy[32], struct error *err)
{
	static const uint8_t none[32];
	_cleanup_close_ int fd = -1;
	union {
		struct rand_pool_info info;
		uint8_t space[sizeof(struct rand_pool_info) + 32];
	} pool = {.info = {.entropy_count = 256, .buf_size = 32}};
	int rc;

	if (memcmp(entropy, none, sizeof(none)) == 0)
		return 0; /* nothing was given: nothing is credited */
	memcpy(pool.space + offsetof(struct rand_pool_info, buf), entropy, 32);
	fd = open("/dev/urandom", O_WRONLY | O_CLOEXEC);
	rc = fd < 0 ? -1 : ioctl(fd, RNDADDENTROPY, &pool.info);
	explicit_bzero(&pool, sizeof(pool));
	return rc < 0 ? error_errno(err, "add entropy") : 0;
}

/* -1 and errno */
static int shares_mount(enum spec_shares kind)
{
	switch (kind) {
	case SPEC_SHARES_9P:
		return mount(SPEC_SHARES_TAG, AGENT_SHARES, "9p", MS_NODEV, SHARES_9P_OPTIONS);
	case SPEC_SHARES_VIRTIOFS:
		/* What is kept, and for how long, its server says. */
		return mount(SPEC_SHARES_TAG, AGENT_SHARES, "virtiofs", MS_NODEV, NULL);
	default:
		return 0;
	}
}

int sandbox_setup(const struct spec_sandbox *s, struct error *err)
{
	if (clock_setup(s->realtime_ns, err) < 0 || entropy_setup(s->entropy, err) < 0)
		return -err->code;
	if (s->hostname && sethostname(s->hostname, strlen(s->hostname)) < 0)
		return error_errno(err, "set hostname '%s'", s->hostname);
	if (shares_mount(s->shares) < 0)
		return error_errno(err, "mount the shares of the host");
	if (network_loopback_up(err) < 0)
		return -err->code;
	if (s->nics_n && network_setup(s->nics, s->nics_n, err) < 0)
		return -err->code;
	return latelink_watch(s, err);
}

void sandbox_sync(void)
{
	sync();
	umount2(AGENT_SHARES, MNT_DETACH);
}

/*
 * A restart ends the guest: the machine is run so that a reset is its end, and
 * without ACPI there is nothing to power off.
 */
void sandbox_end(void)
{
	for (;;) {
		reboot(RB_AUTOBOOT);
		pause(); /* cannot happen; PID 1 must not return */
	}
}
