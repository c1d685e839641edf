// SPDX-License-Identifier: Apache-2.0
/*
 * Attack on invariants 1 and 2 by two vCPUs: one writes through an address all the time, the other
 * takes the tables behind that address out of use and makes them tables of another level, where the
 * first one's stale translations would let it write page tables.  No write may be seen in a table;
 * and neither CPU may wait for the other for ever.
 */
#include "tests/cki/lib/guest.h"

#define AT 0x30000000000ull
#define MARK 0xbadbadbadbadbadb
#define ROUNDS 3000

static uint8_t page[PAGE] __attribute__((aligned(4096)));
static volatile uint64_t writes, missed;

/* On the other CPU: a write that faults is passed over. */
static bool pass_over(struct trap *t)
{
	if (t->frame.vector != 14 || vcpu->cr2 - AT >= 2 << 20)
		return false;
	t->frame.rip = t->rbx;
	missed++;
	return true;
}

void other(uint64_t number)
{
	(void)number;
	for (;;)
		for (uint64_t i = 0; i < 512; i += 8) {
			__asm__ volatile("lea 1f(%%rip), %%rbx\n mov %0, (%1)\n 1:"
					 :
					 : "r"(MARK), "r"(AT + i * PAGE + i * 8)
					 : "rbx", "memory");
			writes++;
		}
}

static int64_t call(uint64_t number, uint64_t a, uint64_t b)
{
	return hypercall(number, a, b, 0, NULL);
}

static void no_mark(uint64_t at)
{
	for (unsigned int i = 0; i < 512; i++)
		check(entry(at, i) != MARK);
}

void main(void)
{
	const uint64_t flags = CAISSON_PTE_P | CAISSON_PTE_W | CAISSON_PTE_NX;
	const uint64_t l4 = frame(FRAME_L4), l3 = table(3), l2 = table(2), x = table(1),
		       y = table(1);

	on_trap = pass_over;
	check(start_cpu(1, l4) == 0);
	check(set(l4, 6, l3 | CAISSON_PTE_P | CAISSON_PTE_W) == 0);
	check(set(l3, 0, l2 | CAISSON_PTE_P | CAISSON_PTE_W) == 0);
	for (unsigned int round = 0; round < ROUNDS; round++) {
		/* x maps the page at every address that is written. */
		check(set(l2, 0, x | CAISSON_PTE_P | CAISSON_PTE_W) == 0);
		for (unsigned int i = 0; i < 512; i += 64)
			check(set(x, i, physical(page) | flags) == 0);
		/* Out of use, and another level: its entries point to tables now. */
		for (unsigned int i = 0; i < 512; i += 64)
			check(set(x, i, 0) == 0);
		check(set(l2, 0, 0) == 0);
		check(call(CAISSON_CALL_TABLE_FREE, x, 0) == 0);
		check(call(CAISSON_CALL_TABLE_NEW, x, 2) == 0);
		for (unsigned int i = 0; i < 512; i += 64)
			check(set(x, i, y | CAISSON_PTE_P | CAISSON_PTE_W) == 0);
		no_mark(x);
		no_mark(y);
		for (unsigned int i = 0; i < 512; i += 64)
			check(set(x, i, 0) == 0);
		check(call(CAISSON_CALL_TABLE_FREE, x, 0) == 0);
		check(call(CAISSON_CALL_TABLE_NEW, x, 1) == 0);
	}
	check(writes > 1000 && missed > 100);
}
