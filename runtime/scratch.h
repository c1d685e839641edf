/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scratch disk: what a container writes, when it is more than its memory should
 * hold.  A sparse file without a name, so it vanishes with its last user whatever
 * happens; formatted ext4 on the host, which nobody but the guest ever mounts.
 */
#ifndef CAISSON_RUNTIME_SCRATCH_H
#define CAISSON_RUNTIME_SCRATCH_H

#include <stdint.h>

#include "lib/error.h"

/* A descriptor of a new one of `size` bytes in directory `cache`, or -errno. */
int scratch_open(const char *cache, uint64_t size, struct error *err);

#endif
