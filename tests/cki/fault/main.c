// SPDX-License-Identifier: Apache-2.0
/* Page faults of both rings: address, error code, mending by ENTRY_SET, and going on. */
#include "tests/cki/lib/guest.h"

#define AT 0x10000000ull
#define PAGES 64

static uint8_t backing[PAGES * PAGE] __attribute__((aligned(4096)));
static uint64_t faults, error_wanted;

static bool mend(struct trap *t)
{
	uint64_t page = vcpu->cr2 & ~(PAGE - 1);

	check(t->frame.vector == 14);
	check(t->frame.error == error_wanted);
	check(vcpu->cr2 == AT + faults * PAGE + 8);
	check(map(page, physical(backing + page - AT) | CAISSON_PTE_P | CAISSON_PTE_W |
				CAISSON_PTE_U | CAISSON_PTE_NX) == 0);
	faults++;
	return true;
}

USER static void touch(void)
{
	for (uint64_t i = 0; i < PAGES; i++)
		*(volatile uint64_t *)(AT + i * PAGE + 8) = i;
	user_call(SYSCALL_EXIT, 5, 0);
}

static uint64_t leaf(uint64_t address)
{
	uint64_t at = frame(FRAME_L4);

	for (unsigned int level = 4; level > 1; level--)
		at = entry(at, address >> (12 + 9 * (level - 1)) & 511) & CAISSON_PTE_ADDRESS;
	return at + (address >> 12 & 511) * 8;
}

static void unmap(uint64_t flags)
{
	for (uint64_t i = 0; i < PAGES; i++) {
		uint64_t old;

		check(hypercall(CAISSON_CALL_ENTRY_SET, leaf(AT + i * PAGE), 0, 0, &old) == 0);
		check((old & flags) == flags);
	}
	faults = 0;
}

void main(void)
{
	on_trap = mend;
	error_wanted = 6; /* ring 3 writes, not present */
	check(user_run(touch) == 5);
	check(faults == PAGES);
	for (uint64_t i = 0; i < PAGES; i++)
		check(*(volatile uint64_t *)(backing + i * PAGE + 8) == i);
	/* The CPU's accessed and dirty bits are not lost by the exchange. */
	unmap(CAISSON_PTE_A | CAISSON_PTE_D);
	error_wanted = 2; /* ring 1 */
	for (uint64_t i = 0; i < PAGES; i++)
		*(volatile uint64_t *)(AT + i * PAGE + 8) = ~i;
	check(faults == PAGES);
	for (uint64_t i = 0; i < PAGES; i++)
		check(*(volatile uint64_t *)(backing + i * PAGE + 8) == ~i);
	unmap(CAISSON_PTE_A | CAISSON_PTE_D);
}
