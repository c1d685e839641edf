// SPDX-License-Identifier: Apache-2.0
/* A timer's event: while halted, while running, in ring 3, and not while masked. */
#include "tests/cki/lib/guest.h"

#define MS 1000000ull

static volatile unsigned int events;

static bool event(struct trap *t)
{
	check(t->frame.vector == CAISSON_VECTOR_EVENT);
	check(t->frame.masked == 0 && vcpu->masked);
	check(vcpu->events == 1ull << CAISSON_EVENT_TIMER);
	__asm__ volatile("lock btrq $0, %0" : "+m"(*(uint64_t *)&vcpu->events));
	events++;
	return true;
}

static void arm(uint64_t ns)
{
	check(hypercall(CAISSON_CALL_TIMER, ns, 0, 0, NULL) == 0);
}

USER_DATA static volatile uint64_t stop;

static uint64_t looked(uint64_t number, uint64_t a, uint64_t b)
{
	(void)number, (void)a, (void)b;
	return events;
}

USER static void wait_in_ring3(void)
{
	uint64_t before = user_call(1, 0, 0);

	while (user_call(1, 0, 0) == before)
		for (unsigned int i = 0; i < 1000000; i++)
			__asm__ volatile("");
	user_call(SYSCALL_EXIT, stop, 0);
}

void main(void)
{
	on_trap = event;
	on_syscall = looked;
	/* Halted. */
	for (unsigned int i = 1; i <= 5; i++) {
		arm(10 * MS);
		halt_until(events >= i);
	}
	/* Running. */
	arm(10 * MS);
	while (events < 6)
		__asm__ volatile("pause");
	/* In ring 3. */
	arm(10 * MS);
	check(user_run(wait_in_ring3) == 0);
	check(events == 7);
	/* Masked: pending, and delivered when asked for. */
	vcpu->masked = 1;
	arm(MS);
	while (!vcpu->events)
		__asm__ volatile("pause");
	check(hypercall(CAISSON_CALL_EVENTS, 0, 0, 0, NULL) == 0);
	check(events == 7);
	vcpu->masked = 0;
	check(hypercall(CAISSON_CALL_EVENTS, 0, 0, 0, NULL) == 0);
	check(events == 8);
	/* Taken back. */
	arm(1000000 * MS);
	arm(0);
	check(events == 8);
}
