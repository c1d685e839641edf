// SPDX-License-Identifier: Apache-2.0
/*
 * Start of a vCPU by a sibling, with invariant 3 attacked by the way: only on a live level-4 table,
 * which is in use from then on; only once; not one that is not there.  An event that was raised
 * before is not lost, and not delivered before the vCPU can take it.
 */
#include "tests/cki/lib/guest.h"

#define EVENT 5

static volatile unsigned int events, began;
static volatile uint64_t number_seen;

static bool event(struct trap *t)
{
	check(t->frame.vector == CAISSON_VECTOR_EVENT && take(EVENT));
	events++;
	return true;
}

void other(uint64_t number)
{
	number_seen = number;
	began++;
	for (;;)
		hypercall(CAISSON_CALL_HALT, 0, 0, 0, NULL);
}

void main(void)
{
	const uint64_t old = frame(FRAME_L4), root = table(4);

	on_trap = event;
	check(set(root, 511, entry(old, 511)) == 0);
	check(start_cpu(2, root) == -2);
	check(start_cpu(63, root) == -2);
	check(start_cpu(64, root) == -2);
	check(start_cpu(~0ull, root) == -2);
	check(start_cpu(0, root) == -16); /* ourselves */
	check(start_cpu(1, 0) == -1);
	check(start_cpu(1, frame(FRAME_L3)) == -1);
	check(start_cpu(1, frame(200)) == -1);
	check(start_cpu(1, boot.foreign_table) == -1);
	check(start_cpu(1, boot.blocks[0]) == -1);
	check(start_cpu(1, root + 8) < 0);
	check(hypercall(CAISSON_CALL_RAISE, 2, EVENT, 0, NULL) == 0);
	check(began == 0);
	check(start_cpu(1, root) == 0);
	check(start_cpu(1, root) == -16);
	while (!began || !events)
		__asm__ volatile("pause");
	check(number_seen == 1 && events == 1 && began == 1);
	check(start_cpu(1, root) == -16);
	/* Its root is in use. */
	check(set(root, 511, 0) == 0);
	check(hypercall(CAISSON_CALL_TABLE_FREE, root, 0, 0, NULL) == -16);
}
