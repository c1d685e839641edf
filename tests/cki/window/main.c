// SPDX-License-Identifier: Apache-2.0
/*
 * Registers of a function, lent as a window: written and read by rings 1 and 3 at the addresses
 * that the host has them at.  And the attacks: the pages beside it, code in it, page tables in it,
 * a large page, other memory types.
 */
#include "tests/cki/lib/guest.h"

#define P CAISSON_PTE_P
#define W CAISSON_PTE_W
#define U CAISSON_PTE_U
#define NX CAISSON_PTE_NX
#define PS CAISSON_PTE_PS
#define PCD CAISSON_PTE_PCD
#define EPERM_ -1
#define ENOENT_ -2

#define AT 0x20000000ull
#define MAGIC 0x0123456789abcdefull

static volatile uint64_t *const registers = (void *)AT;

USER static void use(void)
{
	registers[1] = registers[0] + 1;
	user_call(SYSCALL_EXIT, registers[1] == MAGIC + 1, 0);
}

static void write_last(void)
{
	registers[PAGE / 8] = 0;
}

static uint64_t hosts(uint64_t offset)
{
	return (uint64_t)hypercall(CAISSON_CALL_MONITOR, MONITOR_WINDOW, offset, 0, NULL);
}

static void used(uint64_t first, uint64_t last)
{
	check(map(AT, first | P | W | U | NX | PCD) == 0);
	check(map(AT + PAGE, last | P | NX | PCD) == 0);
	registers[0] = MAGIC;
	check(registers[0] == MAGIC && hosts(0) == MAGIC);
	check(user_run(use) == 1 && hosts(8) == MAGIC + 1);
	check(registers[PAGE / 8] == hosts(last - first));
	check(fault_of(write_last) == 14 && caught.error == 3);
	/* What is read there is nothing to execute. */
	check(fault_of((void (*)(void))(AT + PAGE)) == 14 && caught.error == 0x11);
	/* Taken out of the guest's own tables, it is gone. */
	check(map(AT + PAGE, 0) == 0);
	check(fault_of(write_last) == 14 && caught.error == 2);
}

void main(void)
{
	const uint64_t first = boot.window, last = first + boot.window_size - PAGE;
	const uint64_t large = (first + (2 << 20) - 1) & ~((2ull << 20) - 1);
	const uint64_t l1 = table(1), l2 = table(2), l3 = table(3), l4 = table(4);

	if (!first)
		end(GUEST_SKIP);
	check(large + (2 << 20) <= last + PAGE);
	/* To be executed; cached, in each way that there is; for all address spaces; with a key. */
	set_refused(l1, 0, first | P | W | PCD);
	set_refused(l1, 0, first | P | PCD | U);
	set_refused(l1, 0, first | P | W | NX);
	set_refused(l1, 0, first | P | W | NX | CAISSON_PTE_PWT);
	set_refused(l1, 0, first | P | W | NX | PCD | CAISSON_PTE_PWT);
	set_refused(l1, 0, first | P | W | NX | PCD | CAISSON_PTE_PAT);
	set_refused(l1, 0, first | P | W | NX | CAISSON_PTE_PAT);
	set_refused(l1, 0, first | P | W | NX | PCD | CAISSON_PTE_G);
	set_refused(l1, 0, first | P | W | NX | PCD | 1ull << 59);
	/* Beside it. */
	set_refused(l1, 0, (first - PAGE) | P | W | NX | PCD);
	set_refused(l1, 0, (last + PAGE) | P | W | NX | PCD);
	set_refused(l1, 0, 0xfee00000 | P | W | NX | PCD);
	/* As a large page, by whichever table. */
	set_refused(l2, 0, large | P | W | NX | PCD | PS);
	set_refused(l2, 0, large | P | W | NX | PS);
	set_refused(l3, 0, large | P | W | NX | PCD | PS);
	/* As a page table. */
	set_refused(l2, 0, first | P | W);
	set_refused(l3, 0, first | P | W);
	set_refused(l4, 0, first | P | W);
	check(hypercall(CAISSON_CALL_TABLE_NEW, first, 1, 0, NULL) == ENOENT_);
	check(hypercall(CAISSON_CALL_TABLE_FREE, first, 0, 0, NULL) == ENOENT_);
	check(hypercall(CAISSON_CALL_ENTRY_SET, first, 0, 0, NULL) == ENOENT_);
	check(hypercall(CAISSON_CALL_ROOT, first, 0, 0, NULL) == EPERM_);
	used(first, last);
}
