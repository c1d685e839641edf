// SPDX-License-Identifier: Apache-2.0
/*
 * Ring 3 steps through a system call. A CPU looks at TF when `syscall` has cleared it; Bochs looks
 * before, and its trap comes in the monitor's entry code, which once ended the sandbox: a process
 * could.
 */
#include "tests/cki/lib/guest.h"

static unsigned int steps;

static bool trap(struct trap *t)
{
	if (t->frame.vector != 1 || (t->frame.cs & 3) != 3)
		return false;
	steps++;
	return true;
}

static uint64_t call(uint64_t number, uint64_t a, uint64_t b)
{
	check(number == 9);
	return a + b;
}

USER static void in_ring3(void)
{
	uint64_t sum;

	__asm__ volatile("pushfq; orq $0x100, (%%rsp); popfq; nop" : : : "cc", "memory");
	sum = user_call(9, 1, 2);
	__asm__ volatile("pushfq; andq $~0x100, (%%rsp); popfq; nop" : : : "cc", "memory");
	user_call(SYSCALL_EXIT, sum != 3, 0);
}

void main(void)
{
	on_trap = trap;
	on_syscall = call;
	for (unsigned int i = 0; i < 100; i++) {
		steps = 0;
		check(user_run(in_ring3) == 0);
		check(steps > 3);
	}
}
