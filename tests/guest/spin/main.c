// SPDX-License-Identifier: Apache-2.0
/* A CPU that never comes out by itself, without interrupts: it can be stopped from outside. */
#include "tests/guest/lib/guest.h"

void main(void)
{
	__asm__ volatile("cli");
	for (;;)
		__asm__ volatile("");
}
