/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What concerns the whole guest: the agent's own view of files, what WIRE_SETUP
 * asks for, and the end.
 */
#ifndef CAISSON_INIT_SANDBOX_H
#define CAISSON_INIT_SANDBOX_H

#include "lib/error.h"
#include "lib/spec.h"

/*
 * The agent's root, seen by no container.  Mount points in it are used by each
 * container's first process in a mount namespace of its own.
 */
#define AGENT_CGROUP "/cgroup"
#define AGENT_SHARES "/shares"
#define AGENT_LOWER "/lower"
#define AGENT_UPPER "/upper"
#define AGENT_ROOT "/root"
#define AGENT_SCRATCH "/scratch" /* for mounts that are moved to where they belong */

/* What the agent needs to find its channel. */
int sandbox_boot(struct error *err);
/* The rest, done while the host digests WIRE_READY. */
int sandbox_prepare(struct error *err);
/* WIRE_SETUP. */
int sandbox_setup(const struct spec_sandbox *s, struct error *err);
/* Unmounts what has to reach the host; sandbox_end() does not return. */
void sandbox_sync(void);
void sandbox_end(void) __attribute__((noreturn));

#endif
