// SPDX-License-Identifier: Apache-2.0
#include "runtime/state.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/timeline.h"
#include "runtime/json.h"

#define STATE_SIZE_MAX (1u << 20)
#define LOCK_STEAL_NS 10000000000ull

int state_check_id(const char *id, struct error *err)
{
	size_t n = strlen(id);

	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)id[i]) && !strchr("_+.-", id[i]))
			return error_set(err, EINVAL,
					 "container ID '%.64s' has a character other than letters, "
					 "digits and _+.-",
					 id);
	if (!n || n > 250 || strcmp(id, ".") == 0 || strcmp(id, "..") == 0)
		return error_set(err, EINVAL, "container ID '%.64s' is %s", id,
				 n > 250 ? "longer than 250 characters" : "not a name");
	return 0;
}

int state_dir_open(const char *root, const char *id, struct error *err)
{
	_cleanup_close_ int root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int fd = -1;

	if (state_check_id(id, err) < 0)
		return -err->code;
	if (root_fd >= 0)
		fd = openat(root_fd, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0)
		return fd;
	if (errno == ENOENT)
		return error_set(err, ENOENT, "container '%s' does not exist", id);
	return error_errno(err, "open the state of container '%s' in '%s'", id, root);
}

static int make_root(const char *root, struct error *err)
{
	char path[4096];
	size_t n = strlen(root);

	if (n >= sizeof(path))
		return error_set(err, ENAMETOOLONG, "--root '%.64s...' is too long", root);
	for (size_t i = 1; i <= n; i++) {
		if (root[i] != '/' && root[i])
			continue;
		memcpy(path, root, i);
		path[i] = 0;
		if (mkdir(path, i == n ? 0700 : 0755) < 0 && errno != EEXIST)
			return error_errno(err, "create '%s'", path);
	}
	return 0;
}

int state_dir_create(const char *root, const char *id, struct error *err)
{
	_cleanup_close_ int root_fd = -1;
	int fd;

	if (state_check_id(id, err) < 0 || make_root(root, err) < 0)
		return -err->code;
	root_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root_fd < 0)
		return error_errno(err, "open '%s'", root);
	if (mkdirat(root_fd, id, 0700) < 0) {
		if (errno == EEXIST)
			return error_set(err, EEXIST, "container '%s' exists already", id);
		return error_errno(err, "create the state of container '%s' in '%s'", id, root);
	}
	fd = openat(root_fd, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || mkdirat(fd, "jail", 0700) < 0) {
		error_errno(err, "create the state of container '%s'", id);
		cleanup_close(&fd);
		unlinkat(root_fd, id, AT_REMOVEDIR);
		return -err->code;
	}
	return fd;
}

/* The process that said in the lock file that it holds the lock. */
static struct state_process lock_holder(int fd)
{
	struct state_process p = {0};
	char buf[64] = "";

	if (pread(fd, buf, sizeof(buf) - 1, 0) > 0)
		sscanf(buf, "%d %" SCNu64, &p.pid, &p.start);
	return p;
}

static void lock_sign(int fd)
{
	struct state_process self = state_process_of(getpid());
	char buf[64];
	int n = snprintf(buf, sizeof(buf), "%d %" PRIu64 "\n", self.pid, self.start);

	/* Unsigned, the lock still locks; only a forced delete could not break it. */
	if (ftruncate(fd, 0) == 0 && pwrite(fd, buf, (size_t)n, 0) < 0)
		return;
}

int state_lock(int dir_fd, int timeout_ms, bool steal, struct error *err)
{
	_cleanup_close_ int fd = openat(dir_fd, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC,
					0600);
	uint64_t give_up = monotonic_ns() + (uint64_t)timeout_ms * 1000000u;
	struct state_process holder;
	struct stat st;

	if (fd < 0)
		return error_errno(err, "open the lock");
	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return error_errno(err, "lock");
		if (timeout_ms >= 0 && monotonic_ns() > give_up) {
			holder = lock_holder(fd);
			if (!steal)
				return error_set(err, EBUSY,
						 "another command (pid %d) is at work "
						 "on this container",
						 holder.pid);
			state_process_signal(&holder, SIGKILL);
			state_process_wait_gone(&holder, 2000);
			if (monotonic_ns() > give_up + LOCK_STEAL_NS)
				return error_set(err, EBUSY,
						 "another command (pid %d) holds this "
						 "container and cannot be killed",
						 holder.pid);
		}
		usleep(2000);
	}
	/* Whoever had it may have deleted the container. */
	if (fstat(fd, &st) == 0 && st.st_nlink == 0)
		return error_set(err, ENOENT, "the container does not exist any more");
	lock_sign(fd);
	return steal_fd(&fd);
}

