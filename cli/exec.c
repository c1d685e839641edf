// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/command.h"
#include "lib/cleanup.h"
#include "lib/wire.h"
#include "runtime/cgroup.h"
#include "runtime/client.h"
#include "runtime/sandbox.h"
#include "runtime/spawn.h"
#include "runtime/terminal.h"

static struct {
	const char *process, *pid_file, *console_socket, *cwd, *user;
	struct option_strings env, caps, gids;
	unsigned int preserve_fds;
	bool detach, tty, no_new_privs, ignore_paused;
} opt;

static const struct option options[] = {
	{"process", 'p', OPTION_STRING, "FILE", "the process as an OCI document", &opt.process},
	{"detach", 'd', OPTION_FLAG, NULL, "return when the process runs", &opt.detach},
	{"pid-file", 0, OPTION_STRING, "FILE", "write the pid of the process to FILE",
	 &opt.pid_file},
	{"console-socket", 0, OPTION_STRING, "SOCKET",
	 "send the terminal's master to the listener on SOCKET", &opt.console_socket},
	{"tty", 't', OPTION_FLAG, NULL, "give the process a terminal", &opt.tty},
	{"cwd", 0, OPTION_STRING, "DIR", "working directory in the container", &opt.cwd},
	{"env", 'e', OPTION_STRINGS, "NAME=VALUE", "add to the environment", &opt.env},
	{"user", 'u', OPTION_STRING, "UID[:GID]", "user and group", &opt.user},
	{"additional-gids", 'g', OPTION_STRINGS, "GID", "add a group", &opt.gids},
	{"cap", 'c', OPTION_STRINGS, "CAP", "add a capability", &opt.caps},
	{"no-new-privs", 0, OPTION_FLAG, NULL, "set no_new_privs", &opt.no_new_privs},
	{"preserve-fds", 0, OPTION_NUMBER, "N", "carry N more descriptors, 3 and up",
	 &opt.preserve_fds},
	{"ignore-paused", 0, OPTION_FLAG, NULL, "go ahead in a paused container",
	 &opt.ignore_paused},
	{"process-label", 0, OPTION_IGNORED, "LABEL", "taken and ignored", NULL},
	{"apparmor", 0, OPTION_IGNORED, "PROFILE", "taken and ignored", NULL},
	{"cgroup", 0, OPTION_IGNORED, "PATH", "taken and ignored", NULL},
	{"no-subreaper", 0, OPTION_IGNORED, NULL, "taken and ignored", NULL},
	{.name = NULL},
};

/* A decimal id up to `end`; -1 if it is none. */
static int64_t parse_id(const char *text, char end)
{
	char *stop;
	unsigned long long n;

	if (*text < '0' || *text > '9')
		return -1;
	n = strtoull(text, &stop, 10);
	return (*stop && *stop != end) || n > UINT32_MAX - 1 ? -1 : (int64_t)n;
}

static int set_user(struct spec_process *p, struct error *err)
{
	const char *colon = strchr(opt.user, ':');
	int64_t uid = parse_id(opt.user, ':'), gid = colon ? parse_id(colon + 1, 0) : 0;

	if (uid < 0 || gid < 0)
		return error_set(err, EINVAL, "--user '%s' is not UID or UID:GID in numbers",
				 opt.user);
	p->uid = (uint32_t)uid;
	if (colon)
		p->gid = (uint32_t)gid;
	return 0;
}

static int add_groups(struct spec_process *p, struct config *c, struct error *err)
{
	uint32_t *gids = arena_alloc(&c->arena, (p->gids_n + opt.gids.n) * sizeof(*gids));

	if (!gids)
		return error_set(err, ENOMEM, "out of memory");
	if (p->gids_n)
		memcpy(gids, p->gids, p->gids_n * sizeof(*gids));
	for (unsigned int i = 0; i < opt.gids.n; i++) {
		int64_t gid = parse_id(opt.gids.v[i], 0);

		if (gid < 0)
			return error_set(err, EINVAL, "--additional-gids '%s' is not a number",
					 opt.gids.v[i]);
		gids[p->gids_n + i] = (uint32_t)gid;
	}
	p->gids = gids;
	p->gids_n += opt.gids.n;
	return 0;
}

