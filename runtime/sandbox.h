/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a sandbox on the host, from a bundle to nothing left.
 *
 * Everything that could stay behind is named in the state directory before it is
 * made, and every process made here waits until its pid is on record; so
 * sandbox_destroy() finds all of it whoever died when, and a failed create is
 * undone by the same function.
 */
#ifndef CAISSON_RUNTIME_SANDBOX_H
#define CAISSON_RUNTIME_SANDBOX_H

#include <stdbool.h>
#include <sys/types.h>

#include "lib/error.h"
#include "runtime/config.h"
#include "runtime/state.h"

struct sandbox_options {
	const char *root; /* absolute */
	const char *id;
	const char *bundle;   /* any path; NULL: the working directory */
	const char *config;   /* NULL: BUNDLE/config.json */
	const char *settings; /* NULL: SETTINGS_FILE */
	const char *pid_file;
	const char *console_socket;
	bool systemd_cgroup, no_cgroup;
	bool attached; /* the caller waits for the proxy: same session and terminal */
	unsigned int preserve_fds;
};

/* A container that a command works on. */
struct container {
	int dir_fd;
	int lock_fd; /* -1: not locked */
	struct state state;
};

/* Opens an existing container; with lock, takes its lock for the life of *ret. */
int container_open(struct container *ret, const char *root, const char *id, bool lock,
		   struct error *err);
void container_done(struct container *c);

/*
 * Everything up to, not including, the start of the container's process.  On success the proxy
 * and the monitor live on their own; *ret_proxy is the proxy's pid (a child of the caller).
 */
int sandbox_create(const struct sandbox_options *o, pid_t *ret_proxy, struct error *err);

/* Lets the container's process go (locked). */
int sandbox_start(struct container *c, struct error *err);

/*
 * Ends and removes all of it: processes, network, cgroup, files.  Idempotent.  The caller has
 * made sure that it may.  On error what could be removed is, and the state stays for another try.
 */
int sandbox_destroy(const char *root, const char *id, int dir_fd, struct error *err);

/* Why its machine ended, in the words of its monitor, which may have fallen; false: in order, or
 * not yet. */
bool sandbox_failure(int dir_fd, struct error *ret);

/* The configuration the container was created from. */
int sandbox_config(const struct container *c, struct config *ret, struct error *err);

#endif
