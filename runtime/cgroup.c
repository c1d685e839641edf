// SPDX-License-Identifier: Apache-2.0
#include "runtime/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/cleanup.h"

#define HIERARCHIES_MAX 32
#define DEPTH_MAX 64 /* cgroups inside each other */
#define RELATIVE_BASE "caisson"
#define LEAF "sandbox"	 /* in a v2 cgroup whose controllers are passed on to cgroups below */
#define PATIENCE_MS 5000 /* for killed processes to be gone */

struct hierarchy {
	bool v2;
	dev_t dev;
	char *mount;
	char *controllers; /* v1: mount options, among them the controllers; v2: "" */
};

struct hierarchies {
	struct hierarchy v[HIERARCHIES_MAX];
	size_t n;
	char path[PATH_MAX]; /* below each mount point, without slashes around it */
};

static void hierarchies_done(struct hierarchies *h)
{
	for (size_t i = 0; i < h->n; i++) {
		free(h->v[i].mount);
		free(h->v[i].controllers);
	}
	h->n = 0;
}

#define _cleanup_hierarchies_ _cleanup_(hierarchies_done)

/* Controllers are whole words of a list with commas or spaces. */
static bool has_word(const char *list, const char *word)
{
	size_t n = strlen(word);

	for (const char *p = list; (p = strstr(p, word)); p += n)
		if ((p == list || strchr(", ", p[-1])) && (!p[n] || strchr(", \n", p[n])))
			return true;
	return false;
}

/* "31 23 0:28 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu"; a hierarchy that is mounted
 * twice counts once. */
static int add_mount(struct hierarchies *h, char *line)
{
	char *end = strstr(line, " - "), *save = NULL, *mount = line, *type, *options;
	struct hierarchy *new = &h->v[h->n];
	struct stat st;

	if (!end)
		return 0;
	*end = 0;
	mount = strtok_r(line, " ", &save);
	for (int i = 0; i < 4 && mount; i++)
		mount = strtok_r(NULL, " ", &save);
	type = strtok_r(end + 3, " ", &save);
	strtok_r(NULL, " ", &save);
	options = strtok_r(NULL, "\n", &save);
	if (!mount || !type || !options || stat(mount, &st) < 0)
		return 0;
	if (strcmp(type, "cgroup") != 0 && strcmp(type, "cgroup2") != 0)
		return 0;
	for (size_t i = 0; i < h->n; i++)
		if (h->v[i].dev == st.st_dev)
			return 0;
	if (h->n == HIERARCHIES_MAX)
		return -E2BIG;
	new->v2 = strcmp(type, "cgroup2") == 0;
	new->dev = st.st_dev;
	new->mount = strdup(mount);
	new->controllers = strdup(new->v2 ? "" : options);
	h->n++;
	return new->mount &&new->controllers ? 0 : -ENOMEM;
}

static int find_hierarchies(struct hierarchies *h, struct error *err)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/self/mountinfo", "re");
	_cleanup_free_ char *line = NULL;
	size_t capacity = 0;
	int rc;

	if (!f)
		return error_errno(err, "open '/proc/self/mountinfo'");
	while (getline(&line, &capacity, f) > 0) {
		rc = add_mount(h, line);
		if (rc < 0)
			return error_set(err, -rc, "find cgroup hierarchies: %s", strerror(-rc));
	}
	return 0;
}

static int parse_path(struct hierarchies *h, const char *path, struct error *err)
{
	_cleanup_free_ char *copy = strdup(path);
	char *save = NULL;
	size_t n = 0;

	if (!copy)
		return error_set(err, ENOMEM, "out of memory");
	if (*path && *path != '/')
		n = (size_t)snprintf(h->path, sizeof(h->path), "%s", RELATIVE_BASE);
	for (char *p = strtok_r(copy, "/", &save); p; p = strtok_r(NULL, "/", &save)) {
		if (strcmp(p, ".") == 0)
			continue;
		if (strcmp(p, "..") == 0)
			return error_set(err, EINVAL, "cgroup path '%s' contains '..'", path);
		n += (size_t)snprintf(h->path + n, sizeof(h->path) - n, "%s%s", n ? "/" : "", p);
		if (n >= sizeof(h->path) - 256)
			return error_set(err, ENAMETOOLONG, "cgroup path '%.64s...' is too long",
					 path);
	}
	if (!n || strcmp(h->path, RELATIVE_BASE) == 0)
		return error_set(err, EINVAL, "cgroup path '%s' names no cgroup of its own", path);
	return 0;
}