static int add_caps(struct spec_process *p, struct error *err)
{
	for (unsigned int i = 0; i < opt.caps.n; i++) {
		int cap = config_capability(opt.caps.v[i]);

		if (cap < 0)
			return error_set(err, EINVAL, "--cap '%s' is not a capability",
					 opt.caps.v[i]);
		for (int s = 0; s < CAPS_AMBIENT; s++)
			p->caps[s] |= 1ull << cap;
	}
	return 0;
}

static int add_env(struct spec_process *p, struct config *c, struct error *err)
{
	char **v = arena_alloc(&c->arena, (p->env.n + opt.env.n) * sizeof(char *));

	if (!v)
		return error_set(err, ENOMEM, "out of memory");
	if (p->env.n)
		memcpy(v, p->env.v, p->env.n * sizeof(char *));
	for (unsigned int i = 0; i < opt.env.n; i++) {
		if (!strchr(opt.env.v[i], '='))
			return error_set(err, EINVAL, "--env '%s' is not NAME=VALUE", opt.env.v[i]);
		v[p->env.n + i] = (char *)opt.env.v[i];
	}
	p->env.v = v;
	p->env.n += opt.env.n;
	return 0;
}

/* The container's own process with other arguments, as crun and runc have it. */
static int process_from_words(struct spec_process *p, struct config *c, unsigned int argc,
			      char **argv, struct error *err)
{
	*p = c->container.process;
	p->terminal = opt.tty;
	p->args = (struct strv){.v = argv, .n = argc};
	if (opt.cwd && *opt.cwd != '/')
		return error_set(err, EINVAL, "--cwd '%s' is not an absolute path", opt.cwd);
	if (opt.cwd)
		p->cwd = (char *)opt.cwd;
	p->no_new_privileges |= opt.no_new_privs;
	if (opt.user && set_user(p, err) < 0)
		return -err->code;
	if (add_groups(p, c, err) < 0 || add_caps(p, err) < 0 || add_env(p, c, err) < 0)
		return -err->code;
	return 0;
}

static int make_process(struct spec_process *p, struct config *c, unsigned int argc, char **argv,
			struct error *err)
{
	if (opt.process) {
		if (argc > 1)
			return error_set(err, EINVAL, "'%s': there is --process already", argv[1]);
		if (config_process_load(p, c, opt.process, err) < 0)
			return -err->code;
		p->terminal |= opt.tty;
	} else {
		if (argc < 2)
			return error_set(err, EINVAL, "a program or --process is missing");
		if (process_from_words(p, c, argc - 1, argv + 1, err) < 0)
			return -err->code;
	}
	p->extra_fds = opt.preserve_fds;
	return 0;
}

static int open_terminal(struct spec_process *p, struct error *err)
{
	int fd;

	if (!p->terminal)
		return -1;
	if (opt.console_socket)
		return terminal_open(opt.console_socket, p->rows, p->columns, err);
	if (opt.detach)
		return error_set(err, EINVAL, "a terminal and --detach need --console-socket");
	if (!isatty(0))
		return error_set(err, ENOTTY,
				 "a terminal is asked for, but standard input is none");
	terminal_size(0, &p->rows, &p->columns);
	fd = dup(0);
	return fd < 0 ? error_errno(err, "dup") : fd;
}

static int write_pid(pid_t pid, struct error *err)
{
	_cleanup_fclose_ FILE *f = NULL;

	if (!opt.pid_file)
		return 0;
	f = fopen(opt.pid_file, "we");
	if (!f || fprintf(f, "%d", pid) < 0 || fflush(f))
		return error_errno(err, "--pid-file '%s'", opt.pid_file);
	return 0;
}

