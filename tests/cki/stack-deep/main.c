// SPDX-License-Identifier: Apache-2.0
/* Attack on invariant 6: ring 1 itself is on a stack that is not mapped, or no address at all. */
#include "tests/cki/lib/guest.h"

void main(void)
{
	__asm__ volatile("mov $0x8000000000000000, %rsp\n ud2");
}
