// SPDX-License-Identifier: Apache-2.0
/* Without an IDT an exception is the end of a CPU, and of the machine: an orderly one, it is how
 * the guest's kernel resets (reboot=t). */
#include "tests/guest/lib/guest.h"

void main(void)
{
	say("the end\n");
	__asm__ volatile("ud2");
	end(GUEST_FAIL);
}
