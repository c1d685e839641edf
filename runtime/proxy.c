// SPDX-License-Identifier: Apache-2.0
#include "runtime/proxy.h"

#include <errno.h>
#include <poll.h>
#include <seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/confine.h"
#include "lib/timeline.h"
#include "lib/wire.h"
#include "runtime/client.h"
#include "vmm/jail.h"

/* One of the process's streams on this side.  Descriptors are left in blocking mode (they are
 * shared with whoever gave them): what poll(2) says is used for one read or one small write. */
struct stream {
	int in, out;	/* read from, written to; -1: not (any more) */
	int64_t credit; /* what may still be sent to the guest */
	uint8_t *queue; /* from the guest, not yet written; at most WIRE_WINDOW */
	size_t queue_start, queue_end;
	bool out_ends; /* the guest ended the stream: close after the queue */
};

/* A pipe that poll(2) calls writable takes this much without blocking. */
#define WRITE_MAX 4096u

struct session {
	struct proxy *p;
	struct stream streams[WIRE_STREAMS_MAX];
	unsigned int streams_n;
	int signal_fd;
	bool answered, requested;
	uint64_t pending_signals; /* bit N - 1: signal N waits for the answer to the one before */
	bool exited;
	struct wire_exited exit;
};

static void report(struct session *s, struct error *err)
{
	if (s->p->status_fd >= 0 && write(s->p->status_fd, err, sizeof(*err)) < 0)
		_exit(255);
	cleanup_close(&s->p->status_fd);
	s->p->status_fd = -1;
}

/* The sandbox is gone under the process: it ended as if it had been killed. */
__attribute__((noreturn)) static void end_killed(struct session *s, const char *why)
{
	struct error err = {0};

	if (!s->answered) {
		error_set(&err, EPIPE, "%s", why);
		report(s, &err);
		_exit(255);
	}
	kill(getpid(), SIGKILL);
	_exit(137);
}

static void put(struct session *s, const struct wire_header *h, const void *payload)
{
	if (frames_put(&s->p->frames, h, payload) < 0)
		end_killed(s, "out of memory");
}

static void put_msg(struct session *s, uint8_t type, uint8_t stream, struct msg *m)
{
	if (frames_put_msg(&s->p->frames, type, 0, stream, m) < 0)
		end_killed(s, "the request is too long");
	msg_done(m);
}

static void send_size(struct session *s)
{
	struct wire_resize size;
	struct winsize ws;
	struct msg m;

	if (s->p->tty < 0 || ioctl(s->p->tty, TIOCGWINSZ, &ws) < 0 || !ws.ws_row || !ws.ws_col)
		return;
	size = (struct wire_resize){.rows = ws.ws_row, .columns = ws.ws_col};
	msg_init_encode(&m);
	wire_resize_codec(&m, &size);
	put_msg(s, WIRE_RESIZE, 0, &m);
}

static void send_signal(struct session *s, int signal)
{
	struct wire_signal x = {.signal = signal};
	struct msg m;

	if (s->requested) { /* one request at a time */
		s->pending_signals |= 1ull << (signal - 1);
		return;
	}
	s->requested = true;
	s->pending_signals &= ~(1ull << (signal - 1));
	msg_init_encode(&m);
	wire_signal_codec(&m, &x);
	put_msg(s, WIRE_SIGNAL, 0, &m);
}

static void handle_signal(struct session *s)
{
	struct signalfd_siginfo si;

	if (read(s->signal_fd, &si, sizeof(si)) != (ssize_t)sizeof(si))
		return;
	if (si.ssi_signo == SIGWINCH)
		send_size(s);
	else if (s->answered)
		send_signal(s, (int)si.ssi_signo);
	else
		end_killed(s, "interrupted");
}

static void send_credit(struct session *s, uint8_t stream, size_t bytes)
{
	struct wire_credit credit = {.bytes = (uint32_t)bytes};
	struct msg m;

	msg_init_encode(&m);
	wire_credit_codec(&m, &credit);
	put_msg(s, WIRE_CREDIT, stream, &m);
}

