/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lender: slots with what belongs to them on this host (descriptors, work, holders), and
 * their record.
 *
 * The record, state.json in the daemon's directory, is what a daemon knows that starts where
 * another one died.  It is replaced atomically, and before anybody is told: a lease is on record
 * before it is granted, a slot is on record as no longer clean before its descriptors leave.  What
 * is not on record as lent was not lent; what is on record as ready is only ready again if its
 * very descriptors are still there (daemon/notify.h).
 *
 * One thread; jobs have their own (daemon/job.h).
 */
#ifndef CAISSON_DAEMON_LENDER_H
#define CAISSON_DAEMON_LENDER_H

#include "daemon/config.h"
#include "daemon/job.h"
#include "daemon/notify.h"
#include "daemon/pool.h"

struct unit; /* one slot's */

struct lender {
	struct daemon_config config;
	struct pool pool;
	struct unit *units;
	struct notify *notify;
	int dir_fd, lock_fd, epoll_fd, done_fd;
	unsigned int jobs; /* at work */
	bool changed;	   /* since it was last recorded */
	bool stopping;
	int64_t since; /* CLOCK_REALTIME seconds */
	uint64_t saves;
	uint64_t granted, refused, returned, quarantined;
};

/* epoll events of the lender's carry its address of a unit or LENDER_DONE; other users of the same
 * epoll descriptor use numbers below LENDER_DONE. */
#define LENDER_DONE 256u

/* Reads the record, finds what is still lent.  n->fds is what another daemon left. */
int lender_init(struct lender *l, const char *config, struct notify *n, int epoll_fd,
		struct error *err);
/* Ends the work; what is lent stays lent. */
void lender_done(struct lender *l);

void lender_event(struct lender *l, uint64_t data);
/* Begins and ends work, forgets what is over.  Returns ms until it should be called again, -1:
 * not by itself. */
int lender_step(struct lender *l);
/* Puts what has changed on record. */
int lender_save(struct lender *l, struct error *err);

/*
 * Sits a new lease down on a slot that is ready, or (soon) can be made so.  NULL: none is free now.
 * Until lender_grant() it is not on record.
 */
struct slot *lender_reserve(struct lender *l, const struct lease_want *want,
			    const struct state_process *holder, bool soon);
int lender_grant(struct lender *l, struct slot *s, struct error *err);

/* The lease wants so much memory; begins to see to it. */
int lender_want(struct lender *l, struct slot *s, uint64_t memory, struct error *err);
/*
 * Hands the parts over: on record, and *ret has them until lender_taken(), but for growth_fd, which
 * is the caller's.  holder is alive.  max: bytes that the memory is to grow to; a growth as
 * mem_growth() has it, or none.
 */
int lender_take(struct lender *l, struct slot *s, const struct state_process *holder, uint64_t max,
		struct lease_taken *ret, struct error *err);
/* They have left (or not: it makes no difference). */
void lender_taken(struct lender *l, struct slot *s);

/* pidfd is taken over. */
int lender_hold(struct lender *l, struct slot *s, int pidfd, struct error *err);
void lender_release(struct lender *l, struct slot *s);
/* A lease that was not granted, or its grant did not arrive. */
void lender_cancel(struct lender *l, struct slot *s);

void lender_drain(struct lender *l, const char *what, bool drain);

#endif
