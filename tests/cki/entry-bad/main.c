// SPDX-License-Identifier: Apache-2.0
/*
 * Attack on invariant 6: an exception entry that is no address.  On silicon the far return to it
 * faults in ring 0 and ends the sandbox; in the emulator it faults in ring 1, again and again,
 * until the stack is full; which ends the sandbox as well.
 */
#include "tests/cki/lib/guest.h"

void main(void)
{
	vcpu->exception_entry = 0x8000000000000000;
	__asm__ volatile("ud2");
}
