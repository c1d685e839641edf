// SPDX-License-Identifier: Apache-2.0
/*
 * Attack on invariants 2 and 3: the reserved slot.  What the monitor keeps there cannot be written,
 * and most of it is not there at all; ring 3 sees nothing of it.  What can be written (entry
 * stacks, the frame to enter from) is filled with rubbish, which changes nothing.
 */
#include "tests/cki/lib/guest.h"

#define AREA (CAISSON_VCPU_PAGE - 3 * PAGE)

/* kmod/layout.h: of the pks gate, if it is not 0 */
#define GATE (*(volatile uint64_t *)(AREA + 2 * PAGE + 16))

static volatile uint64_t target;

static void write_target(void)
{
	*(volatile uint64_t *)target = 0;
}

static void read_target(void)
{
	(void)*(volatile uint64_t *)target;
}

static uint64_t on_call(uint64_t number, uint64_t a, uint64_t b)
{
	(void)number, (void)b;
	return a;
}

static bool on_fault(struct trap *t)
{
	check(t->frame.vector == 14 && (t->frame.error | 1) == 5);
	t->frame.rip = t->rbx;
	return true;
}

USER static void from_ring3(void)
{
	uint64_t skipped = 0;

	for (uint64_t i = 0; i < 16; i++)
		__asm__ volatile("lea 1f(%%rip), %%rbx\n"
				 "mov (%1), %%rax\n"
				 "dec %0\n"
				 "1: inc %0\n"
				 : "+r"(skipped)
				 : "r"(AREA + i * PAGE)
				 : "rax", "rbx", "memory");
	user_call(SYSCALL_EXIT, skipped, 0);
}

void main(void)
{
	/* Code, constants; IDT at the start of the slot. */
	static const uint64_t readonly[] = {AREA, AREA + PAGE, AREA + 2 * PAGE, CAISSON_SLOT};

	for (unsigned int i = 0; i < sizeof(readonly) / sizeof(readonly[0]); i++) {
		target = readonly[i];
		check(fault_of(read_target) < 0);
		check(fault_of(write_target) == 14 && caught.error == 3);
	}
	/* Between the stacks, behind them, and all that a host would have there. */
	for (target = AREA + 4 * PAGE; target < AREA + (2 << 20); target += PAGE) {
		unsigned int page = (target - AREA) / PAGE;

		if (page < 16 && page % 2) {
			check(fault_of(read_target) < 0);
			for (unsigned int i = 0; i < 512; i++)
				((volatile uint64_t *)target)[i] = 0x4141414141414141;
		} else if (GATE && (page == 17 || page == 19)) {
			check(fault_of(read_target) == 14 && caught.error == 0x21);
			check(fault_of(write_target) == 14 && caught.error == 0x23);
		} else if (GATE && page >= 24 && page < 32) {
			check(fault_of(read_target) < 0);
			check(fault_of(write_target) == 14 && caught.error == 3);
		} else {
			check(fault_of(read_target) == 14 && caught.error == 0);
		}
	}
	on_syscall = on_call;
	on_trap = on_fault;
	check(user_run(from_ring3) == 16);
	for (unsigned int i = 0; i < 100; i++)
		check(hypercall(CAISSON_CALL_MONITOR, MONITOR_ECHO, i, 0, NULL) == i + 1);
}
