// SPDX-License-Identifier: Apache-2.0
/*
 * daemon/slot.h and pool.h under random events, against what must hold whatever happens: nothing
 * is lent to two, nothing is lent before it is clean again, nothing is lost for good.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/pool.h"
#include "lib/cleanup.h"

#define SLOTS 5

static uint32_t seed;

static uint32_t random_below(uint32_t n)
{
	seed = seed * 1664525u + 1013904223u;
	return (seed >> 8) % n;
}

/* What the world knows besides the slot. */
struct shadow {
	bool used;     /* somebody has had it since it was last cleaned */
	bool cleaning; /* work began after that */
	char lease[LEASE_ID_LEN + 1];
	pid_t holder; /* has its descriptors */
};

struct world {
	struct pool pool;
	struct shadow shadow[64];
	uint32_t leases;
	pid_t pids;
	unsigned long takes, quarantines, refits, growths;
};

static struct shadow *shadow(struct world *w, const struct slot *s)
{
	return &w->shadow[s->number % ARRAY_SIZE(w->shadow)];
}

static void check_slot(struct world *w, const struct slot *s)
{
	const struct shadow *h = shadow(w, s);

	assert_true(s->state < SLOT_STATES);
	if (s->state == SLOT_READY) {
		assert_false(slot_has_lease(s));
		assert_false(h->used);
		assert_false(s->drained);
		assert_false(s->on_demand);
	}
	if (s->state == SLOT_READY || s->state == SLOT_LEASED) {
		assert_int_equal(s->memory, s->target);
		assert_int_equal(s->open, s->target_open);
	}
	if (s->state == SLOT_LEASED) {
		assert_true(slot_has_lease(s));
		assert_true(h->used == s->lease.taken);
	}
	if (s->lease.taken) {
		assert_int_equal(s->state, SLOT_LEASED);
		assert_int_equal(s->lease.holder.pid, h->holder);
		assert_true(h->holder > 0);
	} else {
		assert_int_equal(h->holder, 0);
	}
	if (slot_has_lease(s))
		assert_true(s->lease.kept || s->lease.holder.pid);
	if (s->state == SLOT_QUARANTINED)
		assert_false(slot_has_lease(s));
	/* Nobody touches what somebody has, or what is still growing. */
	if (h->holder)
		assert_int_equal(s->state, SLOT_LEASED);
	if (s->growing)
		assert_int_not_equal(s->state, SLOT_PREPARING);
	if (s->growth)
		assert_true(s->lease.taken);
}

static void check_world(struct world *w)
{
	uint64_t growth = 0;

	for (uint32_t i = 0; i < w->pool.n; i++)
		growth += w->pool.v[i]->growth +
			  (w->pool.v[i]->on_demand ? w->pool.v[i]->configured : 0);
	assert_true(growth <= w->pool.on_demand);
	for (uint32_t i = 0; i < w->pool.n; i++) {
		check_slot(w, w->pool.v[i]);
		for (uint32_t k = 0; k < i; k++)
			if (slot_has_lease(w->pool.v[i]))
				assert_string_not_equal(w->pool.v[i]->lease.id,
							w->pool.v[k]->lease.id);
	}
}

static struct slot *any_slot(struct world *w)
{
	return w->pool.n ? w->pool.v[random_below(w->pool.n)] : NULL;
}

static struct slot *reserve(struct world *w, const struct lease_want *want)
{
	struct state_process holder = {.pid = ++w->pids, .start = 1};
	struct slot *s = pool_ready(&w->pool, want);
	char id[LEASE_ID_LEN + 1];

	if (!s)
		s = pool_soon(&w->pool, want);
	if (!s)
		return NULL;
	if (s->on_demand)
		*shadow(w, s) = (struct shadow){0};
	snprintf(id, sizeof(id), "%u", ++w->leases);
	assert_int_equal(slot_reserve(s, id, "me", want->kept, &holder), 0);
	return s;
}

