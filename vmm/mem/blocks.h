/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Huge pages of a memfd, and where the host has them: for memory that a guest sees at
 * the host's addresses, whoever makes it.  Physical addresses are the kernel's to tell
 * (/proc/self/pagemap), to who has CAP_SYS_ADMIN; else the module caisson is asked, which tells who
 * may open its device (CAISSON_ADD_MEMORY).
 */
#ifndef CAISSON_MEM_BLOCKS_H
#define CAISSON_MEM_BLOCKS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/error.h"

#define MEM_BLOCK (2ull << 20) /* a huge page */

/*
 * All of a memfd of `size` bytes of huge pages is at `mapped`, and nobody else knows where its
 * pages are: has them go up in it as they do in the host, as far as they can be had, by giving them
 * back and taking them again.  With `others`, where no 32 MiB follow each other or it is in more
 * than eight pieces, takes three quarters of the free pages for a moment and keeps the best.  What
 * was in them is lost; they are zero.  Best effort: needs to see physical addresses, and that
 * nobody else takes huge pages meanwhile.
 */
int mem_blocks_sort(uint8_t *mapped, int fd, uint64_t size, bool others, struct error *err);

/* The physical address of each block of `size` bytes of huge pages at `mapped`; they are there
 * afterwards.  Until they are pinned the kernel may move them.  -EPERM: it does not say. */
int mem_blocks_find(uint8_t *mapped, uint64_t size, uint64_t *ret, struct error *err);

#endif
