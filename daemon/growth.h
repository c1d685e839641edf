/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rest of a guest's memory, which comes while the guest runs (vmm/growth.h is the other end).
 *
 * Step by step in a thread of its own: a piece is filled, which zeroes it; mapped for the function
 * that was lent with it; and only then named to the holder.  So neither guest nor function can
 * reach a page of it that is not zero or the guest's own.
 *
 * Steps are marks of lib/timeline.h: growth-filled, growth-mapped, growth-told.
 */
#ifndef CAISSON_DAEMON_GROWTH_H
#define CAISSON_DAEMON_GROWTH_H

#include "daemon/job.h"

struct growth {
	/* Given. */
	uint64_t memory, max; /* bytes: there already, at last */
	uint32_t threads;
	int done_fd;		/* eventfd that is written to at the end */
	int memory_fd, tell_fd; /* its own */
	struct vfio_lent space; /* its own: the function's address space; space.fd -1: none */
	atomic_bool stop;	/* set when the holder is gone */
	/* The result. */
	struct error error; /* code 0: it is all there, or it was stopped */
	atomic_bool done;
	pthread_t thread;
};

/*
 * Of memory that is about to be lent, `memory` bytes of which are p's: makes room for max and gives
 * *ret what it takes to fill it, and *ret_fd the end that the holder reads.  With huge pages they
 * are reserved: -ENOMEM with a sentence, and nothing changed, when there are too few.
 */
int growth_new(struct parts *p, uint64_t max, bool hugepages, struct growth **ret, int *ret_fd,
	       struct error *err);
int growth_start(struct growth *g, struct error *err);
/* It was not lent after all: the memory is as before, and this is freed. */
void growth_cancel(struct growth *g);
/* Stops it, waits for that, closes and frees; also of one that was not started. */
void growth_free(struct growth *g);

#endif
