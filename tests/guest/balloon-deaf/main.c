// SPDX-License-Identifier: Apache-2.0
/*
 * A guest that is asked for half of its memory (runner -b 8) and does as it likes: says that it
 * gave more than there is, gives what it goes on using, gives what it has not.  What it gave is
 * gone for the moment, what it touches it has, and the monitor is none the worse.
 */
#include "tests/guest/lib/guest.h"

#define PAGE 4096u
#define NUM_PAGES (BALLOON + CONFIG)
#define ACTUAL (BALLOON + CONFIG + 4)
#define INFLATE 0u
#define AREA (4ull << 20) /* free RAM, well away from the guest itself */
#define PAGES 512u

static struct queue q;
static uint32_t pfns[PAGES];

static volatile uint8_t *byte(uint32_t page)
{
	return (volatile uint8_t *)(AREA + (uint64_t)page * PAGE);
}

static void give_area(void)
{
	for (uint32_t i = 0; i < PAGES; i++)
		pfns[i] = (uint32_t)(AREA / PAGE) + i;
	q.desc[0] = (struct desc){(uint64_t)pfns, sizeof(pfns), 0, 0};
	submit(BALLOON, INFLATE, &q, 0);
	check(complete(BALLOON, &q) == 0);
}

void main(void)
{
	check(read32(NUM_PAGES) == RAM_END / 2 / PAGE);
	setup(BALLOON, INFLATE, &q);
	for (uint32_t lie = 1; lie; lie <<= 1)
		write32(ACTUAL, lie);
	write32(ACTUAL, ~0u);
	check(read32(NUM_PAGES) == RAM_END / 2 / PAGE);

	for (uint32_t round = 0; round < 20; round++) {
		for (uint32_t i = 0; i < PAGES; i++)
			*byte(i) = 0x5a;
		give_area();
		for (uint32_t i = 0; i < PAGES; i++)
			check(*byte(i) == 0);
	}
	*byte(0) = 0x5a;
	check(*byte(0) == 0x5a);

	/* What it has not. */
	pfns[0] = (uint32_t)(RAM_END / PAGE);
	pfns[1] = ~0u;
	q.desc[0] = (struct desc){(uint64_t)pfns, 8, 0, 0};
	submit(BALLOON, INFLATE, &q, 0);
	expect_broken(BALLOON);
	setup(BALLOON, INFLATE, &q);
	give_area();
	end(GUEST_PASS);
}
