// SPDX-License-Identifier: Apache-2.0
#include "guest/init/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest/init/path.h"
#include "guest/init/sandbox.h"
#include "lib/cleanup.h"

/* A container can nest groups; nobody needs more levels than this. */
#define CGROUP_DEPTH_MAX 32
#define CGROUP_DESCENDANTS_MAX 1024
/* PID_MAX_LIMIT of 64-bit kernels. */
#define PIDS_LIMIT (4 << 20)

/* Each controller costs every group something, and the start of a container time: those that few
 * ask for are turned on when a limit needs them. */
static const char *const usual[] = {"cpu", "memory", "pids"};
static const char *const rare[] = {"cpuset", "io", "hugetlb"};

static int turn_on(const char *controller)
{
	char text[32];

	snprintf(text, sizeof(text), "+%s", controller);
	return path_write(AT_FDCWD, AGENT_CGROUP "/cgroup.subtree_control", text);
}

int cgroup_init(struct error *err)
{
	bool any = false;

	if (mount("cgroup2", AGENT_CGROUP, "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC,
		  "nsdelegate,memory_recursiveprot") < 0)
		return error_errno(err, "mount 'cgroup2'");
	if (path_write(AT_FDCWD, AGENT_CGROUP "/cgroup.subtree_control", "+cpu +memory +pids") == 0)
		return 0;
	/* One that the kernel lacks fails them all: take them one by one. */
	for (size_t i = 0; i < ARRAY_SIZE(usual); i++)
		any |= turn_on(usual[i]) == 0;
	return any ? 0 : error_set(err, ENOTSUP, "no cgroup controller can be turned on");
}

/* For a file such as "cpuset.cpus".  Whether that worked shows when the file is written. */
static void turn_on_for(const char *file)
{
	size_t n = strcspn(file, ".");

	for (size_t i = 0; i < ARRAY_SIZE(rare); i++)
		if (strlen(rare[i]) == n && strncmp(rare[i], file, n) == 0)
			turn_on(rare[i]);
}

static int open_dir(int at, const char *path)
{
	int fd = openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	return fd < 0 ? -errno : fd;
}

static int put(int dir, const char *file, const char *value, struct error *err)
{
	int rc = path_write(dir, file, value);

	if (rc < 0) {
		errno = -rc;
		return error_errno(err, "write '%.256s' to cgroup file '%s'", value, file);
	}
	return 0;
}

/* A limit in its own unit, or one of SPEC_LIMIT_*. */
static int put_number(int dir, const char *file, int64_t x, struct error *err)
{
	char text[24];

	if (x == SPEC_LIMIT_NONE)
		return put(dir, file, "max", err);
	if (x < 0)
		return 0;
	snprintf(text, sizeof(text), "%lld", (long long)x);
	return put(dir, file, text, err);
}

int cgroup_create(const char *id, struct error *err)
{
	struct error ignored;
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), AGENT_CGROUP "/%s", id);
	if (mkdir(path, 0755) < 0)
		return error_errno(err, "create cgroup '%s'", id);
	fd = open_dir(AT_FDCWD, path);
	if (fd < 0) {
		errno = -fd;
		return error_errno(err, "open cgroup '%s'", id);
	}
	/* What the container may build in there has to be taken down again. */
	put_number(fd, "cgroup.max.depth", CGROUP_DEPTH_MAX - 1, &ignored);
	put_number(fd, "cgroup.max.descendants", CGROUP_DESCENDANTS_MAX, &ignored);
	return fd;
}

static void remove_below(int dir, int depth)
{
	_cleanup_closedir_ DIR *d = NULL;
	int fd = open_dir(dir, ".");
	struct dirent *e;

	if (fd < 0)
		return;
	d = fdopendir(fd);
	if (!d) {
		close(fd);
		return;
	}
	while ((e = readdir(d))) {
		_cleanup_close_ int sub = -1;

		if (e->d_type != DT_DIR || e->d_name[0] == '.')
			continue;
		sub = open_dir(dir, e->d_name);
		if (sub >= 0 && depth > 0)
			remove_below(sub, depth - 1);
		unlinkat(dir, e->d_name, AT_REMOVEDIR);
	}
}

void cgroup_remove(const char *id)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), AGENT_CGROUP "/%s", id);
	if (rmdir(path) < 0 && errno == EBUSY) {
		_cleanup_close_ int dir = open_dir(AT_FDCWD, path);

		if (dir >= 0)
			remove_below(dir, CGROUP_DEPTH_MAX);
		rmdir(path);
	}
}

/* The kernel refuses limits that no number of processes can reach. */
static int put_pids(int dir, int64_t max, struct error *err)
{
	return max > PIDS_LIMIT ? put(dir, "pids.max", "max", err)
				: put_number(dir, "pids.max", max, err);
}

static int put_cpu(int dir, const struct spec_resources *r, struct error *err)
{
	char text[64], quota[24] = "max";
	int rc = 0;

	if (r->cpu_weight) {
		snprintf(text, sizeof(text), "%llu", (unsigned long long)r->cpu_weight);
		rc = put(dir, "cpu.weight", text, err);
	}
	if (rc < 0 || (r->cpu_quota_us == SPEC_LIMIT_UNSET && r->cpu_period_us <= 0))
		return rc;
	if (r->cpu_quota_us > 0) {
		snprintf(quota, sizeof(quota), "%lld", (long long)r->cpu_quota_us);
	} else if (r->cpu_quota_us == SPEC_LIMIT_UNSET) {
		/* A period is written with a quota before it: with the one that is there. */
		if (path_read(dir, "cpu.max", text, sizeof(text)) > 0)
			snprintf(quota, sizeof(quota), "%.*s", (int)strcspn(text, " \n"), text);
	}
	if (r->cpu_period_us > 0)
		snprintf(text, sizeof(text), "%s %lld", quota, (long long)r->cpu_period_us);
	return put(dir, "cpu.max", r->cpu_period_us > 0 ? text : quota, err);
}