static int open_all(struct hierarchies *h, const char *path, struct error *err)
{
	h->n = 0;
	h->path[0] = 0;
	if (parse_path(h, path, err) < 0)
		return -err->code;
	return find_hierarchies(h, err);
}

/* An open directory of the cgroup in one hierarchy; -errno. */
static int open_cgroup(const struct hierarchies *h, const struct hierarchy *one)
{
	char path[2 * PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", one->mount, h->path);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* Bytes read (with a NUL after them) or -errno. */
static ssize_t read_file(int dir, const char *name, char *buf, size_t size)
{
	_cleanup_close_ int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, size - 1);

	if (n < 0)
		return -errno;
	buf[n] = 0;
	return n;
}

static int write_file(int dir, const char *name, const char *text)
{
	_cleanup_close_ int fd = openat(dir, name, O_WRONLY | O_CLOEXEC);

	return fd < 0 || write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

/* A v1 cpuset starts empty, and no process can enter it: take over what the parent may use. */
static int inherit_cpuset(int parent, int dir)
{
	static const char *const files[] = {"cpuset.cpus", "cpuset.mems"};
	char text[4096];

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		ssize_t n = read_file(dir, files[i], text, sizeof(text));

		if (n < 0 || (n > 0 && text[0] != '\n'))
			continue;
		n = read_file(parent, files[i], text, sizeof(text));
		if (n > 0)
			n = write_file(dir, files[i], text);
		if (n < 0)
			return (int)n;
	}
	return 0;
}

/* v2: lets cgroups below `dir` have each controller that it has.  As far as possible: a cgroup with
 * processes cannot pass controllers on, and whoever needs one finds its file missing. */
static void pass_controllers_on(int dir)
{
	static const char *const names[] = {"cpu", "cpuset", "memory", "pids", "io"};
	char have[4096], word[32];

	if (read_file(dir, "cgroup.controllers", have, sizeof(have)) <= 0)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (!has_word(have, names[i]))
			continue;
		snprintf(word, sizeof(word), "+%s", names[i]);
		write_file(dir, "cgroup.subtree_control", word);
	}
}

