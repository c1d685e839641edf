// SPDX-License-Identifier: Apache-2.0
/* Attack on invariant 6: hypercalls with rubbish, a hundred thousand of them (seeded). */
#include "tests/cki/lib/guest.h"

static uint64_t state = 0x9e3779b97f4a7c15;

static uint64_t next(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static uint64_t wild(void)
{
	switch (next() % 6) {
	case 0:
		return next();
	case 1:
		return next() % 16;
	case 2:
		return frame(256 + next() % 256) + next() % 512 * 8;
	case 3:
		return frame(256 + next() % 256) + (next() & 0xfff) + (next() & 1) * CAISSON_PTE_NX;
	case 4:
		return boot.blocks[next() % BLOCKS] + (next() & 0x1fffff);
	default:
		return boot.foreign + (next() & 0xfff);
	}
}

static bool event(struct trap *t)
{
	check(t->frame.vector == CAISSON_VECTOR_EVENT);
	vcpu->events = 0;
	return true;
}

void main(void)
{
	on_trap = event;
	for (unsigned int i = 0; i < 100000; i++) {
		uint64_t call = next() % 15;

		/* For CHANGES. */
		vcpu->changes[i % CAISSON_CHANGES_MAX].address = wild();
		vcpu->changes[i % CAISSON_CHANGES_MAX].value = wild();

		/* The answers to these are not errors; the root would be gone. */
		if (call == CAISSON_CALL_HALT || call == CAISSON_CALL_MONITOR ||
		    call == CAISSON_CALL_TIMER || call == CAISSON_CALL_ROOT)
			call = next();
		if (call == CAISSON_CALL_HALT)
			continue;
		hypercall(call, wild(), wild(), wild(), NULL);
	}
	check(hypercall(~0ull, 0, 0, 0, NULL) == -38);
	check(hypercall(CAISSON_CALL_MONITOR, MONITOR_ECHO, 1, 0, NULL) == 2);
}