/* Starts the proxy and waits for the guest's word. */
static int launch(const struct container *c, const struct msg *request, int tty,
		  struct spawned *ret, struct error *err)
{
	const struct spawn_proxy o = {
		.dir_fd = c->dir_fd,
		.type = WIRE_EXEC,
		.request = request,
		.tty_fd = tty,
		.hold_fd = -1,
		.preserve_fds = opt.preserve_fds,
		.attached = !opt.detach,
	};
	struct pollfd pfd = {.events = POLLIN};
	struct error child = {.code = EPIPE, .text = "the sandbox has ended"};

	if (spawn_proxy(&o, ret, err) < 0)
		return -err->code;
	if (c->state.cgroup && cgroup_enter(c->state.cgroup, ret->pid, err) < 0)
		return -err->code;
	spawn_go(ret);
	pfd.fd = ret->status_fd;
	if (poll(&pfd, 1, CLIENT_TIMEOUT_MS) == 0)
		return error_set(err, ETIMEDOUT, "the guest did not answer within %d s",
				 CLIENT_TIMEOUT_MS / 1000);
	if (read(ret->status_fd, &child, sizeof(child)) != (ssize_t)sizeof(child) || child.code) {
		*err = child;
		return -err->code;
	}
	if (write_pid(ret->pid, err) < 0)
		return -err->code;
	spawn_commit(ret);
	return 0;
}

static int exec_in(const struct container *c, struct config *config, unsigned int argc, char **argv,
		   struct error *err)
{
	struct wire_exec head = {.container = c->state.id};
	struct spawned proxy = SPAWNED_NONE;
	struct spec_process process;
	struct termios saved;
	struct msg m;
	int tty, rc;
	bool raw;

	if (make_process(&process, config, argc, argv, err) < 0)
		return -err->code;
	tty = open_terminal(&process, err);
	if (tty < 0 && process.terminal)
		return -err->code;
	/* Before the process runs: what it says first may be answered at once. */
	raw = tty >= 0 && !opt.console_socket && terminal_raw(0, &saved, err) == 0;
	msg_init_encode(&m);
	wire_exec_codec(&m, &head);
	spec_process_codec(&m, &process);
	rc = launch(c, &m, tty, &proxy, err);
	msg_done(&m);
	spawn_done(&proxy);
	if (rc == 0 && !opt.detach) {
		signal(SIGINT, SIG_IGN);
		signal(SIGQUIT, SIG_IGN);
		rc = command_wait_child(proxy.pid);
	}
	if (raw)
		terminal_restore(0, &saved);
	cleanup_close(&tty);
	return rc;
}

static int run(const struct globals *g, unsigned int argc, char **argv, struct error *err)
{
	struct container c;
	struct config config;
	enum state_status status;
	int rc;

	if (command_check_preserve_fds(opt.preserve_fds, err) < 0)
		return -err->code;
	if (container_open(&c, g->root, argv[0], false, err) < 0)
		return -err->code;
	status = state_status(&c.state);
	if (status == STATUS_PAUSED && opt.ignore_paused)
		status = STATUS_RUNNING;
	if (status != STATUS_RUNNING && status != STATUS_CREATED)
		rc = error_set(err, EINVAL, "the container is %s", state_status_name(status));
	else
		rc = sandbox_config(&c, &config, err);
	if (rc == 0) {
		rc = exec_in(&c, &config, argc, argv, err);
		config_done(&config);
	}
	container_done(&c);
	return rc < 0 ? error_wrap(err, "%s", argv[0]) : rc;
}

const struct command cmd_exec = {
	.name = "exec",
	.args = "ID [PROGRAM [ARG...]]",
	.summary = "run another process in a container",
	.options = options,
	.args_min = 1,
	.args_max = 65536,
	.run = run,
	.failure = 255,
};
