/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands and their options.  One table per command says everything: parsing, the
 * help text, the man pages and the shell completion are all made from it.
 */
#ifndef CAISSON_COMMAND_H
#define CAISSON_COMMAND_H

#include <stdbool.h>

#include "lib/error.h"
#include "lib/msg.h"

enum option_kind {
	OPTION_FLAG,	/* bool */
	OPTION_STRING,	/* const char * */
	OPTION_NUMBER,	/* unsigned int */
	OPTION_STRINGS, /* struct option_strings; may be given again */
	OPTION_IGNORED, /* taken for runc's and crun's sake; has no meaning here */
};

#define OPTION_STRINGS_MAX 256

struct option_strings {
	const char *v[OPTION_STRINGS_MAX];
	unsigned int n;
};

struct option {
	const char *name; /* long name without dashes; NULL ends a table */
	char letter;	  /* 0: none */
	enum option_kind kind;
	const char *arg; /* name of the value; NULL for flags */
	const char *help;
	void *value;
};

/* Options before the command. */
struct globals {
	const char *root;
	const char *log;
	const char *log_format;
	const char *settings;
	const char *timeline;
	const char *cgroup_manager;
	bool systemd_cgroup;
	bool debug;
	bool version;
	bool help;
};

struct command {
	const char *name;
	const char *args;    /* "ID", "ID [SIGNAL]" */
	const char *summary; /* one line */
	const char *details; /* paragraphs for the man page; NULL: none */
	const struct option *options;
	unsigned int args_min, args_max;
	/* Exit status >= 0, or -errno with err set.  argv: the command's arguments. */
	int (*run)(const struct globals *g, unsigned int argc, char **argv, struct error *err);
	int failure; /* exit status of an error; 0 stands for 1 */
};

extern const struct command *const commands[]; /* NULL-terminated */
extern const struct option global_options[];
extern struct globals globals;

extern const struct command cmd_create, cmd_start, cmd_state, cmd_kill, cmd_delete, cmd_run,
	cmd_exec, cmd_ps, cmd_list, cmd_pause, cmd_resume, cmd_spec, cmd_features, cmd_doctor,
	cmd_update, cmd_events, cmd_slots, cmd_trace, cmd_help, cmd_completion, cmd_man;

/* The command of that name, or NULL. */
const struct command *command_find(const char *name);

/*
 * Parses options up to the first argument (or "--").  Returns the number of words used, or
 * -EINVAL with a sentence naming the bad option or value.
 */
int options_parse(const struct option *table, int argc, char **argv, struct error *err);

/* Helpers that several commands share. */
int command_wait_child(int pid); /* exit status as a shell shows it */
int command_check_preserve_fds(unsigned int n, struct error *err);

#endif
