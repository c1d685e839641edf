// SPDX-License-Identifier: Apache-2.0
/*
 * Attack on invariants 2 and 3 where the CPU walks five levels: addresses that differ from ours in
 * bits 63 to 48 alone.  Each half has a table of level 4 of its own, so these lead nowhere; were it
 * one table, the monitor's slot would have a second address, and ring 3's code one from which its
 * system calls pass for ring 1's.  With four levels they are no addresses at all.
 */
#include "tests/cki/lib/guest.h"

#define EXTENSION (0xffffull << 48)

static volatile uint64_t target;

static void read_target(void)
{
	(void)*(volatile uint64_t *)target;
}

static void nowhere(uint64_t address)
{
	int vector;

	target = address;
	vector = fault_of(read_target);
	check(vector == 13 || (vector == 14 && caught.error == 0));
}

USER static void in_ring3(void)
{
	user_call(SYSCALL_EXIT, 0, 0);
}

void main(void)
{
	static const uint64_t upper[] = {CAISSON_SLOT, CAISSON_VCPU_PAGE,
					 CAISSON_VCPU_PAGE - 3 * PAGE};
	const uint64_t lower = (uint64_t)in_ring3;

	for (unsigned int i = 0; i < sizeof(upper) / sizeof(upper[0]); i++) {
		target = upper[i];
		check(fault_of(read_target) < 0);
		nowhere(upper[i] & ~EXTENSION);
		nowhere(upper[i] & ~(1ull << 56));
	}
	nowhere((uint64_t)main & ~EXTENSION);

	target = lower;
	check(lower >> 47 == 0 && fault_of(read_target) < 0);
	nowhere(lower | EXTENSION);
	nowhere(lower | 1ull << 56);
}