static void do_lease(struct world *w)
{
	struct lease_want want = {
		.owner = (char *)"me",
		.function = random_below(2),
		.memory = random_below(3) * 100,
		.kept = random_below(2),
	};

	if (want.function || want.memory)
		reserve(w, &want);
}

static void do_take(struct world *w, struct slot *s)
{
	struct state_process holder = {.pid = ++w->pids, .start = 1};
	struct shadow *h = shadow(w, s);
	struct error err;

	if (random_below(4) == 0 && slot_want(s, random_below(4) * 100) == 0)
		w->refits++;
	if (slot_take(s, &holder) < 0)
		return;
	assert_false(h->used);
	assert_int_equal(h->holder, 0);
	assert_true(slot_has_function(s) ? s->open : s->memory > 0);
	h->used = true;
	h->cleaning = false;
	h->holder = holder.pid;
	w->takes++;
	if (s->memory && pool_may_grow(&w->pool, 100, &err) == 0) {
		s->growth = 100;
		s->growing = true;
		w->growths++;
	}
}

static void do_hold(struct world *w, struct slot *s)
{
	struct state_process holder = {.pid = ++w->pids, .start = 1};

	if (slot_hold(s, &holder) == 0 && s->lease.taken)
		shadow(w, s)->holder = holder.pid;
}

static void do_gone(struct world *w, struct slot *s)
{
	if (slot_holder_gone(s) == 0)
		shadow(w, s)->holder = 0;
}

static void do_begin(struct world *w, struct slot *s)
{
	if (slot_begin(s) == 0)
		shadow(w, s)->cleaning = true;
}

/* The work ends: as it was asked for when it began, or with the target that is now. */
static void do_end(struct world *w, struct slot *s, bool well)
{
	bool empty = !slot_has_lease(s) && (s->drained || s->on_demand);
	struct shadow *h = shadow(w, s);

	if (s->state != SLOT_PREPARING)
		return;
	assert_true(h->cleaning);
	assert_int_equal(h->holder, 0);
	if (well) {
		h->used = false;
		assert_int_equal(slot_prepared(s, s->target, s->target_open), 0);
		assert_true(!empty || (s->memory == 0 && !s->open));
		return;
	}
	if (slot_has_function(s) && s->suspect && random_below(2)) {
		assert_int_equal(slot_failed(s, false, 0, false, "in use"), 0);
		assert_int_equal(s->state, SLOT_QUARANTINED);
		w->quarantines++;
		return;
	}
	h->used = false;
	assert_int_equal(slot_failed(s, true, 0, false, "no memory"), 0);
	assert_int_equal(s->state, SLOT_COLD);
}

static void forget(struct world *w)
{
	for (uint32_t i = w->pool.n; i-- > 0;)
		if (slot_is_over(w->pool.v[i]))
			pool_remove(&w->pool, w->pool.v[i]);
}

static void step(struct world *w)
{
	struct slot *s = any_slot(w);

	switch (random_below(14)) {
	case 0:
	case 1:
		do_lease(w);
		break;
	case 2:
	case 3:
		do_take(w, s);
		break;
	case 4:
		do_hold(w, s);
		break;
	case 5:
		do_gone(w, s);
		break;
	case 6:
		slot_release(s);
		break;
	case 7:
		slot_drain(s, random_below(3) == 0);
		break;
	case 8:
		slot_retry(s);
		break;
	case 9:
		do_begin(w, s);
		break;
	case 13:
		s->growing = false;
		break;
	case 12:
		if (random_below(8) == 0)
			slot_lost(s);
		break;
	default:
		do_end(w, s, random_below(4) != 0);
	}
}

