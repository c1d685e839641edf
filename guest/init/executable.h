/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The program of a process, looked for as the user that will run it, with the
 * PATH of its own environment.
 */
#ifndef CAISSON_INIT_EXECUTABLE_H
#define CAISSON_INIT_EXECUTABLE_H

#include <limits.h>

#include "lib/error.h"
#include "lib/spec.h"

struct executable {
	char path[PATH_MAX];
	char **args, **env; /* the process's, NULL-terminated; env has HOME */
};

/*
 * In the root and directory of the caller.  The errors are what callers of a
 * runtime tell "not found" and "cannot be run" by:
 *
 *	exec 'foo': executable file not found in $PATH
 *	exec '/bin/foo': no such file or directory
 *	exec '/bin/foo': permission denied
 */
int executable_find(struct executable *ret, const struct spec_process *p, struct error *err);
int executable_error(struct error *err, int code, const char *name);

#endif
