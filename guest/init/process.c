// SPDX-License-Identifier: Apache-2.0
#include "guest/init/process.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest/init/cgroup.h"
#include "guest/init/channel.h"
#include "guest/init/container.h"
#include "guest/init/kmsg.h"
#include "guest/init/launch.h"
#include "guest/init/terminal.h"
#include "lib/cleanup.h"

#define PROCESSES_MAX 1024
#define JOINABLE (CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP | CLONE_NEWNET)
/* Made by clone(2); the cgroup namespace has to wait until the process is in its group. */
#define CLONEABLE (CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET)

static struct process *processes;
static unsigned int processes_n;

struct process *process_of_session(uint32_t session)
{
	struct process *p = processes;

	while (p && p->session != session)
		p = p->next;
	return p;
}

struct process *process_in_container(const struct container *c)
{
	struct process *p = processes;

	while (p && (p->container != c || p->is_first))
		p = p->next;
	return p;
}

static void process_free(struct process *p)
{
	for (struct process **at = &processes; *at; at = &(*at)->next) {
		if (*at == p) {
			*at = p->next;
			processes_n--;
			break;
		}
	}
	for (uint32_t i = 0; i < p->streams_n; i++)
		stream_done(&p->streams[i]);
	loop_remove(&p->sync);
	if (p->sync.fd >= 0)
		close(p->sync.fd);
	if (p->pidfd >= 0)
		close(p->pidfd);
	free(p);
}

static void send_exited(const struct process *p)
{
	struct wire_exited x = {.oom = container_check_oom(p->container)};
	struct msg m;

	if (WIFSIGNALED(p->status))
		x.signal = WTERMSIG(p->status);
	else
		x.status = WEXITSTATUS(p->status);
	msg_init_encode(&m);
	wire_exited_codec(&m, &x);
	channel_send(WIRE_EXITED, 0, p->session, m.data, (uint32_t)m.size);
	msg_done(&m);
}

/* Forgets a released process when its last stream has ended. */
static void settle(struct process *p)
{
	struct container *c = p->container;
	bool first = p->is_first;

	if (!p->released || p->held)
		return;
	for (uint32_t i = 0; i < p->streams_n; i++)
		if (p->streams[i].out.watch.fd >= 0)
			return;
	if (!p->settled)
		send_exited(p);
	process_free(p);
	container_process_gone(c, first);
}

/* Streams know their process by their number: they lie in its array. */
static void on_stream_ended(struct stream *s)
{
	settle(container_of(s - s->number, struct process, streams));
}

void process_release(struct process *p)
{
	p->released = true;
	p->held++;
	for (uint32_t i = 0; i < p->streams_n; i++)
		stream_drain(&p->streams[i]);
	p->held--;
	settle(p);
}

static void reply(struct process *p, int code, const char *text)
{
	if (p->reply_to)
		channel_result(p->reply_to, code, text);
	p->reply_to = 0;
}

static void attach_terminal(struct process *p, int master)
{
	int again;

	fcntl(master, F_SETFL, O_RDWR | O_NONBLOCK);
	again = fcntl(master, F_DUPFD_CLOEXEC, 0);
	stream_attach(&p->streams[0], again, -1);
	stream_attach(&p->streams[1], -1, master);
}

/* One message from the process: true if there was one. */
static bool sync_receive(struct process *p, struct launch_message *m, int *ret_fd, bool *ret_eof)
{
	union {
		struct cmsghdr h;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = m, .iov_len = sizeof(*m)};
	struct msghdr h = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n = recvmsg(p->sync.fd, &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&h) : NULL;

	*ret_fd = -1;
	if (c && c->cmsg_type == SCM_RIGHTS)
		memcpy(ret_fd, CMSG_DATA(c), sizeof(int));
	*ret_eof = n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
	return n > 0;
}

static void on_launch_ready(struct process *p, int master)
{
	if (master >= 0)
		attach_terminal(p, master);
	if (p->is_first) {
		p->state = PROCESS_PREPARED;
		container_first_ready(p->container);
		reply(p, 0, NULL);
	} else {
		p->state = PROCESS_STARTING;
	}
}

