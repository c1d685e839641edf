// SPDX-License-Identifier: Apache-2.0
/* Ring 1 comes to life, speaks, and is answered. */
#include "tests/cki/lib/guest.h"

void main(void)
{
	uint64_t cs;

	__asm__("mov %%cs, %0" : "=r"(cs));
	check(cs == CAISSON_CS);
	check(hypercall(CAISSON_CALL_MONITOR, MONITOR_ECHO, 41, 0, NULL) == 42);
	say("hello from ring 1\n");
}
