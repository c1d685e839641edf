/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A container's root file system.  Everything here runs in the container's first
 * process, in a mount namespace of its own that starts as a copy of the agent's.
 */
#ifndef CAISSON_INIT_ROOTFS_H
#define CAISSON_INIT_ROOTFS_H

#include "lib/error.h"
#include "lib/spec.h"

/* Mounts image and upper layer on AGENT_ROOT: an O_PATH descriptor of it, or -errno. */
int rootfs_mount(const struct spec_rootfs *r, struct error *err);
/* Makes it the root of the namespace; the agent's mounts are gone from it. */
int rootfs_enter(int root, const struct spec_rootfs *r, struct error *err);

#endif