/* Makes the cgroup, and those above it that are missing; the descriptor of its directory. */
static int make_one(const struct hierarchies *h, const struct hierarchy *one, struct error *err)
{
	_cleanup_free_ char *copy = strdup(h->path);
	_cleanup_close_ int dir = open(one->mount, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char *save = NULL;

	if (!copy)
		return error_set(err, ENOMEM, "out of memory");
	if (dir < 0)
		return error_errno(err, "open '%s'", one->mount);
	for (char *p = strtok_r(copy, "/", &save); p; p = strtok_r(NULL, "/", &save)) {
		int next, rc = 0;

		if (one->v2)
			pass_controllers_on(dir);
		if (mkdirat(dir, p, 0755) < 0 && errno != EEXIST)
			return error_errno(err, "create '%s' of '%s' in '%s'", p, h->path,
					   one->mount);
		next = openat(dir, p, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (next < 0)
			return error_errno(err, "open '%s' of '%s' in '%s'", p, h->path,
					   one->mount);
		if (has_word(one->controllers, "cpuset"))
			rc = inherit_cpuset(dir, next);
		close(dir);
		dir = next;
		if (rc < 0)
			return error_set(err, -rc, "set cpuset of '%s' in '%s': %s", h->path,
					 one->mount, strerror(-rc));
	}
	return steal_fd(&dir);
}

/* Calls fn with every process in the cgroup and below, and how many there were; -errno. */
static int each_process(int dir, int depth, int (*fn)(pid_t pid, void *arg), void *arg)
{
	_cleanup_closedir_ DIR *d = NULL;
	_cleanup_fclose_ FILE *f = NULL;
	int fd = openat(dir, "cgroup.procs", O_RDONLY | O_CLOEXEC), n = 0;
	struct dirent *e;
	intmax_t pid;

	f = fd < 0 ? NULL : fdopen(fd, "r");
	if (!f)
		return errno == ENOENT || errno == ENODEV ? 0 : -errno; /* it was just removed */
	/* 0 is a process of another pid namespace, which this one cannot name. */
	while (fscanf(f, "%jd", &pid) == 1 && pid >= 0) {
		fn((pid_t)pid, arg);
		n++;
	}
	fd = depth < DEPTH_MAX ? openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	d = fd < 0 ? NULL : fdopendir(fd);
	while (d && (e = readdir(d))) {
		_cleanup_close_ int child = -1;
		int more;

		if (e->d_type != DT_DIR || e->d_name[0] == '.')
			continue;
		child = openat(dir, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		more = child < 0 ? 0 : each_process(child, depth + 1, fn, arg);
		if (more < 0)
			return more;
		n += more;
	}
	return n;
}

static int note_process(pid_t pid, void *arg)
{
	*(pid_t *)arg = pid;
	return 0;
}

/* One value of config_host_resources, wherever its controller is. */
static int set_value(const struct hierarchies *h, const char *controller, const char *v1_name,
		     const char *v1_text, const char *v2_name, const char *v2_text,
		     struct error *err)
{
	for (size_t i = 0; i < h->n; i++) {
		const struct hierarchy *one = &h->v[i];
		const char *name = one->v2 ? v2_name : v1_name;
		_cleanup_close_ int dir = -1;
		int rc;

		if (!one->v2 && !has_word(one->controllers, controller))
			continue;
		dir = open_cgroup(h, one);
		rc = dir < 0 ? dir : write_file(dir, name, one->v2 ? v2_text : v1_text);
		if (one->v2 && rc == -ENOENT)
			continue; /* the controller is not on, or in a v1 hierarchy */
		if (rc < 0)
			return error_set(err, -rc, "write '%s' to '%s': %s",
					 one->v2 ? v2_text : v1_text, name, strerror(-rc));
		return 0;
	}
	return error_set(err, EOPNOTSUPP, "'%s' cannot be set: there is no cgroup controller '%s'",
			 v1_name, controller);
}

/* v2 takes a period only with a quota before it: the one that is there. */
static void read_quota(const struct hierarchies *h, char *ret, size_t size)
{
	for (size_t i = 0; i < h->n; i++) {
		_cleanup_close_ int dir = h->v[i].v2 ? open_cgroup(h, &h->v[i]) : -1;

		if (dir >= 0 && read_file(dir, "cpu.max", ret, size) > 0) {
			ret[strcspn(ret, " \n")] = 0;
			return;
		}
	}
	snprintf(ret, size, "max");
}

static int set_quota(const struct hierarchies *h, const struct config_host_resources *r,
		     struct error *err)
{
	char quota[64] = "max", period[64] = "", v2[160];
	bool limited = r->cpu_quota_us > 0;
	int rc = 0;

	if (limited)
		snprintf(quota, sizeof(quota), "%" PRId64, r->cpu_quota_us);
	else if (r->cpu_quota_us == SPEC_LIMIT_UNSET)
		read_quota(h, quota, sizeof(quota));
	if (r->cpu_period_us > 0)
		snprintf(period, sizeof(period), "%" PRId64, r->cpu_period_us);
	snprintf(v2, sizeof(v2), "%s%s%s", quota, *period ? " " : "", period);
	if (*period)
		rc = set_value(h, "cpu", "cpu.cfs_period_us", period, "cpu.max", v2, err);
	if (!rc && r->cpu_quota_us != SPEC_LIMIT_UNSET)
		rc = set_value(h, "cpu", "cpu.cfs_quota_us", limited ? quota : "-1", "cpu.max", v2,
			       err);
	return rc;
}

static int set_cpu(const struct hierarchies *h, const struct config_host_resources *r,
		   struct error *err)
{
	char v1[64], v2[64];
	int rc = set_quota(h, r, err);

	if (!rc && r->cpu_shares) {
		uint64_t shares = r->cpu_shares < 2	   ? 2
				  : r->cpu_shares > 262144 ? 262144
							   : r->cpu_shares;

		/* The mapping of crun and runc: 2..262144 to 1..10000. */
		snprintf(v1, sizeof(v1), "%" PRIu64, shares);
		snprintf(v2, sizeof(v2), "%" PRIu64, 1 + (shares - 2) * 9999 / 262142);
		rc = set_value(h, "cpu", "cpu.shares", v1, "cpu.weight", v2, err);
	}
	return rc;
}

static int set_resources(const struct hierarchies *h, const struct config_host_resources *r,
			 struct error *err)
{
	int rc = set_cpu(h, r, err);

	/* The nodes first: a kernel may check CPUs against them. */
	if (!rc && r->cpuset_mems && *r->cpuset_mems)
		rc = set_value(h, "cpuset", "cpuset.mems", r->cpuset_mems, "cpuset.mems",
			       r->cpuset_mems, err);
	if (!rc && r->cpuset_cpus && *r->cpuset_cpus)
		rc = set_value(h, "cpuset", "cpuset.cpus", r->cpuset_cpus, "cpuset.cpus",
			       r->cpuset_cpus, err);
	return rc;
}

/* Whether processes are there already; removing the cgroup later would kill them. */
static int check_empty(const struct hierarchies *h, struct error *err)
{
	for (size_t i = 0; i < h->n; i++) {
		_cleanup_close_ int dir = open_cgroup(h, &h->v[i]);
		pid_t pid = 0;

		if (dir >= 0 && each_process(dir, 0, note_process, &pid) > 0)
			return error_set(err, EBUSY, "it has processes already (%d in '%s')", pid,
					 h->v[i].mount);
	}
	return 0;
}

/* Removes a cgroup and those below; -errno of the first that stays. */
static int remove_tree(int parent, const char *name, int depth)
{
	_cleanup_closedir_ DIR *d = NULL;
	struct dirent *e;
	int fd, rc = 0;

	if (unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
		return 0;
	if (errno != EBUSY && errno != ENOTEMPTY)
		return -errno;
	fd = depth < DEPTH_MAX
		     ? openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
		     : -1;
	d = fd < 0 ? NULL : fdopendir(fd);
	while (d && !rc && (e = readdir(d)))
		if (e->d_type == DT_DIR && e->d_name[0] != '.')
			rc = remove_tree(dirfd(d), e->d_name, depth + 1);
	if (!rc && unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		rc = -errno;
	return rc;
}

static void wait_ms(long ms)
{
	const struct timespec t = {.tv_nsec = ms * 1000000};

	nanosleep(&t, NULL);
}

static int remove_all(const struct hierarchies *h, int patience_ms, struct error *err)
{
	int first = 0;

	for (size_t i = 0; i < h->n; i++) {
		_cleanup_close_ int root = open(h->v[i].mount, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		int rc = root < 0 ? -errno : remove_tree(root, h->path, 0);

		/* A process that was killed stays for a moment. */
		for (; rc == -EBUSY && patience_ms > 0; patience_ms -= 5) {
			wait_ms(5);
			rc = remove_tree(root, h->path, 0);
		}
		if (rc < 0 && !first)
			first = error_set(err, -rc, "remove it from '%s': %s", h->v[i].mount,
					  strerror(-rc));
	}
	return first;
}

static int create_all(const struct hierarchies *h, const struct config_host_resources *r,
		      struct error *err)
{
	struct error ignored;
	int rc = 0;

	if (!h->n)
		return error_set(err, EOPNOTSUPP, "no cgroup hierarchy is mounted");
	rc = check_empty(h, err);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < h->n && rc >= 0; i++) {
		_cleanup_close_ int dir = make_one(h, &h->v[i], err);

		rc = dir;
	}
	if (rc >= 0)
		rc = r ? set_resources(h, r, err) : 0;
	if (rc < 0)
		remove_all(h, 0, &ignored);
	return rc;
}

int cgroup_create(const char *path, const struct config_host_resources *r, struct error *err)
{
	_cleanup_hierarchies_ struct hierarchies h = {0};
	struct error own;
	int rc;

	err = err ? err : &own;
	rc = open_all(&h, path, err);
	if (rc < 0)
		return rc;
	return create_all(&h, r, err) < 0 ? error_wrap(err, "cgroup '%s'", path) : 0;
}

int cgroup_update(const char *path, const struct config_host_resources *r, struct error *err)
{
	_cleanup_hierarchies_ struct hierarchies h = {0};

	if (open_all(&h, path, err) < 0)
		return -err->code;
	return set_resources(&h, r, err) < 0 ? error_wrap(err, "cgroup '%s'", path) : 0;
}

static int enter_one(const struct hierarchies *h, const struct hierarchy *one, pid_t pid)
{
	_cleanup_close_ int dir = open_cgroup(h, one);
	_cleanup_close_ int leaf = -1;
	char text[16];
	int rc;

	snprintf(text, sizeof(text), "%d", pid);
	rc = dir < 0 ? dir : write_file(dir, "cgroup.procs", text);
	if (rc != -EBUSY || !one->v2)
		return rc;
	/* Someone made cgroups with controllers in it: processes only live in leaves then. */
	if (mkdirat(dir, LEAF, 0755) < 0 && errno != EEXIST)
		return -errno;
	leaf = openat(dir, LEAF, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return leaf < 0 ? -errno : write_file(leaf, "cgroup.procs", text);
}

int cgroup_enter(const char *path, pid_t pid, struct error *err)
{
	_cleanup_hierarchies_ struct hierarchies h = {0};
	struct error own;
	int rc;

	err = err ? err : &own;
	rc = open_all(&h, path, err);
	for (size_t i = 0; i < h.n && !rc; i++) {
		rc = enter_one(&h, &h.v[i], pid);
		if (rc < 0)
			return error_set(err, -rc, "cgroup '%s': move process %d there in '%s': %s",
					 path, pid, h.v[i].mount, strerror(-rc));
	}
	return rc;
}

static int kill_process(pid_t pid, void *arg)
{
	pid_t *self_or_last = arg;

	if (pid > 0 && pid != getpid()) {
		kill(pid, SIGKILL);
		*self_or_last = pid;
	}
	return 0;
}

/* Whether the caller itself is in there, which cgroup.kill would not spare. */
static int find_self(pid_t pid, void *arg)
{
	if (pid == getpid())
		*(bool *)arg = true;
	return 0;
}

static int kill_one(int dir, struct error *err)
{
	bool self = false;
	int rc;

	rc = each_process(dir, 0, find_self, &self);
	for (int waited = 0; rc > (int)self; waited += 5) {
		pid_t last = 0;

		if (waited > PATIENCE_MS)
			return error_set(err, EBUSY, "its processes do not end (%d)", rc);
		if (self || write_file(dir, "cgroup.kill", "1") < 0) /* v2 since Linux 5.14 */
			each_process(dir, 0, kill_process, &last);
		wait_ms(waited ? 5 : 1);
		rc = each_process(dir, 0, find_self, &self);
	}
	return rc < 0 ? error_set(err, -rc, "list its processes: %s", strerror(-rc)) : 0;
}

int cgroup_kill(const char *path, struct error *err)
{
	_cleanup_hierarchies_ struct hierarchies h = {0};
	struct error own;
	int rc;

	err = err ? err : &own;
	rc = open_all(&h, path, err);
	for (size_t i = 0; i < h.n && !rc; i++) {
		_cleanup_close_ int dir = open_cgroup(&h, &h.v[i]);

		if (dir < 0)
			continue;
		rc = kill_one(dir, err);
		if (rc < 0)
			return error_wrap(err, "cgroup '%s': '%s'", path, h.v[i].mount);
	}
	return rc;
}

int cgroup_remove(const char *path, struct error *err)
{
	_cleanup_hierarchies_ struct hierarchies h = {0};
	struct error own;
	int rc;

	err = err ? err : &own;
	rc = open_all(&h, path, err);
	if (rc < 0)
		return rc;
	return remove_all(&h, 1000, err) < 0 ? error_wrap(err, "cgroup '%s'", path) : 0;
}
