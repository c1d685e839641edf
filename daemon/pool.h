/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The slots together: which one a request gets, and which one is worked on next.  Pure, as
 * daemon/slot.h.  Slots stay where they are until pool_remove(): pointers to them are good as long.
 */
#ifndef CAISSON_DAEMON_POOL_H
#define CAISSON_DAEMON_POOL_H

#include "daemon/slot.h"

#define POOL_SLOTS_MAX 4096u

struct pool {
	struct slot **v;
	uint32_t n, capacity;
	uint32_t next_number;
	bool draining; /* all of it, and what is still to come */
	uint64_t
		on_demand; /* bytes of memory that slots on demand, and growth, may have together */
	bool hugepages, lazy_memory; /* of slots on demand */
};

/* A copy of *model with a number of its own; NULL: out of memory, or POOL_SLOTS_MAX is reached. */
struct slot *pool_add(struct pool *p, const struct slot *model);
void pool_remove(struct pool *p, struct slot *s);
void pool_done(struct pool *p);

struct slot *pool_by_number(const struct pool *p, uint32_t number);
struct slot *pool_by_lease(const struct pool *p, const char *id);
/* The one with a lease of that owner's that has not been released. */
struct slot *pool_by_owner(const struct pool *p, const char *owner);

/* A slot that is free and ready and fits best; NULL: none. */
struct slot *pool_ready(const struct pool *p, const struct lease_want *want);
/*
 * One that is free, fits and can be made ready, best first; NULL: none.  Of memory alone a slot on
 * demand is made if nothing else is left and the limit allows it.
 */
struct slot *pool_soon(struct pool *p, const struct lease_want *want);
/* There is, or may be made, something like it, though it may be lent now.  0, or -ENOENT with a
 * sentence. */
int pool_possible(const struct pool *p, const struct lease_want *want, struct error *err);
/* So many bytes may be promised besides.  0, or -EAGAIN with a sentence. */
int pool_may_grow(const struct pool *p, uint64_t bytes, struct error *err);
/* A free and ready slot of that memory and nothing else, whose memory another may have. */
struct slot *pool_donor(const struct pool *p, uint64_t memory, bool hugepages);

/* What to work on next: slots that somebody waits for first, then the longest idle; NULL: nothing
 * now.  *ret_when is when to ask again (CLOCK_MONOTONIC ns, UINT64_MAX: never by itself). */
struct slot *pool_work(const struct pool *p, uint64_t now, uint64_t *ret_when);

/* `what` of lease_drain(): does it name this slot?  NULL names all. */
bool pool_named(const struct slot *s, const char *what);

#endif
