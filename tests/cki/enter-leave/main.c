// SPDX-License-Identifier: Apache-2.0
/*
 * System calls, exceptions, hypercalls and events in a mix, for about ten seconds by the timer;
 * every result is checked.  The test sends NMIs meanwhile: one that comes in the entry code must
 * not be seen.
 */
#include "tests/cki/lib/guest.h"

#define MS 1000000ull

static volatile unsigned int events;
static uint64_t calls;

static bool trap(struct trap *t)
{
	if (t->frame.vector == CAISSON_VECTOR_EVENT) {
		__asm__ volatile("lock btrq $0, %0" : "+m"(*(uint64_t *)&vcpu->events));
		events++;
		hypercall(CAISSON_CALL_TIMER, 10 * MS, 0, 0, NULL);
		return true;
	}
	check(t->frame.vector == 6);
	t->frame.rip += 2;
	t->rbx ^= ~0ull;
	return true;
}

static uint64_t call(uint64_t number, uint64_t a, uint64_t b)
{
	check(number == 9);
	calls++;
	check(hypercall(CAISSON_CALL_TABLE_NEW, 1, 1, 0, NULL) == -22);
	return a ^ b;
}

USER static void in_ring3(void)
{
	for (uint64_t i = 0; i < 100; i++) {
		uint64_t rbx = i;

		if (user_call(9, i, 0x55) != (i ^ 0x55))
			user_call(SYSCALL_EXIT, 1, 0);
		__asm__ volatile("ud2" : "+b"(rbx) : : "memory");
		if (rbx != ~i)
			user_call(SYSCALL_EXIT, 2, 0);
	}
	user_call(SYSCALL_EXIT, 0, 0);
}

void main(void)
{
	on_trap = trap;
	on_syscall = call;
	hypercall(CAISSON_CALL_TIMER, MS, 0, 0, NULL);
	while (events < 700) {
		check(user_run(in_ring3) == 0);
		check(hypercall(CAISSON_CALL_MONITOR, MONITOR_ECHO, calls, 0, NULL) ==
		      (int64_t)calls + 1);
	}
}
