// SPDX-License-Identifier: Apache-2.0
/* Sleeps for three seconds, ten times in between for nothing.  The test looks at the CPU's time. */
#include "tests/cki/lib/guest.h"

static volatile unsigned int events;

static bool event(struct trap *t)
{
	check(t->frame.vector == CAISSON_VECTOR_EVENT);
	__asm__ volatile("lock btrq $0, %0" : "+m"(*(uint64_t *)&vcpu->events));
	events++;
	return true;
}

void main(void)
{
	on_trap = event;
	for (unsigned int i = 0; i < 10; i++) {
		check(hypercall(CAISSON_CALL_TIMER, 300000000, 0, 0, NULL) == 0);
		halt_until(events > i);
	}
}
