/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OCI hooks (runtime-spec config.md, "POSIX-platform Hooks"): programs on the host, run one after
 * the other with the container's state on standard input.
 */
#ifndef CAISSON_RUNTIME_HOOKS_H
#define CAISSON_RUNTIME_HOOKS_H

#include "lib/error.h"
#include "runtime/config.h"
#include "runtime/state.h"

/* Stops at the first that fails (not started, non-zero status, timeout: it is killed).  0 or
 * -errno with a sentence. */
int hooks_run(const struct config *c, enum config_hook_kind kind, const struct state *s,
	      struct error *err);

/* Runs them all; one that fails is a warning (runtime.md, "Lifecycle": poststart, poststop). */
void hooks_run_all(const struct config *c, enum config_hook_kind kind, const struct state *s);

/*
 * The startContainer hooks: programs of the container's root file system, run inside it, before
 * its process, as root with the capabilities of that process's bounding set.
 */
int hooks_run_inside(const struct config *c, const struct state *s, int dir_fd, struct error *err);

#endif
