// SPDX-License-Identifier: Apache-2.0
/*
 * caisson-vmm: the machine monitor, one process per sandbox.  It is given the
 * machine (vmm/machine.h) on descriptor MACHINE_FD, starts it on its engine, goes
 * into its own jail, relays between clients and the agent, and ends when the last
 * container has ended, when the guest ends, or when it is told to (SIGTERM).
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/confine.h"
#include "lib/error.h"
#include "lib/timeline.h"
#include "vmm/console.h"
#include "vmm/engine/engine.h"
#include "vmm/jail.h"
#include "vmm/machine.h"
#include "vmm/relay.h"

enum { EVENT_SIGNAL = 1, EVENT_EXIT, EVENT_CONSOLE, EVENT_LIFELINE };

struct vmm {
	struct machine machine;
	struct relay_machine control;
	const struct engine_ops *engine;
	struct guest *guest;
	struct relay relay;
	struct console console;
	int epoll_fd, signal_fd;
	bool committed; /* the command said that the sandbox is to stay */
	uint64_t boot_deadline_ns;
};

static int machine_read(struct machine *ret, struct msg *m, struct error *err)
{
	struct stat st;
	void *data;

	if (fstat(MACHINE_FD, &st) < 0 || st.st_size <= 0 || st.st_size > (off_t)MSG_SIZE_MAX)
		return error_set(err, EINVAL,
				 "no machine on descriptor %d: caisson-vmm is started by caisson",
				 MACHINE_FD);
	data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, MACHINE_FD, 0);
	if (data == MAP_FAILED)
		return error_errno(err, "map the machine");
	msg_init_decode(m, data, (size_t)st.st_size);
	machine_codec(m, ret);
	if (msg_finish(m) < 0)
		return error_set(err, EPROTO, "the machine is malformed");
	close(MACHINE_FD);
	return 0;
}

static int add_event(struct vmm *v, int fd, uint64_t data, struct error *err)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = data};

	if (fd >= 0 && epoll_ctl(v->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
		return error_errno(err, "watch a descriptor");
	return 0;
}

/* What the loop needs of the kernel. */
static const int allowed[] = {
	SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait), /* the loop */
	SCMP_SYS(epoll_ctl),			     /* interest changes with the queues */
	SCMP_SYS(accept4),			     /* clients */
	SCMP_SYS(recvfrom),   SCMP_SYS(sendto),	     /* frames, console */
	SCMP_SYS(read),	      SCMP_SYS(write),	     /* lifeline, signals, log, timeline */
	SCMP_SYS(poll),	 /* waits for the end of a guest whose channel closed */
	SCMP_SYS(close), /* clients that left */
	SCMP_SYS(wait4),      SCMP_SYS(pidfd_send_signal), /* the guest's process */
};

/* Once the guest is made, the monitor needs nothing of the host any more. */
static int confine(struct vmm *v, struct error *err)
{
	struct jail jail = {.dir = v->machine.jail_dir};

	if (jail_uid(&jail.uid, err) < 0)
		return -err->code;
	if (unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) < 0)
		return error_errno(err, "make namespaces");
	if (jail_enter(&jail, err) < 0 || v->engine->launch(v->guest, err) < 0)
		return -err->code;
	timeline_mark("launch");
	return confine_syscalls(allowed, ARRAY_SIZE(allowed), err);
}

static int cannot(const struct vmm *v, const char *what, struct error *err)
{
	return error_set(err, EOPNOTSUPP, "engine %s cannot %s", v->engine->name, what);
}

static int pause_machine(void *arg, struct error *err)
{
	struct vmm *v = arg;

	if (!v->engine->pause || !v->engine->resume)
		return cannot(v, "pause a machine", err);
	return v->engine->pause(v->guest, err);
}

static int resume_machine(void *arg, struct error *err)
{
	struct vmm *v = arg;

	return v->engine->resume(v->guest, err);
}

static int resize_machine(void *arg, uint64_t bytes, struct error *err)
{
	struct vmm *v = arg;

	if (!v->engine->resize && bytes >= v->machine.memory)
		return 0; /* it has all of it */
	if (!v->engine->resize)
		return cannot(v, "take memory back from a guest", err);
	return v->engine->resize(v->guest, bytes, err);
}

static int vmm_start(struct vmm *v, struct error *err)
{
	sigset_t set;

	prctl(PR_SET_NAME, "caisson-vmm");
	/* Threads share one heap: they allocate next to nothing, and their filters have not the
	 * calls that make another. */
	mallopt(M_ARENA_MAX, 1);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	v->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	v->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (v->signal_fd < 0 || v->epoll_fd < 0)
		return error_errno(err, "make an event loop");
	v->engine = engine_find(v->machine.engine, err); /* the command has looked */
	if (!v->engine)
		return -err->code;
	if (v->machine.serve_shares)
		v->machine.sandbox.shares = v->engine->shares;
	if (v->engine->start(&v->machine, &v->guest, err) < 0)
		return -err->code;
	v->boot_deadline_ns = monotonic_ns() + v->machine.boot_timeout_ms * 1000000ull;
	v->console.fd = v->engine->console_fd(v->guest);
	if (add_event(v, v->signal_fd, EVENT_SIGNAL, err) < 0 ||
	    add_event(v, v->engine->exit_fd(v->guest), EVENT_EXIT, err) < 0 ||
	    add_event(v, v->console.fd, EVENT_CONSOLE, err) < 0 ||
	    add_event(v, v->machine.lifeline_fd, EVENT_LIFELINE, err) < 0)
		return -err->code;
	v->control = (struct relay_machine){pause_machine, resume_machine, resize_machine, v};
	if (relay_init(&v->relay, v->epoll_fd, v->machine.listen_fd, v->engine->agent_fd(v->guest),
		       &v->machine.sandbox, &v->control, err) < 0)
		return -err->code;
	return confine(v, err);
}