/* execve(2) has succeeded, or the process is dead, which SIGCHLD will tell. */
static void on_launch_done(struct process *p)
{
	loop_remove(&p->sync);
	close(p->sync.fd);
	p->sync.fd = -1;
	if (p->failure.code || p->state != PROCESS_STARTING)
		return;
	p->state = PROCESS_RUNNING;
	reply(p, 0, NULL);
	for (uint32_t i = 0; i < p->streams_n; i++)
		stream_enable(&p->streams[i]);
}

static void sync_take(struct process *p)
{
	struct launch_message m = {0}; /* a short message leaves the rest empty */
	bool eof = false;
	int fd;

	while (p->sync.fd >= 0 && sync_receive(p, &m, &fd, &eof)) {
		if (m.kind == LAUNCH_READY && p->state == PROCESS_PREPARING) {
			on_launch_ready(p, fd);
			fd = -1;
		} else if (m.kind == LAUNCH_FAILED) {
			p->failure = m.error;
			p->failure.text[sizeof(p->failure.text) - 1] = 0;
		}
		if (fd >= 0)
			close(fd);
	}
	if (eof && p->sync.fd >= 0)
		on_launch_done(p);
}

static void on_sync(struct watch *w, uint32_t events)
{
	struct process *p = container_of(w, struct process, sync);

	(void)events;
	p->held++;
	sync_take(p);
	p->held--;
	settle(p);
}

/* A pair of pipe ends or sockets: [0] ours and non-blocking, [1] the process's. */
static int make_pair(int fds[2], uint32_t number)
{
	int ends[2];

	if (number >= 3) {
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
			return -errno;
	} else if (pipe2(ends, O_CLOEXEC) < 0) {
		return -errno;
	}
	fds[0] = ends[number == 0];
	fds[1] = ends[number != 0];
	fcntl(fds[0], F_SETFL,
	      (number == 0  ? O_WRONLY
	       : number < 3 ? O_RDONLY
			    : O_RDWR) |
		      O_NONBLOCK);
	return 0;
}

static int make_streams(struct process *p, struct launch *l, struct error *err)
{
	l->streams_n = p->streams_n;
	for (uint32_t i = 0; i < WIRE_STREAMS_MAX; i++)
		l->streams[i] = -1;
	for (uint32_t i = 0; i < p->streams_n; i++) {
		struct stream *s = &p->streams[i];
		int fds[2] = {-1, -1}, rc;

		stream_init(s, p->session, (uint8_t)i, i == 0 || i >= 3);
		s->ended = on_stream_ended;
		s->terminal = p->terminal && i < 3;
		s->socket = i >= 3;
		if (s->terminal)
			continue;
		rc = make_pair(fds, i);
		if (rc < 0) {
			errno = -rc;
			return error_errno(err, "make stream %u", i);
		}
		l->streams[i] = fds[1];
		stream_attach(s,
			      i == 0	  ? fds[0]
			      : s->socket ? dup(fds[0])
					  : -1,
			      i == 0 ? -1 : fds[0]);
		if (s->socket)
			fcntl(s->in.watch.fd, F_SETFD, FD_CLOEXEC);
	}
	return 0;
}

static void close_launch(struct launch *l)
{
	for (uint32_t i = 0; i < l->streams_n; i++)
		if (l->streams[i] >= 0)
			close(l->streams[i]);
	if (l->sync >= 0)
		close(l->sync);
}

/*
 * The agent is exempt from the OOM killer, and what it clones would be too: a
 * process that its group has no memory for would then wait forever.
 */
static void set_oom_exempt(bool exempt)
{
	static int fd = -1; /* opened once, kept */
	const char *text = exempt ? "-1000" : "0";

	if (fd < 0)
		fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (pwrite(fd, text, strlen(text), 0) < 0)
		kmsg_line("cannot set oom_score_adj to %s: %s", text, strerror(errno));
}