struct state_process state_process_of(pid_t pid)
{
	struct state_process p = {0};
	char path[64], buf[1024], *after;
	_cleanup_close_ int fd = -1;
	unsigned long long start;
	char run = 0;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, buf, sizeof(buf) - 1);
	if (n <= 0)
		return p;
	buf[n] = 0;
	/* The name, in parentheses, may hold anything: fields count from its last ')'. */
	after = strrchr(buf, ')');
	if (!after ||
	    sscanf(after + 1,
		   " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d "
		   "%*d %*d %llu",
		   &run, &start) != 2 ||
	    run == 'Z' || run == 'X')
		return p;
	p.pid = pid;
	p.start = start;
	return p;
}

bool state_process_alive(const struct state_process *p)
{
	return p->pid > 0 && p->start && state_process_of(p->pid).start == p->start;
}

static int open_pidfd(const struct state_process *p)
{
	int fd;

	if (p->pid <= 0)
		return -ESRCH;
	fd = (int)syscall(SYS_pidfd_open, p->pid, 0);
	if (fd < 0)
		return -errno;
	/* Checked after the open: now the pid cannot change its meaning any more. */
	if (!state_process_alive(p)) {
		close(fd);
		return -ESRCH;
	}
	return fd;
}

int state_process_signal(const struct state_process *p, int signal)
{
	_cleanup_close_ int fd = open_pidfd(p);

	if (fd < 0)
		return fd;
	return syscall(SYS_pidfd_send_signal, fd, signal, NULL, 0) < 0 ? -errno : 0;
}

unsigned int state_process_children(const struct state_process *p, pid_t *ret, unsigned int max)
{
	char path[64], text[4096], *at = text;
	_cleanup_close_ int fd = -1;
	unsigned int n = 0;
	ssize_t size;
	long pid;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", p->pid, p->pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	size = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
	text[size > 0 ? size : 0] = 0;
	while (n < max && (pid = strtol(at, &at, 10)) > 0)
		ret[n++] = (pid_t)pid;
	return n;
}

int state_process_wait_gone(const struct state_process *p, int timeout_ms)
{
	_cleanup_close_ int fd = open_pidfd(p);
	struct pollfd pfd = {.fd = fd, .events = POLLIN};

	if (fd < 0)
		return 0;
	return poll(&pfd, 1, timeout_ms) == 1 ? 0 : -ETIMEDOUT;
}

static void put_process(struct json_object *j, const char *key, const struct state_process *p)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "pid", json_object_new_int(p->pid));
	json_object_object_add(o, "start", json_object_new_int64((int64_t)p->start));
	json_object_object_add(j, key, o);
}

static void put_string(struct json_object *j, const char *key, const char *s)
{
	if (s)
		json_object_object_add(j, key, json_object_new_string(s));
}

static void put_number(struct json_object *j, const char *key, uint32_t n)
{
	json_object_object_add(j, key, json_object_new_int64(n));
}

int state_write(int dir_fd, const struct state *s, struct error *err)
{
	_cleanup_json_ struct json_object *j = json_object_new_object();
	struct json_object *a = json_object_new_object();

	put_string(j, "id", s->id);
	put_string(j, "bundle", s->bundle);
	put_string(j, "ociVersion", s->oci_version);
	put_string(j, "created", s->created);
	put_string(j, "engine", s->engine);
	put_string(j, "netns", s->netns);
	put_string(j, "cgroup", s->cgroup);
	put_string(j, "sandbox", s->sandbox);
	put_number(j, "sharesFirst", s->shares_first);
	put_number(j, "sharesCount", s->shares_n);
	put_number(j, "sharesNext", s->shares_next);
	put_string(j, "lease", s->lease);
	put_string(j, "scope", s->scope);
	json_object_object_add(j, "started", json_object_new_boolean(s->started));
	json_object_object_add(j, "paused", json_object_new_boolean(s->paused));
	json_object_object_add(j, "terminal", json_object_new_boolean(s->terminal));
	put_process(j, "creator", &s->creator);
	put_process(j, "init", &s->init);
	put_process(j, "monitor", &s->monitor);
	for (uint32_t i = 0; i < s->annotations_n; i++)
		put_string(a, s->annotations[i].key, s->annotations[i].value);
	json_object_object_add(j, "annotations", a);
	return json_write_file(dir_fd, "state.json", j, err);
}

/* A member of the right type, or NULL when it is not there; *bad is set for a wrong type. */
static struct json_object *get(struct json_object *j, const char *key, enum json_type type,
			       bool *bad)
{
	struct json_object *o;

	if (!json_object_object_get_ex(j, key, &o))
		return NULL;
	if (!json_object_is_type(o, type)) {
		*bad = true;
		return NULL;
	}
	return o;
}

static char *get_string(struct state *s, struct json_object *j, const char *key, bool *bad)
{
	struct json_object *o = get(j, key, json_type_string, bad);
	const char *text = o ? json_object_get_string(o) : NULL;

	if (!text)
		return NULL;
	if (strlen(text) != (size_t)json_object_get_string_len(o))
		*bad = true; /* a NUL inside */
	return arena_strdup(&s->arena, text);
}

