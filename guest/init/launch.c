// SPDX-License-Identifier: Apache-2.0
#include "guest/init/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "guest/init/devices.h"
#include "guest/init/executable.h"
#include "guest/init/identity.h"
#include "guest/init/mounts.h"
#include "guest/init/network.h"
#include "guest/init/path.h"
#include "guest/init/rootfs.h"
#include "guest/init/sandbox.h"
#include "guest/init/terminal.h"
#include "lib/cleanup.h"

/* Our own descriptors are moved out of the way of the streams, which become 0.. */
#define FD_BASE 64

static void send_message(const struct launch *l, const void *data, size_t size, int fd)
{
	union {
		struct cmsghdr h;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec iov = {.iov_base = (void *)data, .iov_len = size};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd >= 0) {
		m.msg_control = &control;
		m.msg_controllen = sizeof(control.space);
		control.h.cmsg_level = SOL_SOCKET;
		control.h.cmsg_type = SCM_RIGHTS;
		control.h.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.h), &fd, sizeof(int));
	}
	sendmsg(l->sync, &m, MSG_NOSIGNAL);
}

static void fail(const struct launch *l, const struct error *err) __attribute__((noreturn));
static void fail(const struct launch *l, const struct error *err)
{
	struct launch_message m = {.kind = LAUNCH_FAILED, .error = *err};

	send_message(l, &m, sizeof(m), -1);
	_exit(err->code == ENOENT ? 127 : 126);
}

static int keep_fd(int *fd, struct error *err)
{
	int moved;

	if (*fd < 0)
		return 0;
	moved = fcntl(*fd, F_DUPFD_CLOEXEC, FD_BASE);
	if (moved < 0)
		return error_errno(err, "move descriptor %d", *fd);
	close(*fd);
	*fd = moved;
	return 0;
}

/* Closes every descriptor but those in l. */
static int close_others(struct launch *l, struct error *err)
{
	int *kept[WIRE_STREAMS_MAX + 2], n = 0;
	unsigned int from = 0;

	kept[n++] = &l->sync;
	if (l->join >= 0)
		kept[n++] = &l->join;
	for (uint32_t i = 0; i < l->streams_n; i++)
		if (l->streams[i] >= 0)
			kept[n++] = &l->streams[i];
	for (int done = 0; done < n; done++) { /* n is small: the next larger one each time */
		unsigned int next = ~0U;

		for (int i = 0; i < n; i++)
			if ((unsigned int)*kept[i] >= from && (unsigned int)*kept[i] < next)
				next = (unsigned int)*kept[i];
		if (next > from)
			close_range(from, next - 1, 0);
		from = next + 1;
	}
	if (close_range(from, ~0U, 0) < 0)
		return error_errno(err, "close the agent's descriptors");
	for (int i = 0; i < n; i++)
		if (keep_fd(kept[i], err) < 0)
			return -err->code;
	return 0;
}

/* What has to be done while the agent's own files can be seen. */
static int leave_agent(struct launch *l, struct error *err)
{
	const struct spec_process *p = l->process;
	sigset_t none;
	char text[16];
	int rc;

	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	if (close_others(l, err) < 0)
		return -err->code;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (setsid() < 0)
		return error_errno(err, "setsid");
	/* A session keyring of its own; a kernel without keys has none to share. */
	syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL);
	if (!p->oom_score_adj_set || !p->oom_score_adj)
		return 0; /* which is what it starts with */
	snprintf(text, sizeof(text), "%d", p->oom_score_adj);
	rc = path_write(AT_FDCWD, "/proc/self/oom_score_adj", text);
	if (rc < 0) {
		errno = -rc;
		return error_errno(err, "set oom_score_adj to %s", text);
	}
	return 0;
}

static int set_names(const struct spec_container *c, struct error *err)
{
	if (c->hostname && sethostname(c->hostname, strlen(c->hostname)) < 0)
		return error_errno(err, "set hostname '%s'", c->hostname);
	if (c->domainname && setdomainname(c->domainname, strlen(c->domainname)) < 0)
		return error_errno(err, "set domainname '%s'", c->domainname);
	return 0;
}

/* As sysctl(8): dots and slashes stand for each other, so that "net.ipv4.conf.eth0/1.mtu" works. */
static int set_sysctl(const struct spec_pair *s, struct error *err)
{
	char path[512];
	int n = snprintf(path, sizeof(path), "/proc/sys/%s", s->key);
	int rc = -EINVAL;

	for (char *p = path + strlen("/proc/sys/"); p < path + n && n < (int)sizeof(path); p++)
		*p = *p == '.' ? '/' : *p == '/' ? '.' : *p;
	if (n < (int)sizeof(path) && !strstr(path, "/../"))
		rc = path_write(AT_FDCWD, path, s->value);
	if (rc < 0) {
		errno = -rc;
		return error_errno(err, "set sysctl '%s' to '%s'", s->key, s->value);
	}
	return 0;
}

