// SPDX-License-Identifier: Apache-2.0
/*
 * Shootdown: what a vCPU reads after its sibling's FLUSH, it reads by the new translation.  Then
 * both flush each other without end: neither may wait for the other for ever.
 */
#include "tests/cki/lib/guest.h"

#define AT 0x40000000000ull
#define ROUNDS 2000

static uint8_t page[2][PAGE] __attribute__((aligned(4096)));
static volatile uint64_t turn, seen, storm, halted;

static int64_t flush(uint64_t set)
{
	return hypercall(CAISSON_CALL_FLUSH, set, 0, 0, NULL);
}

void other(uint64_t number)
{
	(void)number;
	while (!storm) {
		/* All the time, so that there is a translation to forget. */
		uint64_t now = turn;

		if (now & 1 && *(volatile uint8_t *)AT != ((now >> 1) & 1) + 1) {
			say("stale\n");
			end(GUEST_FAIL);
		}
		(void)*(volatile uint8_t *)AT;
		seen = now;
	}
	for (unsigned int i = 0; i < 5000; i++)
		check(flush(~0ull) == 0);
	halted = 1;
	for (;;)
		hypercall(CAISSON_CALL_HALT, 0, 0, 0, NULL);
}

void main(void)
{
	const uint64_t flags = CAISSON_PTE_P | CAISSON_PTE_W | CAISSON_PTE_NX;
	const uint64_t l3 = table(3), l2 = table(2), l1 = table(1);

	for (unsigned int i = 0; i < 2; i++)
		page[i][0] = (uint8_t)(i + 1);
	check(set(frame(FRAME_L4), 8, l3 | CAISSON_PTE_P | CAISSON_PTE_W) == 0);
	check(set(l3, 0, l2 | CAISSON_PTE_P | CAISSON_PTE_W) == 0);
	check(set(l2, 0, l1 | CAISSON_PTE_P | CAISSON_PTE_W) == 0);
	check(set(l1, 0, physical(page[0]) | flags) == 0);
	check(start_cpu(1, frame(FRAME_L4)) == 0);
	/* Odd: what it reads is the page of turn / 2; even: it may be either. */
	for (uint64_t i = 0; i < ROUNDS; i++) {
		turn = 2 * i;
		while (seen != turn)
			__asm__ volatile("pause");
		check(set(l1, 0, physical(page[i & 1]) | flags) == 0);
		check(flush(2) == 0);
		turn = 2 * i + 1;
		while (seen != turn)
			__asm__ volatile("pause");
	}
	storm = 1;
	while (!halted)
		check(flush(2) == 0);
	for (unsigned int i = 0; i < 10000; i++)
		check(flush(~1ull) == 0);
}
