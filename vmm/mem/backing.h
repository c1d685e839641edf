/* SPDX-License-Identifier: Apache-2.0 */
/* What guest memory is made of, whoever makes it: the monitor for itself, or a lender. */
#ifndef CAISSON_MEM_BACKING_H
#define CAISSON_MEM_BACKING_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/error.h"

/*
 * A memfd of `size` bytes, of 2 MiB pages if asked, with no page in it yet.  Sealed against
 * resizing: others get it too, and who cuts it short would kill the rest by SIGBUS.
 */
int mem_backing_open(uint64_t size, bool hugepages, struct error *err);

/* The same in two steps, for a lender, who may make it longer before it leaves. */
int mem_backing_make(uint64_t size, bool hugepages, struct error *err);
int mem_backing_seal(int fd, struct error *err);

#endif