/* From our side to the guest. */
static void stream_read(struct session *s, uint8_t i)
{
	struct stream *st = &s->streams[i];
	struct wire_header h = {.type = WIRE_DATA, .stream = i};
	uint8_t buf[WIRE_DATA_MAX];
	size_t max = st->credit < (int64_t)sizeof(buf) ? (size_t)st->credit : sizeof(buf);
	ssize_t n = read(st->in, buf, max);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		st->in = -1;
		n = 0;
	}
	st->credit -= n;
	h.size = (uint32_t)n;
	put(s, &h, buf);
}

/* From the guest to our side. */
static void stream_write(struct session *s, uint8_t i)
{
	struct stream *st = &s->streams[i];
	size_t left = st->queue_end - st->queue_start;
	ssize_t n = write(st->out, st->queue + st->queue_start,
			  left < WRITE_MAX ? left : WRITE_MAX);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0) {
		/* Nobody reads any more: tell the guest, which closes its end, so that the
		 * process gets SIGPIPE as it would on the host; drop what is under way. */
		struct wire_header end = {.type = WIRE_DATA, .stream = i};

		put(s, &end, NULL);
		st->out = -1;
		n = (ssize_t)left;
	}
	st->queue_start += (size_t)n;
	if (st->queue_start == st->queue_end)
		st->queue_start = st->queue_end = 0;
	send_credit(s, i, (size_t)n);
}

static void stream_receive(struct session *s, const struct wire_header *h, const uint8_t *payload)
{
	struct stream *st;

	if (h->stream >= s->streams_n)
		return;
	st = &s->streams[h->stream];
	if (!h->size) {
		st->out_ends = true;
		return;
	}
	if (st->out < 0) {
		send_credit(s, h->stream, h->size);
		return;
	}
	if (!st->queue && !(st->queue = malloc(WIRE_WINDOW)))
		end_killed(s, "out of memory");
	if (st->queue_start) {
		memmove(st->queue, st->queue + st->queue_start, st->queue_end - st->queue_start);
		st->queue_end -= st->queue_start;
		st->queue_start = 0;
	}
	/* The monitor lets no more through than we gave credit for; do not depend on it. */
	if (h->size > WIRE_WINDOW - st->queue_end)
		end_killed(s, "more data than credit");
	memcpy(st->queue + st->queue_end, payload, h->size);
	st->queue_end += h->size;
}

static void take_result(struct session *s, const struct wire_header *h, const uint8_t *payload)
{
	struct error err = {0};

	client_result(h, payload, NULL, &err);
	s->requested = false;
	if (!s->answered) {
		s->answered = err.code == 0;
		if (s->answered) {
			/* A size that came before our signalfd was there is not lost. */
			send_size(s);
			timeline_mark("created");
		}
		report(s, &err);
		if (err.code)
			_exit(255);
	}
	if (s->pending_signals)
		send_signal(s, __builtin_ctzll(s->pending_signals) + 1);
}

static void take_frame(struct session *s, const struct wire_header *h, const uint8_t *payload)
{
	struct wire_credit credit;
	struct msg m;

	msg_init_decode(&m, payload, h->size);
	switch (h->type) {
	case WIRE_RESULT:
		take_result(s, h, payload);
		break;
	case WIRE_DATA:
		stream_receive(s, h, payload);
		break;
	case WIRE_CREDIT:
		wire_credit_codec(&m, &credit);
		if (msg_finish(&m) == 0 && h->stream < s->streams_n)
			s->streams[h->stream].credit += credit.bytes;
		break;
	case WIRE_EXITED:
		wire_exited_codec(&m, &s->exit);
		if (msg_finish(&m) < 0)
			end_killed(s, "malformed exit");
		s->exited = true;
		break;
	default:
		break;
	}
	msg_done(&m);
}

