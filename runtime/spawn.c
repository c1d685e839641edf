// SPDX-License-Identifier: Apache-2.0
#include "runtime/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fds.h"
#include "lib/timeline.h"
#include "runtime/client.h"
#include "runtime/proxy.h"

struct pipes { /* the child's ends */
	int gate, status;
};

static int make_pipes(struct spawned *s, struct pipes *p, struct error *err)
{
	int gate[2], status[2];

	*s = (struct spawned)SPAWNED_NONE;
	if (pipe2(gate, O_CLOEXEC) < 0)
		return error_errno(err, "pipe");
	if (pipe2(status, O_CLOEXEC) < 0) {
		close(gate[0]);
		close(gate[1]);
		return error_errno(err, "pipe");
	}
	*s = (struct spawned){.gate_fd = gate[1], .status_fd = status[0]};
	*p = (struct pipes){.gate = gate[0], .status = status[1]};
	return 0;
}

/* fork(2) into new namespaces. */
static pid_t fork_into(uint64_t namespaces)
{
	struct clone_args args = {.flags = namespaces, .exit_signal = SIGCHLD};

	return (pid_t)syscall(SYS_clone3, &args, sizeof(args));
}

static int do_fork(struct spawned *s, struct pipes *p, uint64_t namespaces, struct error *err)
{
	s->pid = namespaces ? fork_into(namespaces) : fork();
	if (s->pid == 0) {
		close(s->gate_fd);
		close(s->status_fd);
		return 0;
	}
	close(p->gate);
	close(p->status);
	if (s->pid < 0) {
		s->pid = 0;
		error_errno(err, "fork");
		spawn_done(s);
		return -err->code;
	}
	return 1;
}

static void byte(int fd)
{
	if (fd >= 0 && write(fd, "", 1) < 0)
		return; /* it is gone; its status says so */
}

void spawn_go(struct spawned *s)
{
	byte(s->gate_fd);
}

void spawn_commit(struct spawned *s)
{
	byte(s->gate_fd);
}

void spawn_done(struct spawned *s)
{
	cleanup_close(&s->gate_fd);
	cleanup_close(&s->status_fd);
	s->gate_fd = s->status_fd = -1;
}

static void wait_gate(const struct pipes *p)
{
	char c;

	if (read(p->gate, &c, 1) != 1)
		_exit(255);
}

