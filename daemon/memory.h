/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest memory that is there and zero before anybody asks for it.
 *
 * Always new memory: a memfd's pages come zeroed from the kernel, and what another process may
 * still have of the memory before is of no use to it.  There is nothing to prove about a memfd
 * that comes back, since none is used again.
 */
#ifndef CAISSON_DAEMON_MEMORY_H
#define CAISSON_DAEMON_MEMORY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/error.h"

/* How fast.  Shared by all threads; `urgent` and `stop` may be set at any time. */
struct memory_pace {
	uint32_t threads; /* for one memory when it is urgent; else one */
	uint32_t cpu; /* per cent of one CPU, for all that is not urgent together; 0: no limit */
	atomic_bool *urgent, *stop;
};

/*
 * A memfd of `size` bytes, every page present, not sealed yet.  2 MiB pages: -ENOMEM with a
 * sentence when there are not enough free.  -ECANCELED: stop was set.
 */
int memory_make(uint64_t size, bool hugepages, const struct memory_pace *pace, int *ret_fd,
		struct error *err);

/*
 * The same of 2 MiB pages, which go up in it as they do in the host, as far as that can be had
 * (vmm/mem/blocks.h): for engine cki, whose module must be there.  One at a time, monitors
 * included.
 */
int memory_make_in_place(uint64_t size, const struct memory_pace *pace, int *ret_fd,
			 struct error *err);

/*
 * Room for `max` bytes behind the `size` that are there; 2 MiB pages are reserved for it, or
 * -ENOMEM with a sentence and it is as it was.
 */
int memory_resize(int fd, uint64_t size, uint64_t max, bool hugepages, struct error *err);
/* The pages of a part of it are there from now on. */
int memory_fill(int fd, uint64_t offset, uint64_t size, const struct memory_pace *pace,
		struct error *err);

#endif
