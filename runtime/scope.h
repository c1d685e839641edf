/* SPDX-License-Identifier: Apache-2.0 */
/*
 * systemd's cgroups: a transient scope unit for a sandbox, made by systemd over
 * D-Bus, where it wants to own the cgroup tree (org.freedesktop.systemd1(5),
 * "Control Group Interfaces").
 *
 * The path in the configuration is "slice:prefix:name", for the unit PREFIX-NAME.scope
 * in that slice.  A scope begins with a process in it, and systemd takes it away with
 * the last one; in between its cgroup is delegated, and used like any other
 * (runtime/cgroup.h) by the path that is returned here.
 */
#ifndef CAISSON_RUNTIME_SCOPE_H
#define CAISSON_RUNTIME_SCOPE_H

#include <stdbool.h>
#include <sys/types.h>

#include "lib/error.h"
#include "runtime/config.h"

struct scope {
	char slice[256];
	char unit[256];
};

/* 0, or -EINVAL for what is not of that form, -EOPNOTSUPP where there is no systemd. */
int scope_parse(const char *path, struct scope *ret, struct error *err);

/*
 * Starts the scope with process pid in it and sets what r says.  *ret_cgroup: its path in the
 * unified hierarchy, on the heap.  0 or -errno with err set; -EOPNOTSUPP without that hierarchy.
 */
int scope_start(const struct scope *s, pid_t pid, const struct config_host_resources *r,
		char **ret_cgroup, struct error *err);

/*
 * Ends it, and waits until systemd has: who removes its cgroup without that may be quicker than the
 * kernel's word that it is empty, and the unit would stay.  0, also when it is gone; else -errno
 * with err set.
 */
int scope_stop(const char *unit, struct error *err);

/* Sets what r says, until the scope ends.  0 or -errno with err set. */
int scope_update(const char *unit, const struct config_host_resources *r, struct error *err);

#endif
