// SPDX-License-Identifier: Apache-2.0
/* The caisson command: global options, then one of the commands. */
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/command.h"
#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/timeline.h"

#ifndef CAISSON_VERSION
#define CAISSON_VERSION "0.0.0"
#endif

struct globals globals = {.root = "/run/caisson", .log_format = "text"};

const struct option global_options[] = {
	{"root", 0, OPTION_STRING, "DIR", "keep the state of containers in DIR (/run/caisson)",
	 &globals.root},
	{"log", 0, OPTION_STRING, "FILE", "also write errors to FILE", &globals.log},
	{"log-format", 0, OPTION_STRING, "FORMAT", "text or json", &globals.log_format},
	{"config", 0, OPTION_STRING, "FILE", "settings, in place of /etc/caisson/config.json",
	 &globals.settings},
	{"timeline", 0, OPTION_STRING, "FILE", "append the phases of the start to FILE",
	 &globals.timeline},
	{"systemd-cgroup", 0, OPTION_FLAG, NULL, "have systemd make the cgroup",
	 &globals.systemd_cgroup},
	{"cgroup-manager", 0, OPTION_STRING, "MANAGER", "cgroupfs, systemd or disabled",
	 &globals.cgroup_manager},
	{"debug", 0, OPTION_FLAG, NULL, "say more", &globals.debug},
	{"rootless", 0, OPTION_IGNORED, "VALUE", "taken and ignored", NULL},
	{"version", 'v', OPTION_FLAG, NULL, "show the version", &globals.version},
	{"help", 'h', OPTION_FLAG, NULL, "show this help", &globals.help},
	{.name = NULL},
};

const struct command *const commands[] = {
	&cmd_create, &cmd_start,      &cmd_state, &cmd_kill,	 &cmd_delete, &cmd_run,
	&cmd_exec,   &cmd_ps,	      &cmd_list,  &cmd_pause,	 &cmd_resume, &cmd_update,
	&cmd_events, &cmd_trace,      &cmd_spec,  &cmd_features, &cmd_doctor, &cmd_slots,
	&cmd_help,   &cmd_completion, &cmd_man,	  NULL,
};

const struct command *command_find(const char *name)
{
	for (unsigned int i = 0; commands[i]; i++)
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
	return NULL;
}

int command_wait_child(int pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return 255;
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

int command_check_preserve_fds(unsigned int n, struct error *err)
{
	if (n > 16)
		return error_set(err, EINVAL, "--preserve-fds %u is more than 16", n);
	for (unsigned int i = 0; i < n; i++)
		if (fcntl(3 + (int)i, F_GETFD) < 0)
			return error_set(err, EBADF, "--preserve-fds %u: descriptor %u is not open",
					 n, 3 + i);
	return 0;
}

static int check_globals(struct error *err)
{
	static char root[PATH_MAX];

	if (strcmp(globals.log_format, "text") != 0 && strcmp(globals.log_format, "json") != 0)
		return error_set(err, EINVAL, "--log-format '%s' is neither text nor json",
				 globals.log_format);
	if (globals.cgroup_manager && strcmp(globals.cgroup_manager, "cgroupfs") != 0 &&
	    strcmp(globals.cgroup_manager, "systemd") != 0 &&
	    strcmp(globals.cgroup_manager, "disabled") != 0)
		return error_set(err, EINVAL,
				 "--cgroup-manager '%s' is not cgroupfs, systemd or disabled",
				 globals.cgroup_manager);
	if (globals.cgroup_manager && strcmp(globals.cgroup_manager, "systemd") == 0)
		globals.systemd_cgroup = true;
	if (!*globals.root || strlen(globals.root) > PATH_MAX / 2)
		return error_set(err, EINVAL, "--root '%.64s' is not a directory name",
				 globals.root);
	if (*globals.root != '/') {
		if (!getcwd(root, sizeof(root) / 2))
			return error_errno(err, "getcwd");
		strcat(root, "/");
		strncat(root, globals.root, sizeof(root) / 2 - 1);
		globals.root = root;
	}
	if (globals.timeline) {
		timeline_fd = open(globals.timeline,
				   O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0644);
		if (timeline_fd < 0)
			return error_errno(err, "--timeline '%s'", globals.timeline);
	}
	return 0;
}

static int run_command(const struct command *c, int argc, char **argv, struct error *err)
{
	int used;

	if (argc > 0 && (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0)) {
		argv[0] = (char *)c->name;
		return cmd_help.run(&globals, 1, argv, err);
	}
	used = options_parse(c->options, argc, argv, err);
	if (used < 0)
		return used;
	argc -= used;
	argv += used;
	if ((unsigned int)argc < c->args_min)
		return error_set(err, EINVAL, "arguments are missing: caisson %s %s", c->name,
				 c->args);
	if ((unsigned int)argc > c->args_max)
		return error_set(err, EINVAL, "'%s' is one argument too many: caisson %s %s",
				 argv[c->args_max], c->name, c->args);
	return c->run(&globals, (unsigned int)argc, argv, err);
}

/* 0, 1 and 2 must be something, or a file opened later would be taken for one of them. */
static void open_standard(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR);
	} while (fd >= 0 && fd <= 2);
	if (fd > 2)
		close(fd);
}

int main(int argc, char **argv)
{
	struct error err = {0};
	const struct command *c = NULL;
	int used, rc;

	open_standard();
	umask(022);
	/* Whatever the caller left open is not for the programs we run. */
	close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
	signal(SIGPIPE, SIG_IGN);
	used = options_parse(global_options, argc - 1, argv + 1, &err);
	rc = used < 0 ? used : check_globals(&err);
	if (rc >= 0)
		log_to(globals.log, globals.log_format);
	if (rc >= 0 && globals.version) {
		printf("caisson version %s\nspec: 1.2.0\n", CAISSON_VERSION);
		return 0;
	}
	if (rc >= 0) {
		const char *name = globals.help || used + 1 >= argc ? "help" : argv[used + 1];

		c = command_find(name);
		if (!c)
			rc = error_set(&err, EINVAL, "'%s' is not a command (see `caisson help`)",
				       name);
		else if (globals.help || used + 1 >= argc)
			rc = run_command(c, 0, NULL, &err);
		else
			rc = run_command(c, argc - used - 2, argv + used + 2, &err);
	}
	if (rc >= 0)
		return rc;
	if (c)
		log_line("error", "%s: %s", c->name, err.text);
	else
		log_line("error", "%s", err.text);
	return c && c->failure ? c->failure : 1;
}