static void world_init(struct world *w)
{
	*w = (struct world){.pool.on_demand = 500};
	for (int i = 0; i < SLOTS; i++) {
		struct slot s = {.configured = (uint64_t)(i % 3) * 100};

		if (i % 2 == 0) {
			snprintf(s.function.address, sizeof(s.function.address), "0000:01:10.%d",
				 i);
			s.state = SLOT_DIRTY;
			s.suspect = true;
		}
		s.lazy_memory = random_below(4) == 0;
		s.lazy_function = random_below(4) == 0;
		slot_drain(&s, false);
		assert_non_null(pool_add(&w->pool, &s));
	}
	/* Memory alone of nothing is no slot. */
	for (uint32_t i = w->pool.n; i-- > 0;)
		if (!slot_has_function(w->pool.v[i]) && !w->pool.v[i]->configured)
			pool_remove(&w->pool, w->pool.v[i]);
}

/* Everybody leaves, the work goes well: every slot is ready again. */
static void wind_down(struct world *w)
{
	for (uint32_t i = 0; i < w->pool.n; i++) {
		struct slot *s = w->pool.v[i];

		slot_drain(s, false);
		s->growing = false;
		do_gone(w, s);
		slot_release(s);
		slot_retry(s);
		for (int k = 0; k < 4; k++) {
			do_begin(w, s);
			do_end(w, s, true);
		}
	}
	forget(w);
	for (uint32_t i = 0; i < w->pool.n; i++) {
		assert_int_equal(w->pool.v[i]->state, SLOT_READY);
		assert_int_equal(w->pool.v[i]->memory,
				 w->pool.v[i]->lazy_memory ? 0 : w->pool.v[i]->configured);
		assert_false(w->pool.v[i]->on_demand);
	}
}

static void test_random(void **state)
{
	unsigned long takes = 0, quarantines = 0, refits = 0, growths = 0;

	(void)state;
	for (uint32_t round = 1; round <= 2000; round++) {
		struct world w;
		uint32_t configured;

		seed = round;
		world_init(&w);
		configured = w.pool.n;
		for (int i = 0; i < 200; i++) {
			step(&w);
			forget(&w);
			check_world(&w);
		}
		wind_down(&w);
		check_world(&w);
		assert_int_equal(w.pool.n, configured);
		takes += w.takes;
		quarantines += w.quarantines;
		refits += w.refits;
		growths += w.growths;
		pool_done(&w.pool);
	}
	/* The events did reach what they are about. */
	assert_true(takes > 1000 && quarantines > 100 && refits > 100 && growths > 100);
}

static const struct state_process me = {.pid = 7, .start = 1}, other = {.pid = 8, .start = 1};

static struct slot ready_slot(bool function)
{
	struct slot s = {.configured = 100, .suspect = function};

	if (function)
		snprintf(s.function.address, sizeof(s.function.address), "0000:01:10.0");
	slot_drain(&s, false);
	assert_int_equal(slot_begin(&s), 0);
	assert_int_equal(slot_prepared(&s, 100, function), 0);
	assert_int_equal(s.state, SLOT_READY);
	return s;
}

/* A kept lease outlives its holder; what it then gets has been cleaned. */
static void test_kept(void **state)
{
	struct slot s = ready_slot(true);

	(void)state;
	assert_int_equal(slot_reserve(&s, "1", "cni", true, &me), 0);
	assert_int_equal(slot_reserve(&s, "2", "cni", true, &me), -EINVAL);
	assert_int_equal(slot_take(&s, &me), 0);
	assert_int_equal(slot_take(&s, &other), -EINVAL);
	assert_int_equal(slot_hold(&s, &other), 0);
	assert_int_equal(slot_holder_gone(&s), 0);
	assert_int_equal(s.state, SLOT_DIRTY);
	assert_true(slot_has_lease(&s));
	assert_int_equal(slot_take(&s, &me), -EINVAL);
	assert_int_equal(slot_begin(&s), 0);
	assert_int_equal(slot_prepared(&s, 100, true), 0);
	assert_int_equal(s.state, SLOT_LEASED);
	assert_int_equal(slot_take(&s, &me), 0);
	/* Released while it is in use, it stays in use. */
	assert_int_equal(slot_release(&s), 0);
	assert_int_equal(s.state, SLOT_LEASED);
	assert_int_equal(slot_holder_gone(&s), 0);
	assert_int_equal(s.state, SLOT_DIRTY);
	assert_false(slot_has_lease(&s));
}

