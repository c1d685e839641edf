// SPDX-License-Identifier: Apache-2.0
/*
 * Events from vCPU to vCPU: to one that is halted, that runs, and to oneself, none lost; then both
 * raise what they can on everybody, without waiting.
 */
#include "tests/cki/lib/guest.h"

#define PING 3
#define PONG 4
#define WILD 40
#define ROUNDS 2000

static volatile uint64_t pings, pongs;
static volatile bool wild, quiet;

static int64_t raise(uint64_t set, uint64_t event)
{
	return hypercall(CAISSON_CALL_RAISE, set, event, 0, NULL);
}

static bool event(struct trap *t)
{
	check(t->frame.vector == CAISSON_VECTOR_EVENT);
	if (take(PING)) {
		pings++;
		check(raise(1, PONG) == 0);
	}
	if (take(PONG))
		pongs++;
	if (wild)
		vcpu->events = 0;
	return true;
}

void other(uint64_t number)
{
	(void)number;
	while (!wild)
		/* It halts, and runs on for a while, in turns. */
		if (pings & 1)
			hypercall(CAISSON_CALL_HALT, 0, 0, 0, NULL);
	for (uint64_t i = 0; i < 20000; i++)
		raise(~0ull, WILD + (i & 7));
	quiet = true;
	for (;;)
		hypercall(CAISSON_CALL_HALT, 0, 0, 0, NULL);
}

void main(void)
{
	on_trap = event;
	check(raise(1, 64) == -22);
	check(raise(~0ull, ~0ull) == -22);
	check(raise(0, PONG) == 0 && raise(~3ull, PONG) == 0);
	check(pongs == 0);
	/* To oneself. */
	check(raise(1, PONG) == 0);
	check(pongs == 1);
	check(start_cpu(1, frame(FRAME_L4)) == 0);
	for (uint64_t i = 1; i <= ROUNDS; i++) {
		check(raise(2, PING) == 0);
		if (i & 2)
			halt_until(pongs > i);
		while (pongs <= i)
			__asm__ volatile("pause");
		check(pings == i && pongs == i + 1);
	}
	wild = true;
	raise(2, WILD);
	while (!quiet)
		raise(3, WILD);
}
