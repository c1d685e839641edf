// SPDX-License-Identifier: Apache-2.0
/* Invariant 3: only a live level-4 table becomes the root; changes to it are seen at once. */
#include "tests/cki/lib/guest.h"

#define AT 0x20000000000ull

static uint8_t page[2][PAGE] __attribute__((aligned(4096)));

static void read_it(void)
{
	(void)*(volatile uint64_t *)AT;
}

static int64_t root(uint64_t at)
{
	return hypercall(CAISSON_CALL_ROOT, at, 0, 0, NULL);
}

void main(void)
{
	const uint64_t old = frame(FRAME_L4), new = table(4), flags = CAISSON_PTE_P | CAISSON_PTE_W;
	const uint64_t l3[2] = {table(3), table(3)};

	check(root(0) < 0);
	check(root(1) < 0);
	check(root(boot.foreign) < 0);
	check(root(boot.foreign_table) < 0);
	check(root(boot.blocks[0]) < 0);
	check(root(frame(FRAME_L3)) < 0);
	check(root(frame(200)) < 0);
	check(root(old + 8) < 0);
	/* Another root, with the kernel in it, and a page of its own in each. */
	check(set(new, 511, entry(old, 511)) == 0);
	check(set(new, 0, entry(old, 0)) == 0);
	for (unsigned int i = 0; i < 2; i++) {
		uint64_t l2 = table(2), l1 = table(1);

		check(set(l1, 0, physical(page[i]) | flags) == 0);
		check(set(l2, 0, l1 | flags) == 0);
		check(set(l3[i], 0, l2 | flags) == 0);
		page[i][0] = (uint8_t)(i + 1);
	}
	check(set(old, 4, l3[0] | flags) == 0);
	check(set(new, 4, l3[1] | flags) == 0);
	for (unsigned int i = 0; i < 1000; i++) {
		check(root(i % 2 ? old : new) == 0);
		check(*(volatile uint8_t *)AT == (i % 2 ? 1 : 2));
	}
	/* On `old` now. */
	check(set(old, 4, 0) == 0);
	check(fault_of(read_it) == 14);
	check(set(old, 4, l3[1] | flags) == 0);
	check(*(volatile uint8_t *)AT == 2);
	/* It is not free as long as it is the root. */
	check(hypercall(CAISSON_CALL_TABLE_FREE, old, 0, 0, NULL) < 0);
}
