/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Work that sleeps in the kernel, as bringing up a network card does: a process of its own does it,
 * a copy of the agent, beside the agent's loop, in which nothing may wait.
 */
#ifndef CAISSON_INIT_ERRAND_H
#define CAISSON_INIT_ERRAND_H

#include "guest/init/loop.h"
#include "lib/error.h"

struct errand {
	struct watch watch;
	/* From the loop, once for each that was sent; code 0: it is done.  Another may be sent. */
	void (*done)(struct errand *e, const struct error *err);
};

static inline bool errand_is_out(const struct errand *e)
{
	return e->watch.added;
}

/* Runs work(arg, err) in the copy; one at a time.  e is to stay where it is.  -err->code: it was
 * not sent, and done() will not be called. */
int errand_send(struct errand *e, int (*work)(const void *arg, struct error *err), const void *arg,
		struct error *err);

#endif
