// SPDX-License-Identifier: Apache-2.0
/*
 * System calls, exceptions, hypercalls and events in a mix, for about ten seconds by the timer;
 * every result is checked.  The test sends NMIs meanwhile: one that comes in the entry code must
 * not be seen, and leaves nothing of the host's on its stack, which ring 1 can read.
 */
#include "tests/cki/lib/guest.h"

#define MS 1000000ull
#define NOWHERE 0x10000000ull
/* Where a host has its memory and its stacks, and nothing of ours is: address >> 39. */
#define HOST_BEGIN 0x1ffff00ull
#define HOST_END 0x1fffffcull
/* PAGE_NMI of kmod/layout.h */
#define NMI_STACK (CAISSON_VCPU_PAGE + 6 * PAGE)

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
	check(t->frame.vector == 6 || t->frame.vector == 14);
	check(t->frame.vector != 14 || vcpu->cr2 == t->rbx);
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
		rbx = NOWHERE + i * (PAGE + 8);
		__asm__ volatile("movb (%0), %%al" : "+b"(rbx) : : "rax", "memory");
		if (rbx != ~(NOWHERE + i * (PAGE + 8)))
			user_call(SYSCALL_EXIT, 3, 0);
	}
	user_call(SYSCALL_EXIT, 0, 0);
}

static void look_for_the_host(void)
{
	const volatile uint64_t *stack = (const uint64_t *)NMI_STACK;

	for (unsigned int i = 0; i < PAGE / 8; i++) {
		uint64_t at = stack[i] >> 39;

		/* Else the compiler shifts the bounds, and they are in registers when an NMI comes.
		 */
		__asm__("" : "+r"(at));
		check(at < HOST_BEGIN || at >= HOST_END);
	}
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
		look_for_the_host();
	}
}
