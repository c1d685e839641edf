/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mounts, masked and read-only paths of a container.  All run in its first
 * process before the change of root; `root` is the O_PATH descriptor of its root.
 */
#ifndef CAISSON_INIT_MOUNTS_H
#define CAISSON_INIT_MOUNTS_H

#include "lib/error.h"
#include "lib/spec.h"

/* In the order of the configuration. */
int mounts_make(int root, const struct spec_container *c, struct error *err);
/* What waits until devices and mount points are made in them: read-only tmpfs. */
int mounts_finish(int root, const struct spec_container *c, struct error *err);
int mounts_mask(int root, const struct strv *paths, struct error *err);
int mounts_make_readonly(int root, const struct strv *paths, struct error *err);

#endif
