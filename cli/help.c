// SPDX-License-Identifier: Apache-2.0
/* The help text, the man pages and the shell completion: all from the commands' tables. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/command.h"

static const struct option no_options[] = {{.name = NULL}};

static void print_options(const struct option *table)
{
	for (const struct option *o = table; o->name; o++) {
		char left[64];

		snprintf(left, sizeof(left), "%s%c%s--%s%s%s", o->letter ? "-" : "  ",
			 o->letter ? o->letter : ' ', o->letter ? ", " : "", o->name,
			 o->arg ? " " : "", o->arg ? o->arg : "");
		printf("  %-34s %s\n", left, o->help);
	}
}

static int print_command(const char *name, struct error *err)
{
	const struct command *c = command_find(name);

	if (!c)
		return error_set(err, EINVAL, "'%s' is not a command", name);
	printf("caisson [GLOBAL OPTION...] %s [OPTION...] %s\n\n%s\n", c->name, c->args,
	       c->summary);
	if (c->details)
		printf("\n%s\n", c->details);
	if (c->options->name)
		printf("\nOptions:\n");
	print_options(c->options);
	return 0;
}

static int run_help(const struct globals *g, unsigned int argc, char **argv, struct error *err)
{
	(void)g;
	if (argc)
		return print_command(argv[0], err);
	printf("caisson [GLOBAL OPTION...] COMMAND [OPTION...] [ARG...]\n\n"
	       "Runs OCI containers, each behind its own guest kernel.\n\nCommands:\n");
	for (unsigned int i = 0; commands[i]; i++)
		printf("  %-12s %s\n", commands[i]->name, commands[i]->summary);
	printf("\nGlobal options:\n");
	print_options(global_options);
	return 0;
}

/* Text in roff: a line must not begin with a dot, and hyphens are minus signs. */
static void roff(const char *text)
{
	for (; *text; text++)
		if (*text == '-')
			fputs("\\-", stdout);
		else if (*text == '\\')
			fputs("\\e", stdout);
		else
			putchar(*text);
}

static void roff_options(const struct option *table)
{
	for (const struct option *o = table; o->name; o++) {
		printf(".TP\n");
		if (o->letter)
			printf("\\fB\\-%c\\fR, ", o->letter);
		printf("\\fB\\-\\-");
		roff(o->name);
		printf("\\fR");
		if (o->arg)
			printf(" \\fI%s\\fR", o->arg);
		putchar('\n');
		roff(o->help);
		putchar('\n');
	}
}

static void man_command(const struct command *c)
{
	printf(".TH CAISSON\\-%s 8\n.SH NAME\ncaisson\\-%s \\- ", c->name, c->name);
	roff(c->summary);
	printf("\n.SH SYNOPSIS\n\\fBcaisson\\fR [\\fIGLOBAL OPTION\\fR...] \\fB%s\\fR "
	       "[\\fIOPTION\\fR...] %s\n",
	       c->name, c->args);
	if (c->details) {
		printf(".SH DESCRIPTION\n");
		roff(c->details);
		putchar('\n');
	}
	if (c->options->name)
		printf(".SH OPTIONS\n");
	roff_options(c->options);
	printf(".SH SEE ALSO\n\\fBcaisson\\fR(8)\n");
}

static void man_main(void)
{
	printf(".TH CAISSON 8\n.SH NAME\ncaisson \\- run OCI containers, each behind its own guest "
	       "kernel\n.SH SYNOPSIS\n\\fBcaisson\\fR [\\fIGLOBAL OPTION\\fR...] \\fICOMMAND\\fR "
	       "[\\fIOPTION\\fR...] [\\fIARG\\fR...]\n.SH COMMANDS\n");
	for (unsigned int i = 0; commands[i]; i++) {
		printf(".TP\n\\fB%s\\fR %s\n", commands[i]->name, commands[i]->args);
		roff(commands[i]->summary);
		putchar('\n');
	}
	printf(".SH GLOBAL OPTIONS\n");
	roff_options(global_options);
	printf(".SH FILES\n.TP\n/etc/caisson/config.json\nsettings\n.TP\n/run/caisson\nstate of "
	       "containers\n.TP\n/var/cache/caisson\nroot file system images\n");
}

static int run_man(const struct globals *g, unsigned int argc, char **argv, struct error *err)
{
	const struct command *c;

	(void)g;
	if (!argc) {
		man_main();
		return 0;
	}
	c = command_find(argv[0]);
	if (!c)
		return error_set(err, EINVAL, "'%s' is not a command", argv[0]);
	man_command(c);
	return 0;
}

static void completion_words(const struct option *table)
{
	for (const struct option *o = table; o->name; o++)
		printf("--%s ", o->name);
}

static int run_completion(const struct globals *g, unsigned int argc, char **argv,
			  struct error *err)
{
	(void)g, (void)argc;
	if (strcmp(argv[0], "bash") != 0)
		return error_set(err, EINVAL, "'%s' is not a shell this knows (bash)", argv[0]);
	printf("_caisson() {\n\tlocal cur=${COMP_WORDS[COMP_CWORD]} word cmd= words\n"
	       "\tfor word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n\t\tcase $word in\n\t\t");
	for (unsigned int i = 0; commands[i]; i++)
		printf("%s%s", i ? "|" : "", commands[i]->name);
	printf(") cmd=$word; break ;;\n\t\tesac\n\tdone\n\tcase $cmd in\n");
	for (unsigned int i = 0; commands[i]; i++) {
		printf("\t%s) words='", commands[i]->name);
		completion_words(commands[i]->options);
		printf("'");
		if (strncmp(commands[i]->args, "ID", 2) == 0)
			printf(" words+=$(caisson list --quiet 2>/dev/null)");
		printf(" ;;\n");
	}
	printf("\t*) words='");
	completion_words(global_options);
	for (unsigned int i = 0; commands[i]; i++)
		printf("%s ", commands[i]->name);
	printf("' ;;\n\tesac\n\tCOMPREPLY=($(compgen -o default -W \"$words\" -- \"$cur\"))\n}\n"
	       "complete -F _caisson caisson\n");
	return 0;
}

const struct command cmd_help = {
	.name = "help",
	.args = "[COMMAND]",
	.summary = "show the commands, or the options of one",
	.options = no_options,
	.args_max = 1,
	.run = run_help,
};

const struct command cmd_man = {
	.name = "man",
	.args = "[COMMAND]",
	.summary = "print a man page (roff)",
	.options = no_options,
	.args_max = 1,
	.run = run_man,
};

const struct command cmd_completion = {
	.name = "completion",
	.args = "SHELL",
	.summary = "print the completion script for a shell (bash)",
	.options = no_options,
	.args_min = 1,
	.args_max = 1,
	.run = run_completion,
};