/* What was never handed out needs no cleaning. */
static void test_not_taken(void **state)
{
	struct slot s = ready_slot(true);

	(void)state;
	assert_int_equal(slot_reserve(&s, "1", "cni", true, &me), 0);
	assert_int_equal(slot_release(&s), 0);
	assert_int_equal(s.state, SLOT_READY);
	assert_int_equal(slot_reserve(&s, "2", "run", false, &me), 0);
	assert_int_equal(slot_holder_gone(&s), 0);
	assert_int_equal(s.state, SLOT_READY);
}

static void test_other_memory(void **state)
{
	struct slot s = ready_slot(true);

	(void)state;
	assert_int_equal(slot_reserve(&s, "1", "cni", true, &me), 0);
	assert_int_equal(slot_want(&s, 300), 0);
	assert_int_equal(slot_take(&s, &me), -EINVAL);
	assert_int_equal(slot_begin(&s), 0);
	assert_int_equal(slot_prepared(&s, 300, true), 0);
	assert_int_equal(slot_take(&s, &me), 0);
	slot_release(&s);
	slot_holder_gone(&s);
	assert_int_equal(slot_begin(&s), 0);
	assert_int_equal(slot_prepared(&s, 100, true), 0);
	assert_int_equal(s.state, SLOT_READY);
}

static void test_choice(void **state)
{
	static const struct {
		uint64_t memory;
		const char *pf;
	} slots[] = {{100, ""}, {200, ""}, {0, "a"}, {100, "a"}, {200, "b"}};
	struct lease_want want = {.function = true, .memory = 200};
	struct pool p = {.on_demand = 300};
	struct error err;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(slots); i++) {
		struct slot s = ready_slot(*slots[i].pf);

		s.configured = s.target = s.memory = slots[i].memory;
		snprintf(s.function.pf, sizeof(s.function.pf), "%s", slots[i].pf);
		pool_add(&p, &s);
	}
	assert_ptr_equal(pool_ready(&p, &want), p.v[4]);
	want.pf = (char *)"a";
	assert_ptr_equal(pool_ready(&p, &want), p.v[2]);
	want.memory = 100;
	assert_ptr_equal(pool_ready(&p, &want), p.v[3]);
	want.pf = (char *)"c";
	assert_null(pool_ready(&p, &want));
	assert_int_equal(pool_possible(&p, &want, &err), -ENOENT);
	want = (struct lease_want){.memory = 200};
	assert_ptr_equal(pool_ready(&p, &want), p.v[1]);
	assert_ptr_equal(pool_donor(&p, 200, false), p.v[1]);
	assert_null(pool_donor(&p, 200, true));
	want.memory = 250;
	assert_null(pool_ready(&p, &want));
	assert_int_equal(pool_possible(&p, &want, &err), 0);
	assert_true(pool_soon(&p, &want)->on_demand);
	/* The limit. */
	assert_null(pool_soon(&p, &want));
	want.memory = 301;
	assert_int_equal(pool_possible(&p, &want, &err), -ENOENT);
	assert_true(pool_named(p.v[3], "a") && pool_named(p.v[3], "3") &&
		    pool_named(p.v[3], NULL) && pool_named(p.v[3], "0000:01:10.0"));
	assert_false(pool_named(p.v[0], ""));
	pool_done(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),	  cmocka_unit_test(test_kept),
		cmocka_unit_test(test_not_taken), cmocka_unit_test(test_other_memory),
		cmocka_unit_test(test_choice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