static bool get_bool(struct json_object *j, const char *key, bool *bad)
{
	return json_object_get_boolean(get(j, key, json_type_boolean, bad));
}

static uint32_t get_number(struct json_object *j, const char *key, bool *bad)
{
	int64_t n = json_object_get_int64(get(j, key, json_type_int, bad));

	if (n < 0 || n > INT32_MAX)
		*bad = true;
	return *bad ? 0 : (uint32_t)n;
}

static struct state_process get_process(struct json_object *j, const char *key, bool *bad)
{
	struct json_object *o = get(j, key, json_type_object, bad);
	struct state_process p = {0};
	int64_t pid, start;

	if (!o)
		return p;
	pid = json_object_get_int64(get(o, "pid", json_type_int, bad));
	start = json_object_get_int64(get(o, "start", json_type_int, bad));
	if (pid < 0 || pid > INT32_MAX || start < 0)
		*bad = true;
	else
		p = (struct state_process){.pid = (pid_t)pid, .start = (uint64_t)start};
	return p;
}

static void get_annotations(struct state *s, struct json_object *j, bool *bad)
{
	struct json_object *a = get(j, "annotations", json_type_object, bad);
	int n = a ? json_object_object_length(a) : 0;

	s->annotations = n ? arena_alloc(&s->arena, (size_t)n * sizeof(*s->annotations)) : NULL;
	if (!s->annotations)
		return;
	json_object_object_foreach (a, key, value) {
		struct spec_pair *p = &s->annotations[s->annotations_n];

		if (!json_object_is_type(value, json_type_string)) {
			*bad = true;
			return;
		}
		p->key = arena_strdup(&s->arena, key);
		p->value = arena_strdup(&s->arena, json_object_get_string(value));
		if (!p->key || !p->value)
			return;
		s->annotations_n++;
	}
}

int state_parse(struct state *ret, const char *json, size_t size, struct error *err)
{
	_cleanup_json_ struct json_object *j = json_parse_object(json, size, "state.json", err);
	struct state s = {0};
	bool bad = false;

	*ret = s;
	if (!j)
		return -err->code;
	s.id = get_string(&s, j, "id", &bad);
	s.bundle = get_string(&s, j, "bundle", &bad);
	s.oci_version = get_string(&s, j, "ociVersion", &bad);
	s.created = get_string(&s, j, "created", &bad);
	s.engine = get_string(&s, j, "engine", &bad);
	s.netns = get_string(&s, j, "netns", &bad);
	s.cgroup = get_string(&s, j, "cgroup", &bad);
	s.sandbox = get_string(&s, j, "sandbox", &bad);
	s.shares_first = get_number(j, "sharesFirst", &bad);
	s.shares_n = get_number(j, "sharesCount", &bad);
	s.shares_next = get_number(j, "sharesNext", &bad);
	s.lease = get_string(&s, j, "lease", &bad);
	s.scope = get_string(&s, j, "scope", &bad);
	s.started = get_bool(j, "started", &bad);
	s.paused = get_bool(j, "paused", &bad);
	s.terminal = get_bool(j, "terminal", &bad);
	s.creator = get_process(j, "creator", &bad);
	s.init = get_process(j, "init", &bad);
	s.monitor = get_process(j, "monitor", &bad);
	get_annotations(&s, j, &bad);
	if (bad || !s.id || !s.bundle || !s.oci_version || !s.created || !s.engine ||
	    state_check_id(s.id, NULL) < 0 || (s.sandbox && state_check_id(s.sandbox, NULL) < 0)) {
		arena_done(&s.arena);
		return error_set(err, EINVAL, "state.json is damaged");
	}
	*ret = s;
	return 0;
}

int state_read(int dir_fd, struct state *ret, struct error *err)
{
	_cleanup_free_ char *text = NULL;
	size_t size;

	*ret = (struct state){0};
	text = file_read(dir_fd, "state.json", STATE_SIZE_MAX, &size, err);
	if (!text)
		return -err->code;
	return state_parse(ret, text, size, err);
}

void state_done(struct state *s)
{
	arena_done(&s->arena);
	*s = (struct state){0};
}

enum state_status state_status(const struct state *s)
{
	/* Until the command that makes it has committed. */
	if (s->creator.pid)
		return state_process_alive(&s->creator) ? STATUS_CREATING : STATUS_STOPPED;
	if (!state_process_alive(&s->init))
		return STATUS_STOPPED;
	if (!s->started)
		return STATUS_CREATED;
	return s->paused ? STATUS_PAUSED : STATUS_RUNNING;
}

const char *state_status_name(enum state_status s)
{
	static const char *const names[] = {
		[STATUS_CREATING] = "creating", [STATUS_CREATED] = "created",
		[STATUS_RUNNING] = "running",	[STATUS_PAUSED] = "paused",
		[STATUS_STOPPED] = "stopped",
	};

	return names[s];
}
