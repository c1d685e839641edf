// SPDX-License-Identifier: Apache-2.0
/* Attack on invariants 2 and 6: the entry code is told to write to its own stack.  Ends the
 * sandbox. */
#include "tests/cki/lib/guest.h"

USER static void ud2(void)
{
	__asm__ volatile("ud2");
}

void main(void)
{
	vcpu->kernel_stack = CAISSON_VCPU_PAGE + 5 * PAGE - 64;
	__asm__ volatile("pushq %0\n pushq %1\n pushq $0x202\n pushq %2\n pushq %3\n iretq"
			 :
			 : "i"(CAISSON_USER_SS), "r"(0x400000ull), "i"(CAISSON_USER_CS), "r"(ud2));
}
