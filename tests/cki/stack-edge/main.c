// SPDX-License-Identifier: Apache-2.0
/* Attack on invariants 2 and 6: a frame that begins below the monitor's slot and ends in it.  Ends
 * the sandbox before anything is written. */
#include "tests/cki/lib/guest.h"

USER static void ud2(void)
{
	__asm__ volatile("ud2");
}

void main(void)
{
	static uint8_t below[PAGE] __attribute__((aligned(4096)));

	check(map(CAISSON_SLOT - PAGE,
		  physical(below) | CAISSON_PTE_P | CAISSON_PTE_W | CAISSON_PTE_NX) == 0);
	vcpu->kernel_stack = CAISSON_SLOT + 16;
	__asm__ volatile("pushq %0\n pushq %1\n pushq $0x202\n pushq %2\n pushq %3\n iretq"
			 :
			 : "i"(CAISSON_USER_SS), "r"(0x400000ull), "i"(CAISSON_USER_CS), "r"(ud2));
}
