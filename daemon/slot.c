// SPDX-License-Identifier: Apache-2.0
#include "daemon/slot.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static void enter(struct slot *s, enum lease_state state)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	s->state = state;
	s->since = now.tv_sec;
}

/* What a slot without a lease should have. */
static uint64_t idle_memory(const struct slot *s)
{
	return s->drained || s->on_demand || s->lazy_memory ? 0 : s->configured;
}

static bool idle_open(const struct slot *s)
{
	return slot_has_function(s) && !s->drained && !s->on_demand && !s->lazy_function;
}

static void idle(struct slot *s)
{
	s->target = idle_memory(s);
	s->target_open = idle_open(s);
}

/* A prepared slot's place, by who is on it. */
static void place(struct slot *s)
{
	if (!s->clean || s->memory != s->target || s->open != s->target_open)
		enter(s, SLOT_COLD);
	else if (slot_has_lease(s))
		enter(s, SLOT_LEASED);
	else
		enter(s, s->drained || s->on_demand ? SLOT_COLD : SLOT_READY);
}

/* After one of its sides has ended. */
static void settle(struct slot *s)
{
	if (s->lease.holder.pid)
		return;
	if (s->lease.taken) {
		s->lease.taken = false;
		s->growth = 0;
		enter(s, SLOT_DIRTY);
	}
	if (s->lease.kept)
		return;
	s->lease = (struct slot_lease){0};
	idle(s);
	if (s->state == SLOT_LEASED || s->state == SLOT_COLD)
		place(s);
}

int slot_reserve(struct slot *s, const char *id, const char *owner, bool kept,
		 const struct state_process *holder)
{
	if (slot_has_lease(s) || s->drained || s->state == SLOT_QUARANTINED || !*id ||
	    (!kept && !holder->pid))
		return -EINVAL;
	snprintf(s->lease.id, sizeof(s->lease.id), "%s", id);
	snprintf(s->lease.owner, sizeof(s->lease.owner), "%s", owner);
	s->lease.kept = kept;
	s->lease.holder = kept ? (struct state_process){0} : *holder;
	s->target = s->lazy_memory ? 0 : s->configured;
	s->target_open = slot_has_function(s) && !s->lazy_function;
	if (s->state == SLOT_READY)
		enter(s, SLOT_LEASED);
	return 0;
}

int slot_want(struct slot *s, uint64_t memory)
{
	if (!slot_has_lease(s) || s->lease.taken)
		return -EINVAL;
	s->target = memory;
	s->target_open = slot_has_function(s);
	if (s->state == SLOT_LEASED || s->state == SLOT_COLD)
		place(s);
	return 0;
}

int slot_take(struct slot *s, const struct state_process *holder)
{
	if (s->state != SLOT_LEASED || s->lease.taken || !s->clean || s->suspect ||
	    s->memory != s->target || !holder->pid ||
	    (slot_has_function(s) ? !s->open : !s->memory))
		return -EINVAL;
	s->lease.taken = true;
	s->lease.holder = *holder;
	s->clean = false;
	s->suspect = slot_has_function(s);
	s->lent++;
	return 0;
}

int slot_hold(struct slot *s, const struct state_process *holder)
{
	if (!slot_has_lease(s) || !holder->pid || (s->lease.kept && !s->lease.taken))
		return -EINVAL;
	s->lease.holder = *holder;
	return 0;
}

int slot_holder_gone(struct slot *s)
{
	if (!slot_has_lease(s) || !s->lease.holder.pid)
		return -EINVAL;
	s->lease.holder = (struct state_process){0};
	settle(s);
	return 0;
}

int slot_release(struct slot *s)
{
	if (!slot_has_lease(s))
		return -EINVAL;
	s->lease.kept = false;
	settle(s);
	return 0;
}

int slot_begin(struct slot *s)
{
	if (!slot_needs_work(s))
		return -EINVAL;
	enter(s, SLOT_PREPARING);
	return 0;
}

int slot_prepared(struct slot *s, uint64_t memory, bool open)
{
	if (s->state != SLOT_PREPARING)
		return -EINVAL;
	s->memory = memory;
	s->open = open;
	s->suspect = false;
	s->clean = true;
	s->failures = 0;
	s->not_before = 0;
	*s->reason = 0;
	place(s);
	return 0;
}

int slot_failed(struct slot *s, bool function_clean, uint64_t memory, bool open, const char *reason)
{
	if (s->state != SLOT_PREPARING)
		return -EINVAL;
	s->memory = memory;
	s->open = open;
	s->clean = false;
	s->failures++;
	snprintf(s->reason, sizeof(s->reason), "%s", reason);
	s->suspect = s->suspect && !function_clean;
	enter(s, s->suspect ? SLOT_QUARANTINED : SLOT_COLD);
	/* A slot that nobody knows when it comes back is no good to a lease. */
	if (s->state == SLOT_QUARANTINED)
		s->lease = (struct slot_lease){0};
	if (!slot_has_lease(s))
		idle(s);
	return 0;
}

int slot_lost(struct slot *s)
{
	if (s->state == SLOT_PREPARING || s->state == SLOT_QUARANTINED || s->lease.taken)
		return -EINVAL;
	s->memory = 0;
	s->open = false;
	s->clean = false;
	s->suspect = slot_has_function(s);
	enter(s, SLOT_DIRTY);
	return 0;
}

int slot_give(struct slot *s)
{
	if (s->state != SLOT_READY || slot_has_function(s))
		return -EINVAL;
	s->memory = 0;
	s->clean = false;
	enter(s, SLOT_COLD);
	return 0;
}

int slot_drain(struct slot *s, bool drain)
{
	s->drained = drain;
	if (slot_has_lease(s))
		return 0;
	idle(s);
	if (s->state == SLOT_READY || s->state == SLOT_COLD)
		place(s);
	return 0;
}

int slot_retry(struct slot *s)
{
	if (s->state != SLOT_QUARANTINED)
		return -EINVAL;
	s->not_before = 0;
	enter(s, SLOT_DIRTY);
	return 0;
}

/* Drained, or on demand without a lease: it should hold nothing. */
static bool should_be_empty(const struct slot *s)
{
	return !slot_has_lease(s) && (s->drained || s->on_demand);
}

bool slot_needs_work(const struct slot *s)
{
	if (s->growing)
		return false;
	if (s->state == SLOT_DIRTY)
		return true;
	if (s->state != SLOT_COLD)
		return false;
	return !should_be_empty(s) || s->memory || s->open;
}

bool slot_is_over(const struct slot *s)
{
	return s->on_demand && !slot_has_lease(s) && s->state == SLOT_COLD && !s->memory &&
	       !s->open;
}