static void monitor_event(struct session *s, short revents)
{
	struct wire_header h;
	const uint8_t *payload;
	int rc = 0;

	if (revents & (POLLIN | POLLHUP | POLLERR))
		rc = frames_fill(&s->p->frames);
	while (rc >= 0 && (rc = frames_next(&s->p->frames, &h, &payload)) > 0)
		take_frame(s, &h, payload);
	if (rc < 0 && !s->exited)
		end_killed(s, "the sandbox has ended");
}

static void lifeline_event(struct session *s)
{
	char byte;

	if (read(s->p->lifeline_fd, &byte, 1) != 1)
		_exit(255);
	cleanup_close(&s->p->lifeline_fd);
	s->p->lifeline_fd = -1;
}

static void streams_init(struct session *s)
{
	bool tty = s->p->tty >= 0;

	s->streams_n = 3 + s->p->extra_fds;
	for (unsigned int i = 0; i < s->streams_n; i++)
		s->streams[i] = (struct stream){.in = -1, .out = -1, .credit = WIRE_WINDOW};
	s->streams[0].in = tty ? s->p->tty : 0;
	s->streams[1].out = tty ? s->p->tty : 1;
	s->streams[2].out = tty ? -1 : 2;
	for (unsigned int i = 3; i < s->streams_n; i++)
		s->streams[i].in = s->streams[i].out = (int)i;
}

enum { POLL_MONITOR, POLL_SIGNAL, POLL_LIFELINE, POLL_STREAMS };

static nfds_t fill_pollfds(struct session *s, struct pollfd *fds, uint8_t *stream_of)
{
	nfds_t n = POLL_STREAMS;

	fds[POLL_MONITOR] = (struct pollfd){.fd = s->exited ? -1 : s->p->frames.fd,
					    .events = POLLIN};
	if (frames_queued(&s->p->frames))
		fds[POLL_MONITOR].events |= POLLOUT;
	fds[POLL_SIGNAL] = (struct pollfd){.fd = s->signal_fd, .events = POLLIN};
	fds[POLL_LIFELINE] = (struct pollfd){.fd = s->p->lifeline_fd, .events = POLLIN};
	for (uint8_t i = 0; i < s->streams_n; i++) {
		struct stream *st = &s->streams[i];

		if (s->answered && !s->exited && st->in >= 0 && st->credit > 0) {
			stream_of[n] = i;
			fds[n++] = (struct pollfd){.fd = st->in, .events = POLLIN};
		}
		if (st->out >= 0 && st->queue_end > st->queue_start) {
			stream_of[n] = i;
			fds[n++] = (struct pollfd){.fd = st->out, .events = POLLOUT};
		}
	}
	return n;
}

/* All that the guest said is written. */
static bool drained(const struct session *s)
{
	for (unsigned int i = 0; i < s->streams_n; i++)
		if (s->streams[i].out >= 0 && s->streams[i].queue_end > s->streams[i].queue_start)
			return false;
	return true;
}

static void proxy_loop(struct session *s)
{
	struct pollfd fds[POLL_STREAMS + 2 * WIRE_STREAMS_MAX];
	uint8_t stream_of[POLL_STREAMS + 2 * WIRE_STREAMS_MAX];
	nfds_t n;

	while (!s->exited || !drained(s)) {
		/* When the monitor has closed its end, how the process ended may still be there to
		 * read; that it is not shows in reading. */
		if (!s->exited)
			frames_flush(&s->p->frames);
		n = fill_pollfds(s, fds, stream_of);
		if (poll(fds, n, -1) < 0)
			continue;
		if (fds[POLL_MONITOR].revents)
			monitor_event(s, fds[POLL_MONITOR].revents);
		if (fds[POLL_SIGNAL].revents)
			handle_signal(s);
		if (fds[POLL_LIFELINE].revents)
			lifeline_event(s);
		for (nfds_t i = POLL_STREAMS; i < n; i++) {
			if (!fds[i].revents)
				continue;
			if (fds[i].events & POLLIN)
				stream_read(s, stream_of[i]);
			else
				stream_write(s, stream_of[i]);
		}
	}
}

