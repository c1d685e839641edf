// SPDX-License-Identifier: Apache-2.0
#include "runtime/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/timeline.h"
#include "lib/wire.h"
#include "runtime/cgroup.h"
#include "runtime/client.h"
#include "runtime/hooks.h"
#include "runtime/json.h"
#include "runtime/lent.h"
#include "runtime/network.h"
#include "runtime/pod.h"
#include "runtime/rootfs.h"
#include "runtime/scope.h"
#include "runtime/scratch.h"
#include "runtime/settings.h"
#include "runtime/spawn.h"
#include "runtime/terminal.h"
#include "vmm/engine/engine.h"
#include "vmm/machine.h"

#define LOWER_SERIAL "lower"
#define SCRATCH_SERIAL "scratch"

/* A container in the making. */
struct creation {
	const struct sandbox_options *o;
	struct config config;
	struct settings settings;
	struct state state;
	int dir_fd, lock_fd;
	struct rootfs_image image;
	struct network network;
	struct lent lent;
	int scratch_fd, listen_fd, log_fd, tty_fd;
	char bundle[PATH_MAX];
	char jail_dir[PATH_MAX];
	struct scope scope; /* unit "": none */
	char netns[64];	    /* the proxy's own namespace, when the configuration names none */
	struct msg request;
	struct spawned proxy, monitor;
	sigset_t interrupts;
};

int container_open(struct container *ret, const char *root, const char *id, bool lock,
		   struct error *err)
{
	*ret = (struct container){.dir_fd = -1, .lock_fd = -1};
	ret->dir_fd = state_dir_open(root, id, err);
	if (ret->dir_fd < 0)
		return ret->dir_fd;
	if (lock && (ret->lock_fd = state_lock(ret->dir_fd, 10000, false, err)) < 0)
		goto fail;
	if (state_read(ret->dir_fd, &ret->state, err) < 0)
		goto fail;
	return 0;
fail:
	container_done(ret);
	return error_wrap(err, "container '%s'", id);
}

void container_done(struct container *c)
{
	cleanup_close(&c->lock_fd);
	cleanup_close(&c->dir_fd);
	c->lock_fd = c->dir_fd = -1;
	state_done(&c->state);
}

int sandbox_config(const struct container *c, struct config *ret, struct error *err)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d/config.json", c->dir_fd);
	return config_load(ret, c->state.bundle, path, err);
}

