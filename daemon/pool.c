// SPDX-License-Identifier: Apache-2.0
#include "daemon/pool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct slot *pool_add(struct pool *p, const struct slot *model)
{
	struct slot *s;

	if (p->n == POOL_SLOTS_MAX)
		return NULL;
	if (p->n == p->capacity) {
		uint32_t capacity = p->capacity ? p->capacity * 2 : 16;
		struct slot **v = realloc(p->v, capacity * sizeof(*v));

		if (!v)
			return NULL;
		p->v = v;
		p->capacity = capacity;
	}
	s = malloc(sizeof(*s));
	if (!s)
		return NULL;
	*s = *model;
	s->number = p->next_number++;
	p->v[p->n++] = s;
	return s;
}

void pool_remove(struct pool *p, struct slot *s)
{
	for (uint32_t i = 0; i < p->n; i++)
		if (p->v[i] == s) {
			memmove(&p->v[i], &p->v[i + 1], (p->n - i - 1) * sizeof(*p->v));
			p->n--;
			free(s);
			return;
		}
}

void pool_done(struct pool *p)
{
	for (uint32_t i = 0; i < p->n; i++)
		free(p->v[i]);
	free(p->v);
	*p = (struct pool){0};
}

struct slot *pool_by_number(const struct pool *p, uint32_t number)
{
	for (uint32_t i = 0; i < p->n; i++)
		if (p->v[i]->number == number)
			return p->v[i];
	return NULL;
}

struct slot *pool_by_lease(const struct pool *p, const char *id)
{
	for (uint32_t i = 0; *id && i < p->n; i++)
		if (strcmp(p->v[i]->lease.id, id) == 0)
			return p->v[i];
	return NULL;
}

struct slot *pool_by_owner(const struct pool *p, const char *owner)
{
	for (uint32_t i = 0; i < p->n; i++) {
		const struct slot_lease *l = &p->v[i]->lease;

		if (*l->id && (l->kept || l->holder.pid) && strcmp(l->owner, owner) == 0)
			return p->v[i];
	}
	return NULL;
}

static bool is_pf(const struct slot *s, const char *pf)
{
	return !pf || strcmp(s->function.pf, pf) == 0;
}

static bool fits(const struct slot *s, const struct lease_want *want)
{
	if (want->function != slot_has_function(s))
		return false;
	if (!want->function)
		return s->configured == want->memory && !s->on_demand;
	return is_pf(s, want->pf) && !s->on_demand;
}

static bool is_free(const struct slot *s)
{
	return !slot_has_lease(s) && !s->drained && s->state != SLOT_QUARANTINED;
}

/* The more the better: the wanted memory, else none, since what there is would go to waste. Whoever
 * does not say how much wants what is configured. */
static int memory_rank(const struct slot *s, const struct lease_want *want)
{
	if (want->memory ? s->configured == want->memory : s->configured != 0)
		return 2;
	return s->configured ? 0 : 1;
}

static int nearness(const struct slot *s)
{
	switch (s->state) {
	case SLOT_READY:
		return 3;
	case SLOT_PREPARING:
		return 2;
	case SLOT_DIRTY:
		return 1;
	default:
		return 0;
	}
}

struct slot *pool_ready(const struct pool *p, const struct lease_want *want)
{
	struct slot *best = NULL;

	for (uint32_t i = 0; i < p->n; i++) {
		struct slot *s = p->v[i];

		if (s->state != SLOT_READY || !is_free(s) || !fits(s, want))
			continue;
		if (!best || memory_rank(s, want) > memory_rank(best, want))
			best = s;
	}
	return best;
}

static uint64_t on_demand_used(const struct pool *p)
{
	uint64_t used = 0;

	for (uint32_t i = 0; i < p->n; i++)
		used += p->v[i]->growth + (p->v[i]->on_demand ? p->v[i]->configured : 0);
	return used;
}

int pool_may_grow(const struct pool *p, uint64_t bytes, struct error *err)
{
	const uint64_t used = on_demand_used(p),
		       left = used < p->on_demand ? p->on_demand - used : 0;

	if (bytes <= left)
		return 0;
	return error_set(err, EAGAIN,
			 "it cannot grow by %" PRIu64 " bytes now: of the %" PRIu64
			 " that caissond may make on demand, %" PRIu64 " are left",
			 bytes, p->on_demand, left);
}

static struct slot *make_on_demand(struct pool *p, const struct lease_want *want)
{
	struct slot s = {
		.on_demand = true,
		.hugepages = p->hugepages,
		.configured = want->memory,
		.lazy_memory = p->lazy_memory,
	};
	uint64_t used = on_demand_used(p);

	if (want->function || p->draining || used > p->on_demand ||
	    want->memory > p->on_demand - used)
		return NULL;
	return pool_add(p, &s);
}

struct slot *pool_soon(struct pool *p, const struct lease_want *want)
{
	struct slot *best = NULL;
	int best_rank = 0;

	for (uint32_t i = 0; i < p->n; i++) {
		struct slot *s = p->v[i];
		int rank;

		if (!is_free(s) || !fits(s, want))
			continue;
		/* One that failed just now is the last choice. */
		rank = (s->failures ? 0 : 100) + nearness(s) * 10 + memory_rank(s, want);
		if (!best || rank > best_rank) {
			best = s;
			best_rank = rank;
		}
	}
	return best ? best : make_on_demand(p, want);
}

int pool_possible(const struct pool *p, const struct lease_want *want, struct error *err)
{
	for (uint32_t i = 0; i < p->n; i++)
		if (fits(p->v[i], want))
			return 0;
	if (want->function && want->pf)
		return error_set(err, ENOENT, "caissond has no function of '%s' configured",
				 want->pf);
	if (want->function)
		return error_set(err, ENOENT, "caissond has no function configured");
	if (want->memory <= p->on_demand)
		return 0;
	return error_set(err, ENOENT,
			 "caissond has no slot of %" PRIu64
			 " bytes configured, and may make %" PRIu64 " on demand",
			 want->memory, p->on_demand);
}

struct slot *pool_donor(const struct pool *p, uint64_t memory, bool hugepages)
{
	for (uint32_t i = 0; memory && i < p->n; i++) {
		struct slot *s = p->v[i];

		if (s->state == SLOT_READY && !slot_has_function(s) && s->memory == memory &&
		    s->hugepages == hugepages)
			return s;
	}
	return NULL;
}

struct slot *pool_work(const struct pool *p, uint64_t now, uint64_t *ret_when)
{
	struct slot *best = NULL;

	*ret_when = UINT64_MAX;
	for (uint32_t i = 0; i < p->n; i++) {
		struct slot *s = p->v[i];

		if (!slot_needs_work(s))
			continue;
		if (s->not_before > now) {
			if (s->not_before < *ret_when)
				*ret_when = s->not_before;
			continue;
		}
		if (!best || slot_has_lease(s) > slot_has_lease(best))
			best = s;
	}
	return best;
}

bool pool_named(const struct slot *s, const char *what)
{
	char number[16];

	if (!what)
		return true;
	snprintf(number, sizeof(number), "%" PRIu32, s->number);
	if (strcmp(number, what) == 0)
		return true;
	return slot_has_function(s) &&
	       (strcmp(s->function.address, what) == 0 || strcmp(s->function.pf, what) == 0);
}
