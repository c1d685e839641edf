// SPDX-License-Identifier: Apache-2.0
/*
 * engine [-a WORDS] [-c CPUS] [-i INITRD] [-m MIB] [-s] [-t SECONDS] KERNEL: runs a kernel on the
 * cki engine alone (no jail, no agent), with its console on standard output.  WORDS are added to
 * its command line; with -s it is paused and resumed all the time.  Exit status: 0 it turned the
 * machine off, 1 it ended otherwise (and why), 3 it could not be started, 5 it did not end in time.
 */
#include <malloc.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/timeline.h"
#include "vmm/engine/cki.h"
#include "vmm/engine/engine.h"

enum { ENDED, FAILED, ERROR = 3, TIMEOUT = 5 };

static void console(struct guest *g)
{
	char text[4096];
	ssize_t n;

	while ((n = read(engine_cki.console_fd(g), text, sizeof(text))) > 0)
		fwrite(text, 1, (size_t)n, stdout);
	fflush(stdout);
}

static int pause_once(struct guest *g, struct error *err)
{
	if (engine_cki.pause(g, err) < 0)
		return -err->code;
	usleep(10000);
	return engine_cki.resume(g, err);
}

/* True when it has ended. */
static bool run(struct guest *g, int seconds, bool pauses)
{
	const uint64_t until = monotonic_ns() + (uint64_t)seconds * 1000000000;
	struct pollfd fds[] = {{.fd = engine_cki.exit_fd(g), .events = POLLIN},
			       {.fd = engine_cki.console_fd(g), .events = POLLIN}};
	struct error err = {0};

	while (monotonic_ns() < until) {
		poll(fds, 2, pauses ? 20 : 1000);
		if (fds[1].revents)
			console(g);
		if (fds[0].revents)
			return true;
		if (pauses && pause_once(g, &err) < 0) {
			fprintf(stderr, "engine: pause: %s\n", err.text);
			return false;
		}
	}
	return false;
}

static int finish(struct guest *g, bool ended)
{
	struct error err = {0};
	int rc = engine_cki.wait(g, &err);

	console(g);
	if (rc < 0)
		fprintf(stderr, "engine: %s\n", err.text);
	engine_cki.done(g);
	return !ended ? TIMEOUT : rc < 0 ? FAILED : ENDED;
}

int main(int argc, char **argv)
{
	static char none[] = "", id[] = "test";
	struct machine m = {.id = id,
			    .cmdline = none,
			    .vcpus = 1,
			    .memory = 64ull << 20,
			    .memory_fd = -1,
			    .growth_fd = -1,
			    .log_fd = STDERR_FILENO,
			    .timeline_fd = -1};
	struct error err = {0};
	struct guest *g = NULL;
	int opt, seconds = 30;
	bool pauses = false;

	mallopt(M_ARENA_MAX, 1); /* as the monitor does, for the threads' filters */
	while ((opt = getopt(argc, argv, "a:c:i:m:st:")) != -1)
		switch (opt) {
		case 'a':
			m.cmdline = optarg;
			break;
		case 'c':
			m.vcpus = (uint32_t)atoi(optarg);
			break;
		case 'i':
			m.initrd = optarg;
			break;
		case 'm':
			m.memory = strtoull(optarg, NULL, 0) << 20;
			break;
		case 's':
			pauses = true;
			break;
		case 't':
			seconds = atoi(optarg);
			break;
		default:
			return ERROR;
		}
	if (optind + 1 != argc) {
		fprintf(stderr, "usage: engine [-a WORDS] [-c CPUS] [-i INITRD] [-m MIB] [-s] "
				"[-t SECONDS] KERNEL\n");
		return ERROR;
	}
	m.kernel = argv[optind];
	if (engine_cki.start(&m, &g, &err) < 0 || engine_cki.launch(g, &err) < 0) {
		fprintf(stderr, "engine: %s\n", err.text);
		engine_cki.done(g);
		return ERROR;
	}
	return finish(g, run(g, seconds, pauses));
}