/* The configuration as it was, for exec and for the hooks of later commands. */
static int keep_config(struct creation *c, struct error *err)
{
	_cleanup_close_ int fd = openat(c->dir_fd, "config.json",
					O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	_cleanup_free_ char *text = NULL;
	char path[PATH_MAX + 16];
	size_t size;

	snprintf(path, sizeof(path), "%s/config.json", c->bundle);
	text = file_read(AT_FDCWD, c->o->config ? c->o->config : path, CONFIG_SIZE_MAX, &size, err);
	if (!text)
		return -err->code;
	if (fd < 0 || write(fd, text, size) != (ssize_t)size)
		return error_errno(err, "keep the configuration");
	return 0;
}

/* A FIFO that nobody writes would hold the command for ever. */
static int check_config_file(const struct creation *c, struct error *err)
{
	char path[PATH_MAX + 16];
	struct stat st;

	snprintf(path, sizeof(path), "%s/config.json", c->bundle);
	if (stat(c->o->config ? c->o->config : path, &st) == 0 && !S_ISREG(st.st_mode))
		return error_set(err, EINVAL, "'%s' is not a regular file",
				 c->o->config ? c->o->config : path);
	return 0;
}

/* What the machine is made of; a member of a pod has its sandbox's. */
static int choose_machine(struct creation *c, struct error *err)
{
	const struct engine_ops *engine;

	if (c->config.pod == POD_MEMBER)
		return pod_engine(c->o->root, c->o->id, &c->config, &c->settings.engine, err);
	engine = engine_choose(c->settings.engine, err);
	if (!engine)
		return -err->code;
	c->settings.engine = arena_strdup(&c->settings.arena, engine->name);
	if (access(c->settings.kernel, R_OK) < 0)
		return error_errno(err, "guest kernel '%s'", c->settings.kernel);
	if (access(c->settings.initrd, R_OK) < 0)
		return error_errno(err, "guest initramfs '%s'", c->settings.initrd);
	return 0;
}

static int creation_load(struct creation *c, struct error *err)
{
	if (!realpath(c->o->bundle ? c->o->bundle : ".", c->bundle))
		return error_errno(err, "bundle '%s'", c->o->bundle ? c->o->bundle : ".");
	if (check_config_file(c, err) < 0)
		return -err->code;
	if (config_load(&c->config, c->bundle, c->o->config, err) < 0)
		return -err->code;
	if (settings_load(&c->settings, c->o->settings, err) < 0 ||
	    settings_apply(&c->settings, &c->config, err) < 0)
		return -err->code;
	if (choose_machine(c, err) < 0)
		return -err->code;
	c->config.container.id = arena_strdup(&c->config.arena, c->o->id);
	c->config.container.process.extra_fds = c->o->preserve_fds;
	c->config.container.rootfs.lower_share = -1;
	/* The guest's own IPC and UTS namespaces are the sandbox's: nobody else is in them. */
	if (c->config.pod != POD_MEMBER)
		c->config.container.unshare &= ~(uint64_t)(CLONE_NEWIPC | CLONE_NEWUTS);
	timeline_mark("config");
	return 0;
}

static void fill_state(struct creation *c, char *now, size_t size)
{
	struct timespec ts;
	struct tm tm;
	size_t n;

	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	n = strftime(now, size, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(now + n, size - n, ".%09ldZ", ts.tv_nsec);
	c->state.id = arena_strdup(&c->state.arena, c->o->id);
	c->state.bundle = arena_strdup(&c->state.arena, c->bundle);
	c->state.created = arena_strdup(&c->state.arena, now);
	c->state.oci_version = arena_strdup(&c->state.arena, c->config.oci_version);
	c->state.engine = arena_strdup(&c->state.arena, c->settings.engine);
	c->state.shares_next = c->config.shares_n;
	c->state.terminal = c->config.container.process.terminal;
	c->state.annotations = c->config.annotations; /* outlives the state here */
	c->state.annotations_n = c->config.annotations_n;
	c->state.creator = state_process_of(getpid());
}

/*
 * The timeline is the container's and goes with it, unless the settings name a directory where
 * timelines stay: then it is a link to its file there.
 */
static int begin_timeline(struct creation *c, struct error *err)
{
	const char *keep = c->settings.timelines;
	char path[PATH_MAX];

	if (*keep) {
		if (*keep != '/')
			return error_set(err, EINVAL, "timelines '%s' is not an absolute path",
					 keep);
		if (mkdir(keep, 0700) < 0 && errno != EEXIST)
			return error_errno(err, "directory of timelines '%s'", keep);
		snprintf(path, sizeof(path), "%s/%s-%" PRIu64, keep, c->o->id, monotonic_ns());
		if (symlinkat(path, c->dir_fd, "timeline") < 0)
			return error_errno(err, "link 'timeline'");
	}
	timeline_begin(
		openat(c->dir_fd, "timeline", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
	return timeline_fd < 0 && *keep ? error_errno(err, "timeline '%s'", path) : 0;
}

/* A later command's marks go where the first one's are. */
static void resume_timeline(int dir_fd)
{
	if (timeline_fd < 0)
		timeline_begin(openat(dir_fd, "timeline", O_WRONLY | O_APPEND | O_CLOEXEC));
}

/* From here on sandbox_destroy() finds everything. */
static int creation_begin(struct creation *c, struct error *err)
{
	char now[64];

	c->dir_fd = state_dir_create(c->o->root, c->o->id, err);
	if (c->dir_fd < 0)
		return c->dir_fd;
	c->lock_fd = state_lock(c->dir_fd, 10000, false, err);
	if (c->lock_fd < 0)
		return c->lock_fd;
	fill_state(c, now, sizeof(now));
	if (state_write(c->dir_fd, &c->state, err) < 0 || keep_config(c, err) < 0)
		return -err->code;
	snprintf(c->jail_dir, sizeof(c->jail_dir), "%s/%s/jail", c->o->root, c->o->id);
	if (timeline_fd < 0 && begin_timeline(c, err) < 0)
		return -err->code;
	c->log_fd = openat(c->dir_fd, "vmm.log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (c->log_fd < 0)
		return error_errno(err, "create 'vmm.log'");
	timeline_mark("state");
	return 0;
}

static int creation_files(struct creation *c, struct error *err)
{
	struct spec_rootfs *r = &c->config.container.rootfs;

	if (rootfs_image(c->config.root_path, c->settings.cache, c->settings.cache_size, &c->image,
			 err) < 0)
		return -err->code;
	r->lower_serial = (char *)LOWER_SERIAL;
	r->upper_size = c->settings.scratch;
	/* Half of what it will have, not of what it begins with. */
	if (!r->upper_size && c->settings.memory_start)
		r->upper_size = c->settings.memory / 2;
	if (c->settings.scratch_disk && c->config.pod == POD_MEMBER)
		return error_set(err, EOPNOTSUPP, "a member of a pod cannot have a scratch disk");
	if (c->settings.scratch_disk) {
		c->scratch_fd = scratch_open(c->settings.cache, c->settings.scratch_disk, err);
		if (c->scratch_fd < 0)
			return c->scratch_fd;
		r->scratch_serial = (char *)SCRATCH_SERIAL;
	}
	timeline_mark("image");
	return 0;
}

static int creation_cgroup(struct creation *c, struct error *err)
{
	const char *path = c->config.cgroups_path;

	if (!path || c->o->no_cgroup)
		return 0;
	/* systemd's begins with a process in it: creation_scope(). */
	if (c->o->systemd_cgroup)
		return scope_parse(path, &c->scope, err);
	if (cgroup_create(path, &c->config.host, err) < 0)
		return -err->code;
	/* On record only now that it is ours: whatever is in it dies with the sandbox. */
	c->state.cgroup = arena_strdup(&c->state.arena, path);
	if (state_write(c->dir_fd, &c->state, err) < 0)
		return -err->code;
	timeline_mark("cgroup");
	return 0;
}

static int creation_terminal(struct creation *c, struct error *err)
{
	struct spec_process *p = &c->config.container.process;

	if (!p->terminal) {
		if (c->o->console_socket)
			return error_set(err, EINVAL,
					 "--console-socket '%s': process.terminal is "
					 "not set",
					 c->o->console_socket);
		return 0;
	}
	if (c->o->console_socket) {
		c->tty_fd = terminal_open(c->o->console_socket, p->rows, p->columns, err);
		return c->tty_fd < 0 ? c->tty_fd : 0;
	}
	if (!c->o->attached)
		return error_set(err, EINVAL,
				 "process.terminal is set: --console-socket is missing");
	if (!isatty(0))
		return error_set(err, ENOTTY,
				 "process.terminal is set, but standard input is not "
				 "a terminal");
	terminal_size(0, &p->rows, &p->columns);
	c->tty_fd = dup(0);
	return c->tty_fd < 0 ? error_errno(err, "dup") : 0;
}

/* Records the pid, then lets the process go. */
static int admit(struct creation *c, struct state_process *slot, struct spawned *s,
		 struct error *err)
{
	*slot = state_process_of(s->pid);
	if (state_write(c->dir_fd, &c->state, err) < 0)
		return -err->code;
	if (c->state.cgroup && cgroup_enter(c->state.cgroup, s->pid, err) < 0)
		return -err->code;
	return 0;
}

static int creation_join(struct creation *c, struct error *err)
{
	if (c->config.pod != POD_MEMBER)
		return 0;
	if (pod_join(c->o->root, c->dir_fd, &c->state, &c->config, c->image.fd, err) < 0)
		return -err->code;
	timeline_mark("joined");
	return 0;
}

static int creation_scope(struct creation *c, struct error *err)
{
	_cleanup_free_ char *cgroup = NULL;

	if (!c->scope.unit[0])
		return 0;
	if (scope_start(&c->scope, c->proxy.pid, &c->config.host, &cgroup, err) < 0)
		return -err->code;
	c->state.cgroup = arena_strdup(&c->state.arena, cgroup);
	c->state.scope = arena_strdup(&c->state.arena, c->scope.unit);
	timeline_mark("scope");
	return 0;
}

static int creation_proxy(struct creation *c, struct error *err)
{
	const struct spawn_proxy o = {
		.dir_fd = c->dir_fd,
		.type = WIRE_CREATE,
		.request = &c->request,
		.tty_fd = c->tty_fd,
		.preserve_fds = c->o->preserve_fds,
		.attached = c->o->attached,
		/* Its lock says that the image is in use; a sandbox's is with the monitor. */
		.hold_fd = c->state.sandbox ? c->image.fd : -1,
		.join_netns = c->config.netns_set,
		.netns = c->config.netns_path,
	};

	msg_init_encode(&c->request);
	spec_container_codec(&c->request, &c->config.container);
	if (c->request.broken)
		return error_set(err, E2BIG,
				 "the configuration is longer than %u bytes for the "
				 "guest",
				 MSG_SIZE_MAX);
	if (!c->state.sandbox) {
		c->listen_fd = client_listen(c->dir_fd, err);
		if (c->listen_fd < 0)
			return c->listen_fd;
	}
	if (spawn_proxy(&o, &c->proxy, err) < 0 || creation_scope(c, err) < 0)
		return -err->code;
	if (admit(c, &c->state.init, &c->proxy, err) < 0)
		return -err->code;
	timeline_mark("proxy");
	return 0;
}

/* Hooks may still prepare the network: they see it by the proxy's pid. */
static int creation_hooks(struct creation *c, struct error *err)
{
	static const enum config_hook_kind kinds[] = {HOOK_PRESTART, HOOK_CREATE_RUNTIME,
						      HOOK_CREATE_CONTAINER};
	/* They are told "created" (runtime.md: "after step 2 in the lifecycle"), though for all
	 * others it is that only when this command has committed. */
	struct state told = c->state;

	told.creator = (struct state_process){0};
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (hooks_run(&c->config, kinds[i], &told, err) < 0)
			return -err->code;
	timeline_mark("hooks");
	return 0;
}

static int creation_network(struct creation *c, struct error *err)
{
	const char *path = c->config.netns_path;
	struct error ignored;

	if (!c->config.netns_set || c->state.sandbox)
		return 0;
	if (!path) {
		snprintf(c->netns, sizeof(c->netns), "/proc/%d/ns/net", c->proxy.pid);
		path = c->netns;
	}
	/* On record while it may be ours, and not before or after: another sandbox may have it,
	 * and destroying this one would take it away from that. */
	c->state.netns = c->config.netns_path;
	if (state_write(c->dir_fd, &c->state, err) < 0)
		return -err->code;
	if (network_take(path, &c->config.arena, &c->network, err) < 0) {
		c->state.netns = NULL;
		state_write(c->dir_fd, &c->state, &ignored);
		return -err->code;
	}
	timeline_mark("network");
	return 0;
}

static int creation_lease(struct creation *c, struct error *err)
{
	if (c->state.sandbox)
		return 0;
	if (lent_lease(&c->lent, &c->settings, &c->network, c->state.id, err) < 0)
		return -err->code;
	if (c->lent.fd < 0)
		return 0;
	c->state.lease = arena_strdup(&c->state.arena, c->lent.id);
	if (state_write(c->dir_fd, &c->state, err) < 0)
		return -err->code;
	timeline_mark("lease");
	return 0;
}

static int creation_monitor(struct creation *c, struct error *err)
{
	const struct spec_process *p = &c->config.container.process;
	struct machine_disk disks[] = {
		{.serial = (char *)LOWER_SERIAL, .fd = c->image.fd, .readonly = true},
		{.serial = (char *)SCRATCH_SERIAL, .fd = c->scratch_fd},
	};
	struct machine_nic nics[NETWORK_NICS_MAX];
	struct machine m = {
		.id = c->state.id,
		.engine = c->settings.engine,
		.kernel = c->settings.kernel,
		.initrd = c->settings.initrd,
		.cmdline = c->settings.kernel_cmdline,
		.vcpus = c->settings.vcpus,
		.memory = c->settings.memory,
		.hugepages = c->settings.hugepages != 0,
		.memory_fd = -1,
		.growth_fd = -1,
		.disks = disks,
		.disks_n = c->scratch_fd >= 0 ? 2 : 1,
		.nics = nics,
		.shares_n = c->config.shares_n,
		.serve_shares = c->config.shares_n > 0 || c->config.pod == POD_SANDBOX,
		.jail_dir = c->jail_dir,
		.listen_fd = c->listen_fd,
		.log_fd = c->log_fd,
		.boot_timeout_ms = c->settings.boot_timeout * 1000,
		.sandbox =
			{
				.hostname = c->config.container.hostname,
				.nics = c->network.nics,
				.nics_n = c->network.n,
				.network_wait_ms = strcmp(c->settings.network, "wait") == 0
							   ? c->settings.network_timeout * 1000
							   : 0,
			},
	};

	if (c->state.sandbox)
		return 0; /* its sandbox's will do */
	m.shares = arena_alloc(&c->config.arena, (c->config.shares_n + 1) * sizeof(*m.shares));
	if (!m.shares || getrandom(m.sandbox.entropy, sizeof(m.sandbox.entropy), 0) < 0)
		return error_errno(err, "prepare the machine");
	for (uint32_t i = 0; i < c->config.shares_n; i++)
		m.shares[i] = (struct machine_share){
			.source = c->config.shares[i].source,
			.readonly = c->config.shares[i].readonly,
			.is_dir = c->config.shares[i].is_dir,
			.recursive = c->config.shares[i].recursive,
		};
	for (uint32_t i = 0; i < c->network.n; i++) {
		struct machine_nic *nic = &nics[m.nics_n];

		if (c->network.leases[i])
			continue; /* a function, with a driver of its own */
		*nic = (struct machine_nic){.tap_fd = c->network.tap_fds[i],
					    .mtu = c->network.nics[i].mtu};
		memcpy(nic->mac, c->network.nics[i].mac, sizeof(nic->mac));
		m.nics_n++;
	}
	if (lent_take(&c->lent, &c->settings, &m, err) < 0)
		return -err->code;
	if (spawn_monitor(c->settings.monitor, &m, p->oom_score_adj_set ? p->oom_score_adj : 0,
			  &c->monitor, err) < 0)
		return -err->code;
	if (admit(c, &c->state.monitor, &c->monitor, err) < 0)
		return -err->code;
	return lent_hold(&c->lent, c->monitor.pid, err);
}

static int creation_go(struct creation *c, struct error *err)
{
	(void)err;
	/* Theirs now; an open copy here would keep their ends alive. */
	cleanup_close(&c->listen_fd);
	c->listen_fd = -1;
	spawn_go(&c->monitor);
	spawn_go(&c->proxy);
	timeline_mark("spawned");
	return 0;
}

/* The monitor's reason is the better one: the proxy only sees that it is gone. */
static int failure(struct creation *c, struct error *child, struct error *err)
{
	struct pollfd pfd = {.fd = c->monitor.status_fd, .events = POLLIN};
	char text[sizeof(err->text)];
	ssize_t n = 0;

	if ((child->code == EPIPE || child->code == ECONNREFUSED) && poll(&pfd, 1, 2000) == 1) {
		n = read(c->monitor.status_fd, text, sizeof(text) - 1);
		if (n > 0) {
			text[n] = 0;
			text[strcspn(text, "\n")] = 0;
			return error_set(err, EIO, "%s", text);
		}
	}
	*err = *child;
	return -err->code;
}

/* Waits until the guest has the container ready, or something gave up. */
static int creation_wait(struct creation *c, struct error *err)
{
	struct error child = {.code = EPIPE, .text = "the sandbox has ended"};
	struct pollfd pfds[] = {
		{.fd = c->proxy.status_fd, .events = POLLIN},
		{.fd = signalfd(-1, &c->interrupts, SFD_CLOEXEC), .events = POLLIN},
	};
	int rc;

	do {
		rc = poll(pfds, 2, (int)c->settings.boot_timeout * 1000 + CLIENT_TIMEOUT_MS);
	} while (rc < 0 && errno == EINTR);
	cleanup_close(&pfds[1].fd);
	if (rc == 0)
		return error_set(err, ETIMEDOUT, "the guest did not create the container in time");
	if (!pfds[0].revents)
		return 0; /* interrupted, as the caller sees */
	if (read(c->proxy.status_fd, &child, sizeof(child)) != (ssize_t)sizeof(child) || child.code)
		return failure(c, &child, err);
	return 0;
}

static int write_pid_file(const char *path, pid_t pid, struct error *err)
{
	_cleanup_close_ int fd = -1;
	char text[32];
	int n = snprintf(text, sizeof(text), "%d", pid);

	if (!path)
		return 0;
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, text, (size_t)n) != n)
		return error_errno(err, "--pid-file '%s'", path);
	return 0;
}

/* The signals that interrupt: blocked for as long as there is something to undo. */
static void interrupts_block(struct creation *c, sigset_t *ret_old)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
	struct sigaction sa;

	sigemptyset(&c->interrupts);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		if (sigaction(signals[i], NULL, &sa) == 0 && sa.sa_handler != SIG_IGN)
			sigaddset(&c->interrupts, signals[i]);
	sigprocmask(SIG_BLOCK, &c->interrupts, ret_old);
}

static bool interrupted(const struct creation *c)
{
	sigset_t set;

	sigpending(&set);
	sigandset(&set, &set, &c->interrupts);
	return !sigisemptyset(&set);
}

/* One that came is not delivered afterwards: the failure has told it. */
static void interrupts_unblock(const struct creation *c, const sigset_t *old, bool failed)
{
	const struct timespec none = {0};

	while (failed && sigtimedwait(&c->interrupts, NULL, &none) > 0)
		;
	sigprocmask(SIG_SETMASK, old, NULL);
}

static int creation_run(struct creation *c, struct error *err)
{
	static int (*const steps[])(struct creation *, struct error *) = {
		creation_begin, creation_files,	  creation_cgroup, creation_terminal,
		creation_join,	creation_proxy,	  creation_hooks,  creation_network,
		creation_lease, creation_monitor, creation_go,	   creation_wait,
	};

	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		if (steps[i](c, err) < 0)
			return -err->code;
		if (interrupted(c))
			return error_set(err, EINTR, "interrupted");
	}
	c->state.creator = (struct state_process){0};
	if (state_write(c->dir_fd, &c->state, err) < 0 ||
	    write_pid_file(c->o->pid_file, c->proxy.pid, err) < 0)
		return -err->code;
	timeline_mark("ready");
	spawn_commit(&c->monitor);
	spawn_commit(&c->proxy);
	return 0;
}

static void creation_done(struct creation *c)
{
	spawn_done(&c->proxy);
	spawn_done(&c->monitor);
	lent_done(&c->lent);
	network_done(&c->network);
	rootfs_image_done(&c->image);
	cleanup_close(&c->scratch_fd);
	cleanup_close(&c->listen_fd);
	cleanup_close(&c->log_fd);
	cleanup_close(&c->tty_fd);
	cleanup_close(&c->lock_fd);
	cleanup_close(&c->dir_fd);
	msg_done(&c->request);
	state_done(&c->state);
	settings_done(&c->settings);
	config_done(&c->config);
}

int sandbox_create(const struct sandbox_options *o, pid_t *ret_proxy, struct error *err)
{
	struct creation c = {
		.o = o,
		.dir_fd = -1,
		.lock_fd = -1,
		.image = {.fd = -1},
		.lent = LENT_NONE,
		.scratch_fd = -1,
		.listen_fd = -1,
		.log_fd = -1,
		.tty_fd = -1,
		.proxy = SPAWNED_NONE,
		.monitor = SPAWNED_NONE,
	};
	struct error ignored;
	sigset_t old;
	int rc;

	timeline_mark("command");
	rc = state_check_id(o->id, err);
	if (rc == 0)
		rc = creation_load(&c, err);
	interrupts_block(&c, &old);
	if (rc == 0)
		rc = creation_run(&c, err);
	if (rc == 0) {
		*ret_proxy = c.proxy.pid;
	} else if (c.dir_fd >= 0) {
		if (o->pid_file && c.proxy.pid)
			unlink(o->pid_file);
		sandbox_destroy(o->root, o->id, c.dir_fd, &ignored);
		/* Its children end with it; nobody else will wait for them. */
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	}
	interrupts_unblock(&c, &old, rc < 0);
	creation_done(&c);
	return rc;
}

static void end_process(const struct state_process *p, int polite_ms)
{
	if (!state_process_alive(p))
		return;
	if (polite_ms) {
		state_process_signal(p, SIGTERM);
		/* A stopped process takes no SIGTERM. */
		state_process_signal(p, SIGCONT);
		if (state_process_wait_gone(p, polite_ms) == 0)
			return;
	}
	state_process_signal(p, SIGKILL);
	state_process_wait_gone(p, 5000);
}

int sandbox_start(struct container *c, struct error *err)
{
	struct wire_start request = {.container = c->state.id};
	struct config config;
	struct msg m;
	int rc;

	if (state_status(&c->state) != STATUS_CREATED)
		return error_set(err, EINVAL, "container '%s' is %s, not created", c->state.id,
				 state_status_name(state_status(&c->state)));
	if (sandbox_config(c, &config, err) < 0)
		return -err->code;
	resume_timeline(c->dir_fd);
	timeline_mark("start");
	msg_init_encode(&m);
	wire_start_codec(&m, &request);
	rc = hooks_run_inside(&config, &c->state, c->dir_fd, err);
	if (rc == 0)
		rc = client_call(c->dir_fd, WIRE_START, &m, NULL, err);
	msg_done(&m);
	if (rc == 0) {
		timeline_mark("started");
		c->state.started = true;
		rc = state_write(c->dir_fd, &c->state, err);
		hooks_run_all(&config, HOOK_POSTSTART, &c->state);
	} else if (config.hooks[HOOK_START_CONTAINER].n) {
		/* What a hook has begun is not to be started again (runtime.md, "Lifecycle"). */
		end_process(&c->state.monitor, 3000);
		end_process(&c->state.init, 0);
	}
	config_done(&config);
	return rc;
}

bool sandbox_failure(int dir_fd, struct error *ret)
{
	_cleanup_close_ int fd = openat(dir_fd, "vmm.log", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	char text[512];
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = 0;
	text[strcspn(text, "\n")] = 0;
	error_set(ret, ECHILD, "%s", text);
	return text[0];
}

static int remove_files(const char *root, const char *id, int dir_fd, struct error *err)
{
	static const char *const names[] = {"agent.sock", "config.json", "timeline",
					    "vmm.log",	  "lock",	 "state.json"};
	_cleanup_close_ int root_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_closedir_ DIR *d = NULL;
	struct dirent *e;
	int fd = dup(dir_fd);

	d = fd < 0 ? NULL : fdopendir(fd);
	if (!d || root_fd < 0)
		return error_errno(err, "read the state directory");
	rewinddir(d);
	/* Temporary files of commands that were killed in the middle of a write. */
	while ((e = readdir(d)))
		if (e->d_name[0] == '.' && strchr("sc", e->d_name[1]) && e->d_name[1])
			unlinkat(dir_fd, e->d_name, 0);
	if (unlinkat(dir_fd, "jail", AT_REMOVEDIR) < 0 && errno != ENOENT)
		return error_errno(err, "remove 'jail'");
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (unlinkat(dir_fd, names[i], 0) < 0 && errno != ENOENT)
			return error_errno(err, "remove '%s'", names[i]);
	if (unlinkat(root_fd, id, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return error_errno(err, "remove the state directory");
	return 0;
}

/* A cgroup that the host refuses to make, for its name or its manager, is not there. */
static bool is_no_cgroup(const struct error *err)
{
	return err->code == EINVAL || err->code == EOPNOTSUPP || err->code == ENAMETOOLONG;
}

int sandbox_destroy(const char *root, const char *id, int dir_fd, struct error *err)
{
	struct error first = {0};
	struct state s;

	resume_timeline(dir_fd);
	timeline_mark("delete");
	/* Without a readable state nothing but its own directory can have been made. */
	if (state_read(dir_fd, &s, err) == 0) {
		/* The monitor first, politely: it takes the guest down. */
		end_process(&s.monitor, 3000);
		end_process(&s.init, 0);
		if (s.sandbox && pod_leave(root, dir_fd, &s, err) < 0)
			first = *err;
		if (s.cgroup && cgroup_kill(s.cgroup, err) < 0 && !is_no_cgroup(err))
			first = first.code ? first : *err;
		if (s.netns && network_release(s.netns, err) < 0)
			first = first.code ? first : *err;
		if (s.scope && scope_stop(s.scope, err) < 0)
			first = first.code ? first : *err;
		if (s.cgroup && cgroup_remove(s.cgroup, err) < 0 && !is_no_cgroup(err))
			first = first.code ? first : *err;
		state_done(&s);
	}
	timeline_mark("destroyed");
	if (first.code) {
		*err = first;
		return -err->code;
	}
	return remove_files(root, id, dir_fd, err);
}