/* What a dead guest left to say is in the console. */
static int guest_ended(struct vmm *v, struct error *err)
{
	char reason[512];
	int rc = v->engine->wait(v->guest, err);

	console_read_all(&v->console);
	console_reason(&v->console, reason, sizeof(reason));
	if (rc < 0)
		return reason[0] ? error_wrap(err, "the guest said '%s'", reason) : -err->code;
	return error_set(err, ECHILD, "the guest ended by itself: %s",
			 reason[0] ? reason : "it said nothing");
}

/* A channel that closes is most often the first sign of a guest that has ended, which says more. */
static int relay_failed(struct vmm *v, struct error *err)
{
	struct pollfd pfd = {.fd = v->engine->exit_fd(v->guest), .events = POLLIN};

	if (err->code == EPIPE && poll(&pfd, 1, 1000) == 1)
		return guest_ended(v, err);
	return -err->code;
}

/* 0: go on; 1: an orderly end; -errno. */
static int own_event(struct vmm *v, uint64_t data, struct error *err)
{
	char byte;

	switch (data) {
	case EVENT_SIGNAL:
		return 1;
	case EVENT_EXIT:
		return guest_ended(v, err);
	case EVENT_CONSOLE:
		if (console_read(&v->console) < 0)
			epoll_ctl(v->epoll_fd, EPOLL_CTL_DEL, v->console.fd, NULL);
		return 0;
	case EVENT_LIFELINE:
		if (read(v->machine.lifeline_fd, &byte, 1) != 1)
			return v->committed ? 0 : 1;
		v->committed = true;
		epoll_ctl(v->epoll_fd, EPOLL_CTL_DEL, v->machine.lifeline_fd, NULL);
		return 0;
	}
	return 0;
}

static int boot_timeout(struct vmm *v, struct error *err)
{
	char reason[512];
	uint64_t now = monotonic_ns();

	if (v->relay.phase == RELAY_RUNNING)
		return -1;
	if (now < v->boot_deadline_ns)
		return (int)((v->boot_deadline_ns - now) / 1000000) + 1;
	console_reason(&v->console, reason, sizeof(reason));
	error_set(err, ETIMEDOUT, "the guest did not come up within %u ms: %s",
		  v->machine.boot_timeout_ms, reason[0] ? reason : "it said nothing");
	return 0;
}

/* 0 for an orderly end, -errno with the reason otherwise. */
static int vmm_loop(struct vmm *v, struct error *err)
{
	struct epoll_event events[32];
	int n, rc;

	for (;;) {
		int timeout = boot_timeout(v, err);

		if (timeout == 0)
			return -err->code;
		n = epoll_wait(v->epoll_fd, events, ARRAY_SIZE(events), timeout);
		if (n < 0 && errno != EINTR)
			return error_errno(err, "epoll_wait");
		for (int i = 0; i < n; i++) {
			uint64_t data = events[i].data.u64;

			if (data >= RELAY_EVENT)
				rc = relay_event(&v->relay, data, events[i].events, err) < 0
					     ? relay_failed(v, err)
					     : 0;
			else
				rc = own_event(v, data, err);
			if (rc)
				return rc < 0 ? rc : 0;
		}
		if (v->relay.had_owner && !v->relay.owners)
			return 0;
	}
}

/* write(2), since stdio needs more than the seccomp filter allows.  Nothing can be done about a
 * failure. */
static void tell(int fd, const char *line)
{
	if (write(fd, line, strlen(line)) < 0 || write(fd, "\n", 1) < 0)
		return;
}

/* Ends the guest before anybody learns that the monitor has ended. */
static void vmm_done(struct vmm *v)
{
	if (v->guest)
		v->engine->kill(v->guest);
	if (v->guest)
		v->engine->wait(v->guest, NULL);
	timeline_mark("machine-gone");
	relay_done(&v->relay);
}

int main(void)
{
	static struct vmm v = {.epoll_fd = -1, .signal_fd = -1, .console.fd = -1};
	struct error err = {0};
	struct msg m;

	if (machine_read(&v.machine, &m, &err) < 0) {
		fprintf(stderr, "caisson-vmm: %s\n", err.text);
		return 1;
	}
	timeline_fd = v.machine.timeline_fd;
	timeline_mark("monitor");
	if (vmm_start(&v, &err) < 0 || vmm_loop(&v, &err) < 0) {
		tell(v.machine.log_fd, err.text);
		console_dump(&v.console, v.machine.log_fd);
		if (!v.committed)
			tell(v.machine.status_fd, err.text);
	}
	vmm_done(&v);
	msg_done(&m);
	return err.code ? 1 : 0;
}