/* In the child this does not return. */
static pid_t clone_into(struct launch *l, uint64_t flags, int group, int *ret_pidfd)
{
	struct clone_args args = {
		.flags = flags | CLONE_PIDFD | CLONE_INTO_CGROUP | CLONE_CLEAR_SIGHAND,
		.pidfd = (uintptr_t)ret_pidfd,
		.exit_signal = SIGCHLD,
		.cgroup = (uint64_t)group,
	};
	pid_t pid;
	int saved;

	set_oom_exempt(false);
	pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	if (pid == 0)
		launch_run(l);
	saved = errno;
	set_oom_exempt(true);
	errno = saved;
	return pid;
}

/*
 * The agent itself steps into a container's pid namespace for the moment of a
 * clone(2), so that the process is its own child and takes one clone(2) only.
 */
static int enter_pids(int pidfd, struct error *err)
{
	if (setns(pidfd, CLONE_NEWPID) < 0)
		return error_errno(err, "join the container's pid namespace");
	return 0;
}

static void leave_pids(void)
{
	static int own = -1; /* opened once, kept */

	if (own < 0)
		own = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
	if (setns(own, CLONE_NEWPID) < 0)
		kmsg_line("cannot return to the own pid namespace: %s", strerror(errno));
}

static int spawn_first(struct process *p, struct launch *l, struct error *err)
{
	const uint64_t flags = CLONE_NEWNS | (l->container->unshare & CLONEABLE);
	int pids = container_pids(p->container);

	if (pids >= 0 && enter_pids(pids, err) < 0)
		return -err->code;
	p->pid = clone_into(l, flags, p->container->group, &p->pidfd);
	if (p->pid < 0)
		error_errno(err, "start the container's first process");
	if (pids >= 0)
		leave_pids();
	return p->pid < 0 ? -err->code : 0;
}

static int spawn_other(struct process *p, struct launch *l, struct error *err)
{
	const struct container *c = p->container;
	int pids = c->unshare & CLONE_NEWPID ? c->first->pidfd : container_pids(c);

	l->join = c->first->pidfd;
	l->join_flags = CLONE_NEWNS | (int)(c->unshare & JOINABLE);
	if (pids >= 0 && enter_pids(pids, err) < 0)
		return -err->code;
	p->pid = clone_into(l, 0, c->group, &p->pidfd);
	if (p->pid < 0 && errno == EBUSY) {
		/* The container has made groups below its own, which must not have members. */
		_cleanup_close_ int group = cgroup_of_process(c->first->pid);

		p->pid = group < 0 ? -1 : clone_into(l, 0, group, &p->pidfd);
	}
	if (p->pid < 0)
		error_errno(err, "start a process in the container");
	if (pids >= 0)
		leave_pids();
	return p->pid < 0 ? -err->code : 0;
}

static struct process *process_new(struct container *c, uint32_t session,
				   const struct spec_process *spec, struct error *err)
{
	uint32_t n = 3 + spec->extra_fds;
	struct process *p;

	if (spec->extra_fds > WIRE_STREAMS_MAX - 3) {
		error_set(err, EINVAL, "%u extra descriptors: too many", spec->extra_fds);
		return NULL;
	}
	if (processes_n >= PROCESSES_MAX) {
		error_set(err, EAGAIN, "%u processes: too many", processes_n);
		return NULL;
	}
	p = calloc(1, sizeof(*p) + n * sizeof(p->streams[0]));
	if (!p) {
		error_set(err, ENOMEM, "out of memory");
		return NULL;
	}
	p->session = p->reply_to = session;
	p->container = c;
	p->terminal = spec->terminal;
	p->streams_n = n;
	p->pid = p->pidfd = -1;
	p->sync = (struct watch){.fd = -1, .ready = on_sync};
	for (uint32_t i = 0; i < n; i++)
		p->streams[i].in.watch.fd = p->streams[i].out.watch.fd = -1;
	p->next = processes;
	processes = p;
	processes_n++;
	return p;
}

