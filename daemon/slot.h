/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A slot: what may happen to it, and when.  Pure: nothing here touches the host; whoever does
 * (daemon/job.h) reports.  Its rules are tested with random events (tests/unit/test_slot.c).
 *
 *	             begin             prepared
 *	   COLD ------------> PREPARING --------> READY
 *	    ^  ^                ^   |  |            | reserve
 *	    |  +--- failed -----|---+  |            v
 *	    |                   |      |          LEASED (taken or not)
 *	    | lease over,       |      |            | holder gone, after a take
 *	    | other memory      |      v            v
 *	    |              begin|  QUARANTINED <- DIRTY
 *	    +-------------------+------ retry ----^ |
 *	                        +-------------------+
 *
 * A lease may sit on a slot in any state but QUARANTINED: of one that is not prepared yet, it
 * waits; when its holder is gone and it is kept, it stays while the slot is cleaned.  So a slot has
 * one lease at most, whatever is going on with it.
 */
#ifndef CAISSON_DAEMON_SLOT_H
#define CAISSON_DAEMON_SLOT_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/lease.h"
#include "runtime/state.h"
#include "vmm/vfio/lend.h"

struct slot_lease {
	char id[LEASE_ID_LEN + 1]; /* "": no lease */
	char owner[LEASE_OWNER_MAX + 1];
	bool kept;		     /* the owner's side: until it releases */
	bool taken;		     /* descriptors went to the holder */
	struct state_process holder; /* pid 0: none */
};

struct slot {
	uint32_t number;
	enum lease_state state;
	bool on_demand; /* not configured: gone with its lease */
	bool drained;
	bool hugepages;
	uint64_t configured; /* bytes of memory it should have when it is free */
	uint64_t target;     /* bytes of memory it should have now */
	uint64_t memory;     /* bytes of memory it has */
	uint64_t growth;     /* bytes that come while it is taken */
	bool open;	     /* its function is */
	bool target_open;    /* its function should be now */
	/* Memory, function: not prepared until somebody takes the slot. */
	bool lazy_memory, lazy_function;
	/* What its function was opened with last; VFIO_AUTO: it has not been. */
	enum vfio_kind iommu;
	/* Its function may be open elsewhere, or as somebody left it. */
	bool suspect;
	/* Its growth is being made: no work on it before that has ended. */
	bool growing;
	/* Nobody has had it since it was prepared. */
	bool clean;
	struct lease_function function;
	uint32_t vfs; /* virtual functions that its physical one is configured to have; 0: as is */
	struct slot_lease lease;
	uint64_t lent;	     /* times */
	int64_t since;	     /* CLOCK_REALTIME seconds of the last change of state */
	char reason[512];    /* why it is in quarantine, or was not prepared; "": nothing */
	uint64_t not_before; /* CLOCK_MONOTONIC ns: no other try until then */
	uint32_t failures;   /* in a row */
	void *unit;	     /* its user's */
};

static inline bool slot_has_lease(const struct slot *s)
{
	return *s->lease.id;
}

static inline bool slot_has_function(const struct slot *s)
{
	return *s->function.address;
}

/* All: 0, or -EINVAL and nothing done, when that cannot happen to the slot as it is. */

/* A lease sits down on it: only where none is, and not on what is drained or in quarantine. */
int slot_reserve(struct slot *s, const char *id, const char *owner, bool kept,
		 const struct state_process *holder);
/* The lease is to be taken, with so much memory.  A slot with other memory, or that is prepared
 * only now, must be worked on first. */
int slot_want(struct slot *s, uint64_t memory);
/* Its descriptors are handed to the holder. */
int slot_take(struct slot *s, const struct state_process *holder);
/* Another process holds it instead. */
int slot_hold(struct slot *s, const struct state_process *holder);
/* The holder's side is over. */
int slot_holder_gone(struct slot *s);
/* The owner's side is over. */
int slot_release(struct slot *s);

/* Work begins that makes it what it should be.  With a suspect function: the proof, the reset. */
int slot_begin(struct slot *s);
/* It is done. */
int slot_prepared(struct slot *s, uint64_t memory, bool open);
/* It is not.  function_clean: that far it came, or there is none.  reason: a sentence. */
int slot_failed(struct slot *s, bool function_clean, uint64_t memory, bool open,
		const char *reason);

/* It had to be closed, though nobody took it: the kernel wants the function back. */
int slot_lost(struct slot *s);
/* Its memory, which is all it has, goes to another slot. */
int slot_give(struct slot *s);

int slot_drain(struct slot *s, bool drain);
/* Quarantine ends: the proof is tried again. */
int slot_retry(struct slot *s);

/* There is something to do for it.  Of a slot on demand without a lease: to do away with it. */
bool slot_needs_work(const struct slot *s);
/* Nobody's, and nothing in it: may be forgotten. */
bool slot_is_over(const struct slot *s);

#endif