int cgroup_apply(int dir, const struct spec_resources *r, struct error *err)
{
	if (put_number(dir, "memory.max", r->memory_max, err) < 0 ||
	    put_number(dir, "memory.low", r->memory_low, err) < 0 ||
	    put_number(dir, "memory.swap.max", r->memory_swap_max, err) < 0 ||
	    put_pids(dir, r->pids_max, err) < 0 || put_cpu(dir, r, err) < 0)
		return -err->code;
	for (uint32_t i = 0; i < r->unified_n; i++) {
		const struct spec_pair *p = &r->unified[i];

		if (strchr(p->key, '/') || p->key[0] == '.')
			return error_set(err, EINVAL, "'%s' is not a cgroup file", p->key);
		turn_on_for(p->key);
		if (put(dir, p->key, p->value, err) < 0)
			return -err->code;
	}
	return 0;
}

int cgroup_kill(int dir)
{
	return path_write(dir, "cgroup.kill", "1");
}

int cgroup_freeze(int dir, bool frozen, struct error *err)
{
	return put(dir, "cgroup.freeze", frozen ? "1" : "0", err);
}

int cgroup_events_open(int dir, struct error *err)
{
	int fd = openat(dir, "cgroup.events", O_RDONLY | O_CLOEXEC);

	return fd < 0 ? error_errno(err, "open 'cgroup.events'") : fd;
}

struct cgroup_state cgroup_events_read(int fd)
{
	char text[128];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	if (n < 0)
		return (struct cgroup_state){0}; /* the group is gone */
	text[n] = '\0';
	return (struct cgroup_state){
		.populated = strstr(text, "populated 1"),
		.frozen = strstr(text, "frozen 1"),
	};
}

/* One value in a file, or a value for each of several keys. */
static const char *const stats[] = {
	"cpu.stat",	   "memory.current", "memory.peak", "memory.max",   "memory.swap.current",
	"memory.swap.max", "memory.events",  "memory.stat", "pids.current", "pids.max",
	"io.stat"};

void cgroup_stats(int dir, char *buf, size_t size)
{
	static char text[8192];
	size_t used = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(stats); i++) {
		char *rest = NULL;

		if (path_read(dir, stats[i], text, sizeof(text)) < 0)
			continue; /* its controller is off */
		for (char *line = strtok_r(text, "\n", &rest); line;
		     line = strtok_r(NULL, "\n", &rest)) {
			const char *join = strchr(line, ' ') ? "." : " ";
			int n = snprintf(buf + used, size - used, "%s%s%s\n", stats[i], join, line);

			if (n < 0 || (size_t)n >= size - used) {
				buf[used] = '\0';
				return;
			}
			used += (size_t)n;
		}
	}
}

bool cgroup_saw_oom(int dir)
{
	char text[512];
	const char *p;

	if (path_read(dir, "memory.events", text, sizeof(text)) < 0)
		return false;
	p = strstr(text, "\noom_kill ");
	return p && p[strlen("\noom_kill ")] != '0';
}

static int each_here(int dir, int (*fn)(int pid, void *arg), void *arg)
{
	int fd = openat(dir, "cgroup.procs", O_RDONLY | O_CLOEXEC);
	_cleanup_fclose_ FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
	char line[32];
	int rc = 0;

	if (!f) {
		if (fd >= 0)
			close(fd);
		return 0; /* a threaded group cannot be read; its processes are in its parent */
	}
	while (rc == 0 && fgets(line, sizeof(line), f))
		rc = fn(atoi(line), arg);
	return rc;
}

static int each_below(int dir, int depth, int (*fn)(int pid, void *arg), void *arg)
{
	_cleanup_closedir_ DIR *d = NULL;
	int rc = each_here(dir, fn, arg), fd;
	struct dirent *e;

	if (rc != 0 || depth == 0)
		return rc;
	fd = open_dir(dir, ".");
	if (fd < 0)
		return 0;
	d = fdopendir(fd);
	if (!d) {
		close(fd);
		return 0;
	}
	while (rc == 0 && (e = readdir(d))) {
		_cleanup_close_ int sub = -1;

		if (e->d_type != DT_DIR || e->d_name[0] == '.')
			continue;
		sub = open_dir(dir, e->d_name);
		if (sub >= 0)
			rc = each_below(sub, depth - 1, fn, arg);
	}
	return rc;
}

int cgroup_each(int dir, int (*fn)(int pid, void *arg), void *arg)
{
	return each_below(dir, CGROUP_DEPTH_MAX, fn, arg);
}

int cgroup_of_process(int pid)
{
	char path[PATH_MAX], text[PATH_MAX];
	const char *p;

	snprintf(path, sizeof(path), "/proc/%d/cgroup", pid);
	if (path_read(AT_FDCWD, path, text, sizeof(text)) < 0)
		return -ESRCH;
	p = strstr(text, "0::/");
	if (!p || strlen(p) + sizeof(AGENT_CGROUP) >= sizeof(path))
		return -ESRCH;
	snprintf(path, sizeof(path), AGENT_CGROUP "%.*s", (int)strcspn(p + 3, "\n"), p + 3);
	return open_dir(AT_FDCWD, path);
}