/* Every signal that can be taken is the process's, not ours. */
static int take_signals(void)
{
	sigset_t set;

	sigfillset(&set);
	sigdelset(&set, SIGCHLD);
	sigdelset(&set, SIGPIPE);
	sigdelset(&set, SIGSEGV);
	sigdelset(&set, SIGBUS);
	sigdelset(&set, SIGFPE);
	sigdelset(&set, SIGILL);
	sigdelset(&set, SIGABRT);
	sigdelset(&set, SIGTTOU);
	sigdelset(&set, SIGTTIN);
	sigprocmask(SIG_SETMASK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGTTOU, SIG_IGN);
	signal(SIGTTIN, SIG_IGN);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

__attribute__((noreturn)) static void end_like(const struct wire_exited *exit)
{
	const struct rlimit no_core = {0, 0};
	sigset_t set;

	if (!exit->signal)
		_exit(exit->status);
	/* These end nobody, whatever the guest says. */
	if (exit->signal >= SIGSTOP && exit->signal <= SIGTTOU)
		_exit(128 + exit->signal);
	setrlimit(RLIMIT_CORE, &no_core);
	signal(exit->signal, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, exit->signal);
	kill(getpid(), exit->signal);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	/* A signal that does not kill by default, or cannot here. */
	_exit(128 + exit->signal);
}

/* What the loop needs of the kernel, once everything is open. */
static const int allowed[] = {
	SCMP_SYS(poll),		SCMP_SYS(ppoll),  /* the loop */
	SCMP_SYS(read),		SCMP_SYS(write),  /* streams, signals, status */
	SCMP_SYS(recvfrom),	SCMP_SYS(sendto), /* frames */
	SCMP_SYS(close),			  /* status, lifeline */
	SCMP_SYS(ioctl),			  /* the terminal's size */
	SCMP_SYS(rt_sigaction), SCMP_SYS(kill),
	SCMP_SYS(prlimit64), /* to end as the process did */
};

/*
 * A root of its own, empty and read-only.  Clients take the pid for a process with the container's
 * files and enter its mount namespace (`podman cp` of a running container, `podman top`): what they
 * find must not be the host's.
 */
static int leave_files(struct error *err)
{
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return error_errno(err, "make a mount namespace for the proxy");
	/* Any directory that is there on every machine will do. */
	if (mount("caisson", "/proc", "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
		  "size=4k,nr_inodes=2,mode=555") < 0 ||
	    chdir("/proc") < 0 || syscall(SYS_pivot_root, ".", ".") < 0 ||
	    umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return error_errno(err, "make an empty root for the proxy");
	return 0;
}

/* The proxy carries a guest's bytes: it keeps its descriptors and nothing else of root. */
static void confine(struct session *s)
{
	struct error err = {0};
	uid_t uid;

	if (jail_uid(&uid, &err) < 0 || leave_files(&err) < 0 ||
	    jail_drop(uid, JAIL_NO_CAPS, &err) < 0 ||
	    confine_syscalls(allowed, ARRAY_SIZE(allowed), &err) < 0) {
		report(s, &err);
		_exit(255);
	}
}

void proxy_main(struct proxy *p)
{
	static struct session s;

	s.p = p;
	prctl(PR_SET_NAME, "caisson-proxy");
	s.signal_fd = take_signals();
	streams_init(&s);
	confine(&s);
	s.requested = true;
	if (frames_put_msg(&p->frames, p->type, 0, 0, p->request) < 0)
		end_killed(&s, "the container's configuration is too long to be sent to the guest");
	proxy_loop(&s);
	timeline_mark("exited");
	end_like(&s.exit);
}
