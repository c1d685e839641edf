// SPDX-License-Identifier: Apache-2.0
/* Ring 3 under ring 1: system calls, their results, exceptions of ring 3, and the way back. */
#include "tests/cki/lib/guest.h"

static unsigned int calls, traps;

static uint64_t add(uint64_t number, uint64_t a, uint64_t b)
{
	check(number == 7);
	check(vcpu->masked);
	check(vcpu->user_stack < 1ull << 47);
	calls++;
	return a + b;
}

static bool skip_ud2(struct trap *t)
{
	check(t->frame.vector == 6 || t->frame.vector == 3);
	check(t->frame.cs == CAISSON_USER_CS && t->frame.ss == CAISSON_USER_SS);
	check(t->frame.masked == 0 && vcpu->masked);
	check(t->rbx == 0x1122334455667788);
	if (t->frame.vector == 6)
		t->frame.rip += 2;
	t->rbx++;
	traps++;
	return true;
}

USER static void in_ring3(void)
{
	uint64_t sum = 0, rbx = 0x1122334455667788, cs;

	__asm__ volatile("mov %%cs, %0" : "=r"(cs));
	for (uint64_t i = 0; i < 1000; i++)
		sum = user_call(7, sum, i);
	__asm__ volatile("ud2" : "+b"(rbx) : : "memory");
	rbx--;
	__asm__ volatile("int3" : "+b"(rbx) : : "memory");
	user_call(SYSCALL_EXIT, sum == 499500 && cs == CAISSON_USER_CS ? rbx : sum, 0);
}

void main(void)
{
	on_syscall = add;
	on_trap = skip_ud2;
	check(user_run(in_ring3) == 0x1122334455667789);
	check(calls == 1000 && traps == 2);
	check(user_run(in_ring3) == 0x1122334455667789);
}