int process_start(struct container *c, uint32_t session, const struct spec_container *spec,
		  const struct spec_process *spec_process, struct error *err)
{
	struct launch l = {.process = spec_process, .container = spec, .join = -1, .sync = -1};
	struct process *p = process_new(c, session, spec_process, err);
	int sync[2], rc;

	if (!p)
		return -err->code;
	p->is_first = spec;
	rc = make_streams(p, &l, err);
	if (rc == 0 && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sync) < 0)
		rc = error_errno(err, "make a socket pair");
	if (rc == 0) {
		p->sync.fd = sync[0];
		l.sync = sync[1];
		rc = spec ? spawn_first(p, &l, err) : spawn_other(p, &l, err);
	}
	close_launch(&l);
	if (rc == 0)
		rc = loop_add(&p->sync, EPOLLIN);
	if (rc < 0) {
		if (p->pid > 0)
			kill(p->pid, SIGKILL); /* reaped as anyone's */
		process_free(p);
		return rc;
	}
	if (spec)
		c->first = p;
	return 0;
}

void process_go(struct process *p, uint32_t reply_to)
{
	const uint32_t go = LAUNCH_GO;

	p->reply_to = reply_to;
	p->state = PROCESS_STARTING;
	/* If it is dead, that it has ended is on its way. */
	send(p->sync.fd, &go, sizeof(go), MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Why a process that was to be started is not. */
static void fail_request(struct process *p)
{
	struct error *err = &p->failure;

	if (!err->code && WIFSIGNALED(p->status))
		error_set(err, EIO, "the process was killed by signal %d%s before it was started",
			  WTERMSIG(p->status),
			  container_check_oom(p->container) ? " (out of memory)" : "");
	else if (!err->code)
		error_set(err, EIO, "the process ended before it was started");
	reply(p, err->code, err->text);
}

static void on_ended(struct process *p, int status)
{
	p->held++;
	p->ended = true;
	p->status = status;
	sync_take(p);
	if (p->state != PROCESS_RUNNING) {
		/* The host knows of a created container, and of nothing that failed before. */
		p->settled = p->state == PROCESS_PREPARING ||
			     (p->state == PROCESS_STARTING && !p->is_first);
		for (uint32_t i = 0; p->settled && i < p->streams_n; i++)
			stream_mute(&p->streams[i]);
		if (p->state != PROCESS_PREPARED)
			fail_request(p);
	}
	p->pid = -1;
	p->held--;
	if (p->is_first)
		container_first_ended(p->container);
	else
		process_release(p);
}

void process_reap_all(void)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		struct process *p = processes;

		while (p && p->pid != pid)
			p = p->next;
		if (p) /* else an orphan, which is all there is to do for it */
			on_ended(p, status);
	}
}

int process_signal(struct process *p, int signal, struct error *err)
{
	/* Not reaped yet: the pid cannot be anyone else's. */
	if (p->ended)
		return error_set(err, ESRCH, "the process has ended");
	if (kill(p->pid, signal) < 0)
		return error_errno(err, "send signal %d", signal);
	return 0;
}

void process_resize(struct process *p, uint16_t rows, uint16_t columns)
{
	int master = p->streams[1].out.watch.fd;

	if (p->terminal && master >= 0)
		terminal_resize(master, rows, columns);
}

void process_hangup(struct process *p)
{
	p->held++;
	for (uint32_t i = 0; i < p->streams_n; i++)
		stream_mute(&p->streams[i]);
	p->held--;
	if (p->is_first && !p->ended)
		container_kill(p->container);
	else if (!p->ended)
		kill(p->pid, SIGKILL);
	settle(p);
}

void process_hangup_all(void)
{
	struct process *next;

	for (struct process *p = processes; p; p = next) {
		next = p->next;
		process_hangup(p);
	}
}

int process_stream_data(uint32_t session, uint8_t stream, const uint8_t *data, uint32_t size)
{
	struct process *p = process_of_session(session);

	if (!p)
		return 0; /* it ended while this was on its way */
	return stream < p->streams_n ? stream_data(&p->streams[stream], data, size) : -EPROTO;
}

int process_stream_credit(uint32_t session, uint8_t stream, uint32_t bytes)
{
	struct process *p = process_of_session(session);

	if (!p)
		return 0;
	return stream < p->streams_n ? stream_credit(&p->streams[stream], bytes) : -EPROTO;
}

void process_resume_all(void)
{
	struct process *next;

	for (struct process *p = processes; p; p = next) {
		p->held++;
		for (uint32_t i = 0; i < p->streams_n; i++)
			stream_resume(&p->streams[i]);
		p->held--;
		next = p->next;
		settle(p);
	}
}
