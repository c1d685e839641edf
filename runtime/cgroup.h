/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's cgroup of a sandbox: where the monitor and the proxy live, so that the
 * host can account for them, limit their CPU time, and end them all at once.  (The
 * container's own limits are the guest's affair.)
 *
 * Works with whatever /proc/self/mountinfo shows: cgroup v2, v1 hierarchies, or both.
 * A path means the same in each hierarchy: below its mount point when absolute, below
 * /caisson there when relative.  (config-linux.md leaves that place to the runtime, and
 * one that does not depend on who calls lets `delete` find what `create` made.)
 *
 * Where systemd is to make it, it does (scope.h), and what is used here is the path.
 *
 * Trust: the path comes from the configuration; components ".." are refused.  Whatever
 * is in the cgroup when it is removed gets killed, so create() refuses one that holds
 * processes already.
 *
 * Source: Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/.
 */
#ifndef CAISSON_RUNTIME_CGROUP_H
#define CAISSON_RUNTIME_CGROUP_H

#include <stdbool.h>
#include <sys/types.h>

#include "lib/error.h"
#include "runtime/config.h"

/*
 * Makes the cgroup in every hierarchy and sets what r says.  A cgroup that is there and empty is
 * taken.  0, or -errno with err set and what was made removed: -EINVAL for the path, -EBUSY when
 * it has processes, -EOPNOTSUPP when r needs a controller that is not there, -EROFS.
 */
int cgroup_create(const char *path, const struct config_host_resources *r, struct error *err);

/* Sets what r says in one that is there.  0 or -errno with err set. */
int cgroup_update(const char *path, const struct config_host_resources *r, struct error *err);

/* Moves a process there.  0 or -errno with err set. */
int cgroup_enter(const char *path, pid_t pid, struct error *err);

/*
 * Kills every process in it and below (but the caller), and waits until they are gone.  0, also
 * when the cgroup is not there; -EBUSY: some do not go; else -errno with err set.
 */
int cgroup_kill(const char *path, struct error *err);

/* Removes it and the cgroups below it.  0, also when it is not there; -EBUSY: it has processes;
 * else -errno with err set. */
int cgroup_remove(const char *path, struct error *err);

#endif