static int enter_netns(const struct spawn_proxy *o, struct error *err)
{
	_cleanup_close_ int fd = -1;

	if (!o->join_netns)
		return 0;
	if (!o->netns)
		return unshare(CLONE_NEWNET) < 0 ? error_errno(err, "make a network namespace") : 0;
	fd = open(o->netns, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return error_errno(err, "network namespace '%s'", o->netns);
	if (setns(fd, CLONE_NEWNET) < 0)
		return error_errno(err, "join the network namespace '%s'", o->netns);
	return 0;
}

/* An empty error says: at the gate. */
static void tell(int fd, struct error *err)
{
	if (write(fd, err, sizeof(*err)) < 0 || err->code)
		_exit(255);
}

__attribute__((noreturn)) static void proxy_child(const struct spawn_proxy *o,
						  const struct pipes *pipes)
{
	struct proxy p = {.type = o->type,
			  .request = o->request,
			  .tty = o->tty_fd,
			  .extra_fds = o->preserve_fds,
			  .status_fd = pipes->status,
			  .lifeline_fd = pipes->gate};
	int keep[] = {pipes->gate, pipes->status, o->dir_fd, o->tty_fd, o->hold_fd, timeline_fd};
	struct error err = {0};
	int fd;

	fds_close_but(3 + (int)o->preserve_fds, keep, ARRAY_SIZE(keep));
	if (!o->attached) {
		setsid();
		if (o->tty_fd >= 0)
			ioctl(o->tty_fd, TIOCSCTTY, 0);
		if (chdir("/") < 0)
			_exit(255);
	}
	enter_netns(o, &err);
	tell(pipes->status, &err);
	wait_gate(pipes);
	fd = client_connect(o->dir_fd, &err);
	if (fd < 0) {
		tell(pipes->status, &err);
		_exit(255);
	}
	close(o->dir_fd);
	frames_init(&p.frames, fd, WIRE_GUEST_PAYLOAD_MAX);
	proxy_main(&p);
}

int spawn_proxy(const struct spawn_proxy *o, struct spawned *ret, struct error *err)
{
	struct error child = {0};
	struct pipes pipes;
	int rc;

	if (make_pipes(ret, &pipes, err) < 0)
		return -err->code;
	rc = do_fork(ret, &pipes, 0, err);
	if (rc == 0)
		proxy_child(o, &pipes);
	if (rc < 0)
		return rc;
	if (read(ret->status_fd, &child, sizeof(child)) != (ssize_t)sizeof(child))
		error_set(&child, ECHILD, "the proxy ended before it was at work");
	if (!child.code)
		return 0;
	*err = child;
	spawn_done(ret);
	return -err->code;
}

/* A copy that survives execve(2), with a number that is nobody else's. */
static int pass(int fd)
{
	int copy = fd < 0 ? -1 : fcntl(fd, F_DUPFD, 64);

	if (fd >= 0 && copy < 0)
		_exit(255);
	return copy;
}

static int encode_machine(struct machine *m)
{
	int fd = memfd_create("caisson-machine", MFD_CLOEXEC);
	struct msg msg;

	msg_init_encode(&msg);
	machine_codec(&msg, m);
	if (msg.broken || fd < 0 || write(fd, msg.data, msg.size) != (ssize_t)msg.size)
		return -1;
	msg_done(&msg);
	return fd;
}

__attribute__((noreturn)) static void monitor_child(const char *path, struct machine m,
						    const struct pipes *pipes, int oom_score_adj)
{
	char *argv[] = {(char *)"caisson-vmm", m.id, NULL};
	int null = open("/dev/null", O_RDWR), fd;
	struct machine_disk disks[16];
	struct machine_nic nics[32];
	struct machine_function functions[32];
	sigset_t none;
	FILE *f;

	wait_gate(pipes);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	if (chdir("/") < 0 || null < 0 || m.disks_n > ARRAY_SIZE(disks) ||
	    m.nics_n > ARRAY_SIZE(nics) || m.functions_n > ARRAY_SIZE(functions))
		_exit(255);
	for (uint32_t i = 0; i < m.disks_n; i++) {
		disks[i] = m.disks[i];
		disks[i].fd = pass(disks[i].fd);
	}
	for (uint32_t i = 0; i < m.nics_n; i++) {
		nics[i] = m.nics[i];
		nics[i].tap_fd = pass(nics[i].tap_fd);
	}
	for (uint32_t i = 0; i < m.functions_n; i++) {
		functions[i] = m.functions[i];
		functions[i].device_fd = pass(functions[i].device_fd);
	}
	m.disks = disks;
	m.nics = nics;
	m.functions = functions;
	m.memory_fd = pass(m.memory_fd);
	m.growth_fd = pass(m.growth_fd);
	m.listen_fd = pass(m.listen_fd);
	m.log_fd = pass(m.log_fd);
	m.timeline_fd = pass(timeline_fd);
	m.status_fd = pass(pipes->status);
	m.lifeline_fd = pass(pipes->gate);
	f = fopen("/proc/self/oom_score_adj", "we");
	if (f) {
		fprintf(f, "%d", oom_score_adj);
		fclose(f);
	}
	fd = encode_machine(&m);
	if (fd < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(m.log_fd, 2) < 0 ||
	    (fd == MACHINE_FD ? fcntl(fd, F_SETFD, 0) : dup2(fd, MACHINE_FD)) < 0)
		_exit(255);
	close_range(MACHINE_FD + 1, 63, 0);
	execv(path, argv);
	dprintf(m.status_fd, "run '%s': %s", path, strerror(errno));
	_exit(255);
}

int spawn_monitor(const char *path, const struct machine *m, int oom_score_adj, struct spawned *ret,
		  struct error *err)
{
	/* The first process of a pid namespace cannot stop itself, which is what a test may have
	 * asked it to do (lib/timeline.h). */
	const uint64_t namespaces = getenv("CAISSON_STOP_AT") ? 0 : CLONE_NEWPID;
	struct pipes pipes;
	int rc;

	if (access(path, X_OK) < 0)
		return error_errno(err, "the machine monitor '%s'", path);
	if (make_pipes(ret, &pipes, err) < 0)
		return -err->code;
	rc = do_fork(ret, &pipes, namespaces, err);
	if (rc == 0)
		monitor_child(path, *m, &pipes, oom_score_adj);
	return rc < 0 ? rc : 0;
}
