// SPDX-License-Identifier: Apache-2.0
/*
 * Attack on invariant 6: a fault without end, which never leaves the guest: the handler returns to
 * the instruction.  The host must be able to go on, and to stop it.
 */
#include "tests/cki/lib/guest.h"

static bool again(struct trap *t)
{
	return t->frame.vector == 6;
}

void main(void)
{
	on_trap = again;
	__asm__ volatile("ud2");
}
