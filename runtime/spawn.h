/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processes that outlive the command.  Each starts behind a gate: it waits until the
 * command has put its pid on record and lets it go, and until the command has
 * committed (everything is in place) the command's death is its end.
 */
#ifndef CAISSON_RUNTIME_SPAWN_H
#define CAISSON_RUNTIME_SPAWN_H

#include <stdbool.h>
#include <sys/types.h>

#include "lib/error.h"
#include "lib/msg.h"
#include "vmm/machine.h"

struct spawned {
	pid_t pid;
	int gate_fd;   /* ours: one byte lets it go, a second one commits */
	int status_fd; /* ours: it writes how its start went */
};

#define SPAWNED_NONE                                                                               \
	{                                                                                          \
		.pid = 0, .gate_fd = -1, .status_fd = -1                                           \
	}

struct spawn_proxy {
	int dir_fd;   /* of the container: where the monitor listens */
	uint8_t type; /* WIRE_CREATE, WIRE_EXEC */
	const struct msg *request;
	int tty_fd; /* -1: none */
	unsigned int preserve_fds;
	bool attached;
	int hold_fd;	   /* kept open for as long as the proxy lives; -1: none */
	bool join_netns;   /* be in the container's network namespace, so that the pid shows it */
	const char *netns; /* with join_netns; NULL: a new one */
};

/* Returns when it waits at its gate (and is in its network namespace).  A struct error comes on
 * status_fd when the guest has answered. */
int spawn_proxy(const struct spawn_proxy *o, struct spawned *ret, struct error *err);

/* The monitor; m's descriptors are the caller's numbers.  Text on status_fd: why it failed. */
int spawn_monitor(const char *path, const struct machine *m, int oom_score_adj, struct spawned *ret,
		  struct error *err);

void spawn_go(struct spawned *s);
void spawn_commit(struct spawned *s);
/* Closes our ends; before the commit this ends the process. */
void spawn_done(struct spawned *s);

#endif
