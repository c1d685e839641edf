/* SPDX-License-Identifier: Apache-2.0 */
/* What `create` and `run` have in common. */
#ifndef CAISSON_CLI_CREATE_H
#define CAISSON_CLI_CREATE_H

#include <string.h>

#include "cli/command.h"
#include "runtime/sandbox.h"

struct create_options {
	const char *bundle, *config, *pid_file, *console_socket;
	unsigned int preserve_fds;
};

extern struct create_options create_options;

#define CREATE_OPTIONS                                                                             \
	{"bundle",                                                                                 \
	 'b',                                                                                      \
	 OPTION_STRING,                                                                            \
	 "DIR",                                                                                    \
	 "the bundle's directory (the working directory)",                                         \
	 &create_options.bundle},                                                                  \
		{"config",                                                                         \
		 'f',                                                                              \
		 OPTION_STRING,                                                                    \
		 "FILE",                                                                           \
		 "the configuration, in place of DIR/config.json",                                 \
		 &create_options.config},                                                          \
		{"pid-file",                                                                       \
		 0,                                                                                \
		 OPTION_STRING,                                                                    \
		 "FILE",                                                                           \
		 "write the pid of the container's process to FILE",                               \
		 &create_options.pid_file},                                                        \
		{"console-socket",                                                                 \
		 0,                                                                                \
		 OPTION_STRING,                                                                    \
		 "SOCKET",                                                                         \
		 "send the terminal's master to the listener on SOCKET",                           \
		 &create_options.console_socket},                                                  \
		{"preserve-fds",                                                                   \
		 0,                                                                                \
		 OPTION_NUMBER,                                                                    \
		 "N",                                                                              \
		 "carry N more descriptors, 3 and up",                                             \
		 &create_options.preserve_fds},                                                    \
		{"no-pivot", 0, OPTION_IGNORED, NULL, "taken and ignored", NULL},                  \
		{"no-new-keyring", 0, OPTION_IGNORED, NULL, "taken and ignored", NULL},            \
	{                                                                                          \
		"no-subreaper", 0, OPTION_IGNORED, NULL, "taken and ignored", NULL                 \
	}

void create_sandbox_options(struct sandbox_options *o, const struct globals *g, const char *id);

#endif
