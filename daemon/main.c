// SPDX-License-Identifier: Apache-2.0
/*
 * caissond: keeps slots ready and lends them.  docs/slots.md.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "daemon/lender.h"
#include "daemon/metrics.h"
#include "daemon/notify.h"
#include "daemon/server.h"
#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/timeline.h"

#define EVENT_SIGNAL 2u

struct caissond {
	struct notify notify;
	struct lender lender;
	struct server server;
	int epoll_fd, signal_fd;
};

static int sooner(int a, int b)
{
	if (a < 0 || b < 0)
		return a < 0 ? b : a;
	return a < b ? a : b;
}

/* One round of events; false: a signal said that it is the end. */
static bool turn(struct caissond *d, int timeout)
{
	struct epoll_event events[64];
	int n = epoll_wait(d->epoll_fd, events, ARRAY_SIZE(events), timeout);

	for (int i = 0; i < n; i++) {
		uint64_t data = events[i].data.u64;

		if (data == EVENT_SIGNAL)
			return false;
		if (!server_event(&d->server, data))
			lender_event(&d->lender, data);
	}
	return true;
}

static void loop(struct caissond *d)
{
	uint64_t written = 0, saves = 0, now;
	int timeout = 0;

	while (turn(d, timeout)) {
		/* The work's end may be somebody's answer, and an answer more work. */
		lender_step(&d->lender);
		timeout = server_step(&d->server);
		timeout = sooner(timeout, lender_step(&d->lender));
		now = monotonic_ns();
		if (d->lender.saves != saves || now - written > METRICS_EVERY_MS * 1000000ull) {
			metrics_write(&d->lender);
			written = now;
			saves = d->lender.saves;
		}
		timeout = sooner(timeout, METRICS_EVERY_MS);
	}
}

static int start(struct caissond *d, const char *config, struct error *err)
{
	const struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = EVENT_SIGNAL};
	struct rlimit files;
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	/* Memory that is mapped for DMA counts as locked. */
	setrlimit(RLIMIT_MEMLOCK, &all);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	d->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	d->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (d->epoll_fd < 0 || d->signal_fd < 0 ||
	    epoll_ctl(d->epoll_fd, EPOLL_CTL_ADD, d->signal_fd, &ev) < 0)
		return error_errno(err, "make an event loop");
	notify_init(&d->notify);
	if (lender_init(&d->lender, config, &d->notify, d->epoll_fd, err) < 0 ||
	    server_init(&d->server, &d->lender, err) < 0)
		return -err->code;
	notify_ready(&d->notify);
	return 0;
}

static int usage(FILE *f)
{
	fprintf(f,
		"caissond [--config FILE] [--check]\n\n"
		"Keeps guest memory and virtual functions ready, and lends them to sandboxes.\n\n"
		"  --config FILE   in place of " CONFIG_FILE "\n"
		"  --check         read the configuration, say what is wrong with it, and end\n"
		"  --version       show the version\n");
	return f == stderr ? 2 : 0;
}

static int check(const char *path)
{
	struct daemon_config c;
	struct error err;

	if (daemon_config_read(&c, path, &err) < 0) {
		fprintf(stderr, "caissond: %s\n", err.text);
		return 1;
	}
	printf("%u slots\n", c.slots_n);
	daemon_config_free(&c);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"config", required_argument, NULL, 'c'},
		{"check", no_argument, NULL, 'k'},
		{"version", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	static struct caissond d = {.epoll_fd = -1,
				    .signal_fd = -1,
				    .notify.fd = -1,
				    .lender = {.dir_fd = -1, .lock_fd = -1, .done_fd = -1},
				    .server.listen_fd = -1};
	const char *config = NULL;
	struct error err = {0};
	bool only_check = false;
	int o, rc;

	while ((o = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
		if (o == 'c')
			config = optarg;
		else if (o == 'k')
			only_check = true;
		else if (o == 'v')
			return printf("caissond version %s\n", CAISSON_VERSION) < 0;
		else
			return usage(o == 'h' ? stdout : stderr);
	}
	if (optind < argc)
		return usage(stderr);
	if (only_check)
		return check(config);
	rc = start(&d, config, &err);
	if (rc < 0)
		fprintf(stderr, "caissond: %s\n", err.text);
	else
		loop(&d);
	notify_stopping(&d.notify);
	server_done(&d.server);
	if (rc == 0)
		metrics_remove(&d.lender);
	lender_done(&d.lender);
	notify_done(&d.notify);
	return rc < 0 ? 1 : 0;
}
