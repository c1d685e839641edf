/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A container: a cgroup and a first process.  It is made by WIRE_CREATE and gone
 * when its first process and all others have ended and that has been told.
 */
#ifndef CAISSON_INIT_CONTAINER_H
#define CAISSON_INIT_CONTAINER_H

#include <stdbool.h>
#include <stdint.h>

#include "guest/init/loop.h"
#include "lib/error.h"
#include "lib/spec.h"
#include "lib/wire.h"

struct process;

struct container {
	struct container *next;
	char *id;
	uint64_t unshare;
	char *pid_of;	       /* container whose pid namespace it has; NULL: none */
	struct process *first; /* NULL while it is being made, and when it is over */
	int group;	       /* its cgroup directory, or -1 */
	struct watch events;   /* its cgroup.events */
	int mounts;	       /* its mount namespace, kept until the end was told; or -1 */
	struct timer mounts_timer;
	bool dying; /* its first process has ended */
	bool oom;
	uint32_t freeze_reply_to; /* session that waits for the freezer; 0: none */
	bool freeze_wanted;
	struct timer freeze_timer;
};

/* Requests; those that return 0 answer by themselves when they are done. */
int container_create(uint32_t session, const struct spec_container *spec, struct error *err);
int container_start(uint32_t session, const char *id, struct error *err);
int container_exec(uint32_t session, const char *id, const struct spec_process *p,
		   struct error *err);
int container_freeze(uint32_t session, const struct wire_freeze *f, struct error *err);

/* Requests that are done when they return. */
int container_signal(const char *id, int signal, bool all, struct error *err);
int container_update(const char *id, const struct spec_resources *r, struct error *err);
/* Processes with their pids as seen inside, and figures (lib/wire.h), on the heap. */
int container_ps(const char *id, char **ret, struct error *err);
int container_stats(const char *id, char **ret, struct error *err);

/* A pidfd by which to join the other container's pid namespace that c has; -1: it has none. */
int container_pids(const struct container *c);

void container_kill(struct container *c);
/* Kills all; true when none is left. */
bool container_kill_all(void);

/* From process.c: the first process is ready, has ended; a process has been forgotten. */
void container_first_ready(struct container *c);
void container_first_ended(struct container *c);
void container_process_gone(struct container *c, bool first);
/* True if the OOM killer took a process of it. */
bool container_check_oom(struct container *c);

#endif
