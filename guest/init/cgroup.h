/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cgroup v2 of containers: one directory /<id> each, the agent stays in the root.
 * A container may make groups below its own, so everything here goes down the tree.
 */
#ifndef CAISSON_INIT_CGROUP_H
#define CAISSON_INIT_CGROUP_H

#include <stdbool.h>

#include "lib/error.h"
#include "lib/spec.h"

/* Mounts the hierarchy for the agent and turns the controllers on. */
int cgroup_init(struct error *err);

/* Makes the group: a directory descriptor (close-on-exec) or -errno. */
int cgroup_create(const char *id, struct error *err);
/* Removes the group and those below it; they hold no process any more. */
void cgroup_remove(const char *id);

int cgroup_apply(int dir, const struct spec_resources *r, struct error *err);
int cgroup_kill(int dir);
int cgroup_freeze(int dir, bool frozen, struct error *err);

struct cgroup_state {
	bool populated, frozen;
};

/* cgroup.events: a descriptor that polls EPOLLPRI on a change, and what it says now. */
int cgroup_events_open(int dir, struct error *err);
struct cgroup_state cgroup_events_read(int fd);

/* Its figures as lines "FILE VALUE" and "FILE.KEY VALUE"; as many as fit. */
void cgroup_stats(int dir, char *buf, size_t size);

/* True if the OOM killer took a process of the group. */
bool cgroup_saw_oom(int dir);

/* Calls fn with each process of the group and those below: 0, or what fn returned if not 0. */
int cgroup_each(int dir, int (*fn)(int pid, void *arg), void *arg);

/* The group in which process pid is now: a directory descriptor or -errno. */
int cgroup_of_process(int pid);

#endif