static int make_namespaces(const struct spec_container *c, struct error *err)
{
	/* Only now: the namespace's root is the group that its maker is in. */
	if (c->unshare & CLONE_NEWCGROUP && unshare(CLONE_NEWCGROUP) < 0)
		return error_errno(err, "make the cgroup namespace");
	if (c->unshare & CLONE_NEWNET && network_loopback_up(err) < 0)
		return -err->code;
	if (set_names(c, err) < 0)
		return -err->code;
	for (uint32_t i = 0; i < c->sysctl_n; i++)
		if (set_sysctl(&c->sysctl[i], err) < 0)
			return -err->code;
	return 0;
}

static int make_container(const struct spec_container *c, struct terminal *t, struct error *err)
{
	_cleanup_close_ int root = -1, cwd = -1;
	struct error ignored;

	if (make_namespaces(c, err) < 0)
		return -err->code;
	umask(0);
	root = rootfs_mount(&c->rootfs, err);
	if (root < 0)
		return error_wrap(err, "root file system");
	if (mounts_make(root, c, err) < 0 || devices_make(root, c, err) < 0)
		return -err->code;
	if (c->process.terminal && (terminal_open(t, root, AGENT_SCRATCH, &c->process, err) < 0 ||
				    terminal_bind_console(t, root, err) < 0))
		return -err->code;
	/* If it cannot be made, chdir(2) will say so. */
	cwd = path_create_in(root, c->process.cwd, true, &ignored);
	if (mounts_finish(root, c, err) < 0 ||
	    mounts_make_readonly(root, &c->readonly_paths, err) < 0 ||
	    mounts_mask(root, &c->masked_paths, err) < 0)
		return -err->code;
	return rootfs_enter(root, &c->rootfs, err);
}

static int join_container(struct launch *l, struct terminal *t, struct error *err)
{
	_cleanup_close_ int root = -1;

	if (setns(l->join, l->join_flags) < 0)
		return error_errno(err, "join the container's namespaces");
	close(steal_fd(&l->join));
	if (!l->process->terminal)
		return 0;
	root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return error_errno(err, "open the container's root");
	return terminal_open(t, root, NULL, l->process, err);
}

static int set_streams(struct launch *l, struct terminal *t, struct error *err)
{
	if (keep_fd(&t->master, err) < 0 || keep_fd(&t->slave, err) < 0)
		return -err->code;
	for (uint32_t i = 0; i < l->streams_n; i++) {
		int fd = l->streams[i] >= 0 ? l->streams[i] : t->slave;

		if (dup2(fd, (int)i) < 0)
			return error_errno(err, "set up descriptor %u", i);
		/* So that /dev/stdin and the like can be opened by the user too. */
		if (i < 3 && l->streams[i] >= 0 && l->process->uid &&
		    fchown((int)i, l->process->uid, (gid_t)-1) < 0)
			return error_errno(err, "give stream %u to user %u", i, l->process->uid);
	}
	if (l->process->terminal && terminal_acquire(t, err) < 0)
		return -err->code;
	return 0;
}

static int enter_cwd(const struct spec_process *p, struct error *err)
{
	char here[4096];

	if (chdir(p->cwd) < 0)
		return error_errno(err, "change directory to '%s'", p->cwd);
	/* A directory outside of the root has no path: the kernel says "(unreachable)". */
	if (syscall(SYS_getcwd, here, sizeof(here)) < 0 || here[0] != '/')
		return error_set(err, EPERM, "directory '%s' is outside of the container", p->cwd);
	return 0;
}

static int become(struct launch *l, struct executable *x, struct error *err)
{
	const struct spec_process *p = l->process;
	struct error first;
	int rc;

	if (identity_set_limits(p, err) < 0)
		return -err->code;
	rc = enter_cwd(p, &first); /* root may enter where the user may not, ... */
	if (identity_assume(p, err) < 0)
		return -err->code;
	if (rc < 0 && enter_cwd(p, err) < 0) /* ... and on 9p it is the other way round */
		return -err->code;
	return executable_find(x, p, err);
}

static void wait_for_go(const struct launch *l)
{
	uint32_t kind = 0;
	ssize_t n;

	do
		n = recv(l->sync, &kind, sizeof(kind), 0);
	while (n < 0 && errno == EINTR);
	if (n != sizeof(kind) || kind != LAUNCH_GO)
		_exit(126); /* the agent has given up on us */
}

void launch_run(struct launch *l)
{
	const uint32_t ready = LAUNCH_READY;
	struct terminal t = {-1, -1};
	struct executable x = {0};
	struct error err = {0};

	if (leave_agent(l, &err) < 0)
		fail(l, &err);
	if ((l->container ? make_container(l->container, &t, &err) : join_container(l, &t, &err)) <
	    0)
		fail(l, &err);
	if (set_streams(l, &t, &err) < 0 || become(l, &x, &err) < 0)
		fail(l, &err);
	close_range(l->streams_n, ~0U, CLOSE_RANGE_CLOEXEC);
	send_message(l, &ready, sizeof(ready), t.master);
	if (t.master >= 0)
		close(t.master);
	if (l->container)
		wait_for_go(l);
	if (identity_seal(l->process, &err) < 0)
		fail(l, &err);
	execve(x.path, x.args, x.env);
	executable_error(&err, errno, l->process->args.v[0]);
	fail(l, &err);
}
