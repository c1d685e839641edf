// SPDX-License-Identifier: Apache-2.0
#include "runtime/hooks.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/log.h"
#include "runtime/client.h"
#include "runtime/json.h"
#include "runtime/ocistate.h"

/* A list of strings as execve(2) wants it. */
static char **vector(const struct strv *v, const char *otherwise)
{
	char **out = calloc((size_t)v->n + 2, sizeof(char *));

	for (uint32_t i = 0; out && i < v->n; i++)
		out[i] = v->v[i];
	if (out && !v->n)
		out[0] = (char *)otherwise;
	return out;
}

static int open_stdin(const struct state *s, struct error *err)
{
	_cleanup_json_ struct json_object *j = ocistate_json(s);
	const char *text = json_object_to_json_string(j);
	_cleanup_close_ int fd = memfd_create("caisson-state", MFD_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text) ||
	    lseek(fd, 0, SEEK_SET) < 0)
		return error_errno(err, "make the hook's input");
	return steal_fd(&fd);
}

__attribute__((noreturn)) static void exec_hook(const struct config_hook *h, int input)
{
	char **args = vector(&h->args, h->path), **env = vector(&h->env, NULL);
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	setpgid(0, 0);
	/* A forced delete may kill the command: not to leave this behind. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (dup2(input, 0) == 0 && args && env)
		execve(h->path, args, env);
	_exit(errno == ENOENT ? 127 : 126);
}

/* Readable when one of them is pending, which it can only be while the caller has it blocked. */
static int interrupt_fd(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

static int timeout_ms(int32_t seconds)
{
	return seconds > INT_MAX / 1000 ? INT_MAX : seconds * 1000;
}

static int run_one(const struct config_hook *h, const struct state *s, struct error *err)
{
	_cleanup_close_ int input = open_stdin(s, err), pidfd = -1, interrupt = interrupt_fd();
	struct pollfd pfds[2] = {{.events = POLLIN}, {.fd = interrupt, .events = POLLIN}};
	int status, rc;
	pid_t pid;

	if (input < 0)
		return input;
	if (access(h->path, X_OK) < 0)
		return error_errno(err, "'%s'", h->path);
	pid = fork();
	if (pid < 0)
		return error_errno(err, "fork");
	if (pid == 0)
		exec_hook(h, input);
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	pfds[0].fd = pidfd;
	rc = pidfd < 0 ? 1 : poll(pfds, 2, h->timeout_s ? timeout_ms(h->timeout_s) : -1);
	if (rc == 0 || pfds[1].revents) {
		kill(-pid, SIGKILL);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		if (rc)
			return error_set(err, EINTR, "'%s': interrupted", h->path);
		return error_set(err, ETIMEDOUT, "'%s' took longer than %d s", h->path,
				 h->timeout_s);
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return error_errno(err, "wait for '%s'", h->path);
	if (WIFSIGNALED(status))
		return error_set(err, ECHILD, "'%s' was killed by signal %d", h->path,
				 WTERMSIG(status));
	if (WEXITSTATUS(status))
		return error_set(err, ECHILD, "'%s' ended with status %d", h->path,
				 WEXITSTATUS(status));
	return 0;
}

int hooks_run(const struct config *c, enum config_hook_kind kind, const struct state *s,
	      struct error *err)
{
	for (uint32_t i = 0; i < c->hooks[kind].n; i++)
		if (run_one(&c->hooks[kind].v[i], s, err) < 0)
			return error_wrap(err, "hook %s[%u]", config_hook_names[kind], i);
	return 0;
}

void hooks_run_all(const struct config *c, enum config_hook_kind kind, const struct state *s)
{
	struct error err = {0};

	for (uint32_t i = 0; i < c->hooks[kind].n; i++)
		if (run_one(&c->hooks[kind].v[i], s, &err) < 0)
			log_line("warning", "hook %s[%u]: %s", config_hook_names[kind], i,
				 err.text);
}

static int run_inside(const struct config *c, const struct config_hook *h, const struct state *s,
		      int dir_fd, struct error *err)
{
	_cleanup_json_ struct json_object *j = ocistate_json(s);
	struct spec_process p = {
		.args = h->args,
		.env = h->env,
		.cwd = (char *)"/",
		.umask = UINT32_MAX,
	};
	char *argv[] = {h->path};
	int rc;

	if (!p.args.n)
		p.args = (struct strv){.v = argv, .n = 1};
	else
		p.args.v[0] = h->path; /* the agent runs what args[0] names */
	for (int i = 0; i < CAPS_AMBIENT; i++)
		p.caps[i] = c->container.process.caps[CAPS_BOUNDING];
	rc = client_exec(dir_fd, s->id, &p, json_object_to_json_string(j),
			 h->timeout_s ? timeout_ms(h->timeout_s) : -1, err);
	if (rc > 0)
		return error_set(err, ECHILD, "'%s' ended with status %d", h->path, rc);
	return rc < 0 ? error_wrap(err, "'%s'", h->path) : 0;
}

int hooks_run_inside(const struct config *c, const struct state *s, int dir_fd, struct error *err)
{
	const struct config_hooks *hooks = &c->hooks[HOOK_START_CONTAINER];

	for (uint32_t i = 0; i < hooks->n; i++)
		if (run_inside(c, &hooks->v[i], s, dir_fd, err) < 0)
			return error_wrap(err, "hook %s[%u]",
					  config_hook_names[HOOK_START_CONTAINER], i);
	return 0;
}
