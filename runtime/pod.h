/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pods: containers that live in the guest of another one, their sandbox.  Who is
 * what the manager says in annotations (config.h, enum config_pod).
 *
 * A member has the sandbox's network, and what else the configuration asks for
 * (IPC, UTS, PID); its image and volumes are shares of the running guest
 * (share.h).  Its proxy is a client of the sandbox's monitor like any other; it has
 * no monitor, no machine and no network of its own, so that taking it down leaves
 * the sandbox as it was.
 */
#ifndef CAISSON_RUNTIME_POD_H
#define CAISSON_RUNTIME_POD_H

#include "lib/error.h"
#include "runtime/config.h"
#include "runtime/state.h"

/* The engine that the machine of c->sandbox has, in c's memory.  0 or -errno with err set. */
int pod_engine(const char *root, const char *id, struct config *c, char **ret, struct error *err);

/*
 * Makes the container of `own` (its state directory dir_fd, already on record) a member of
 * c->sandbox: checks that namespaces given by path are the sandbox's, attaches the image and the
 * shares, and rewrites c->container to find them in the guest.
 */
int pod_join(const char *root, int dir_fd, struct state *own, struct config *c, int image_fd,
	     struct error *err);

/* Waits until the guest has no such container any more and takes its shares away.  A sandbox that
 * is gone has taken them along. */
int pod_leave(const char *root, int dir_fd, const struct state *own, struct error *err);

#endif
