// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/create.h"
#include "lib/cleanup.h"
#include "lib/log.h"
#include "runtime/hooks.h"
#include "runtime/terminal.h"

static bool detach, keep;

static const struct option options[] = {
	CREATE_OPTIONS,
	{"detach", 'd', OPTION_FLAG, NULL, "return when the process runs", &detach},
	{"keep", 0, OPTION_FLAG, NULL, "do not delete the container when it has ended", &keep},
	{.name = NULL},
};

static volatile sig_atomic_t proxy_pid;

/* What is sent to us alone is meant for the container; what the terminal sends, it sends to the
 * proxy as well. */
static void forward(int signal, siginfo_t *info, void *context)
{
	(void)context;
	if (info->si_code <= 0 && proxy_pid > 0)
		kill(proxy_pid, signal);
}

static void forward_signals(pid_t proxy)
{
	static const int signals[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGCONT};
	struct sigaction sa = {.sa_sigaction = forward, .sa_flags = SA_SIGINFO | SA_RESTART};

	proxy_pid = proxy;
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaction(signals[i], &sa, NULL);
}

/* In the foreground the caller's terminal carries only bytes, from before the process runs (what it
 * says first may be answered at once) until the container has ended. */
static struct termios saved;
static bool raw;

static void restore(void)
{
	if (raw)
		terminal_restore(0, &saved);
	raw = false;
}

static int start(const struct globals *g, const char *id, struct error *err)
{
	struct container c;
	int rc = 0;

	if (container_open(&c, g->root, id, true, err) < 0)
		return -err->code;
	if (!detach && c.state.terminal && !create_options.console_socket) {
		rc = terminal_raw(0, &saved, err);
		raw = rc == 0;
	}
	if (rc == 0)
		rc = sandbox_start(&c, err);
	container_done(&c);
	if (rc < 0)
		restore();
	return rc;
}

/* The process has the signal's status, which does not tell that its guest has ended. */
static void say_why(const struct globals *g, const char *id)
{
	_cleanup_close_ int dir_fd = -1;
	struct error why = {0};

	dir_fd = state_dir_open(g->root, id, &why);
	if (dir_fd >= 0 && sandbox_failure(dir_fd, &why))
		log_line("error", "run: %s: %s", id, why.text);
}

static int destroy(const struct globals *g, const char *id, struct error *err)
{
	struct config config = {0};
	struct error hook = {0};
	struct container c;
	bool known;
	int rc;

	if (container_open(&c, g->root, id, true, err) < 0)
		return err->code == ENOENT ? 0 : -err->code; /* somebody deleted it meanwhile */
	known = sandbox_config(&c, &config, &hook) == 0;
	rc = sandbox_destroy(g->root, id, c.dir_fd, err);
	if (rc == 0 && known)
		hooks_run_all(&config, HOOK_POSTSTOP, &c.state);
	config_done(&config);
	container_done(&c);
	return rc;
}

static int run(const struct globals *g, unsigned int argc, char **argv, struct error *err)
{
	struct sandbox_options o;
	struct error second = {0};
	pid_t proxy;
	int status;

	(void)argc;
	create_sandbox_options(&o, g, argv[0]);
	o.attached = !detach;
	if (state_check_id(argv[0], err) < 0)
		return -err->code;
	if (command_check_preserve_fds(o.preserve_fds, err) < 0 ||
	    sandbox_create(&o, &proxy, err) < 0)
		return error_wrap(err, "%s", argv[0]);
	if (!detach)
		forward_signals(proxy);
	if (start(g, argv[0], err) < 0) {
		destroy(g, argv[0], &second);
		return error_wrap(err, "%s", argv[0]);
	}
	if (detach)
		return 0;
	status = command_wait_child(proxy);
	proxy_pid = 0; /* the pid is anybody's from here on */
	restore();
	if (status)
		say_why(g, argv[0]);
	if (!keep && destroy(g, argv[0], &second) < 0)
		log_line("warning", "run: %s: %s", argv[0], second.text);
	return status;
}

const struct command cmd_run = {
	.name = "run",
	.args = "ID",
	.summary = "create and start a container, and wait for its end",
	.details = "In the foreground the exit status is that of the container's process, or 128 "
		   "and the number of the signal that killed it; the container is deleted at its "
		   "end. An error of the runtime itself is 255.",
	.options = options,
	.args_min = 1,
	.args_max = 1,
	.run = run,
	.failure = 255,
};
