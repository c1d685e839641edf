// SPDX-License-Identifier: Apache-2.0
/*
 * caisson-init: PID 1 of the guest and its agent.
 *
 * One thread and one event loop.  Nothing in it waits but for the loop's events;
 * what takes time, the making of containers, is done by their own first processes
 * (launch.c).  It never ends: PID 1 that returns is a panic.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "guest/init/channel.h"
#include "guest/init/container.h"
#include "guest/init/kmsg.h"
#include "guest/init/loop.h"
#include "guest/init/process.h"
#include "guest/init/request.h"
#include "guest/init/sandbox.h"

/* How long processes that were killed may take to end when the guest shuts down. */
#define KILL_TIMEOUT_MS 3000
#define FLUSH_TIMEOUT_MS 1000

static bool channel_lost;

static void on_lost(const char *reason)
{
	kmsg_line("channel: %s", reason);
	channel_lost = true;
}

static const struct channel_events channel_callbacks = {
	.frame = request_handle,
	.drained = process_resume_all,
	.lost = on_lost,
};

static void on_sigchld(struct watch *w, uint32_t events)
{
	struct signalfd_siginfo drop[4];

	(void)events;
	while (read(w->fd, drop, sizeof(drop)) > 0)
		;
	process_reap_all();
}

static int watch_children(struct error *err)
{
	static struct watch watch = {.ready = on_sigchld};
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_SETMASK, &set, NULL);
	watch.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (watch.fd < 0 || loop_add(&watch, EPOLLIN) < 0)
		return error_errno(err, "watch children");
	return 0;
}

static void send_ready(void)
{
	struct wire_ready r = {.version = WIRE_VERSION};
	struct timespec ts;
	struct msg m;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	r.uptime_us = (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
	msg_init_encode(&m);
	wire_ready_codec(&m, &r);
	channel_send(WIRE_READY, 0, 0, m.data, (uint32_t)m.size);
	msg_done(&m);
	channel_flush();
}

static int start(struct error *err)
{
	if (sandbox_boot(err) < 0)
		return -err->code;
	if (loop_init() < 0)
		return error_errno(err, "make the event loop");
	if (channel_open(&transport_virtio_port, &channel_callbacks, err) < 0)
		return -err->code;
	send_ready();
	/* The host is busy with its answer now. */
	if (sandbox_prepare(err) < 0 || watch_children(err) < 0)
		return -err->code;
	return channel_listen() < 0 ? error_errno(err, "watch the channel") : 0;
}

static void on_kill_timeout(struct timer *t)
{
	(void)t; /* the loop has turned, which is all that it is for */
}

static void stop(void) __attribute__((noreturn));
static void stop(void)
{
	struct timer timer = {.fire = on_kill_timeout};

	process_hangup_all(); /* nobody waits for their output any more */
	timer_start(&timer, KILL_TIMEOUT_MS);
	while (!container_kill_all() && timer.armed) {
		channel_flush();
		loop_turn();
	}
	sandbox_sync();
	if (shutdown_request.asked)
		channel_result(shutdown_request.session, 0, NULL);
	if (!channel_lost)
		channel_drain(FLUSH_TIMEOUT_MS);
	sandbox_end();
}

int main(void)
{
	struct error err = {0};

	if (getpid() != 1)
		return 1; /* it would turn the file system of whatever this is upside down */
	if (start(&err) < 0) {
		kmsg_line("%s", err.text);
		sandbox_end();
	}
	while (!channel_lost && !shutdown_request.asked) {
		loop_turn();
		channel_flush();
	}
	stop();
}
