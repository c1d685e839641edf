// SPDX-License-Identifier: Apache-2.0
/*
 * Attack on invariants 1 and 2 through the operations: foreign memory, the host's memory, writable
 * page tables, levels that do not fit, the reserved slot, malformed values.  All refused, none
 * stored.
 */
#include "tests/cki/lib/guest.h"

#define P CAISSON_PTE_P
#define W CAISSON_PTE_W
#define U CAISSON_PTE_U
#define NX CAISSON_PTE_NX
#define PS CAISSON_PTE_PS
#define EPERM_ -1
#define ENOENT_ -2
#define EBUSY_ -16
#define EINVAL_ -22

static void write_tables(void)
{
	*(volatile uint64_t *)(GUEST_TABLES + 5 * PAGE) = 0;
}

void main(void)
{
	const uint64_t l4 = frame(FRAME_L4), l1 = table(1), l2 = table(2), l3 = table(3);
	const uint64_t data = boot.blocks[1], rw = P | W;

	/* Not ours: another sandbox, its tables, the host's first megabytes, beyond all memory. */
	set_refused(l1, 0, boot.foreign | rw);
	set_refused(l1, 0, boot.foreign | P | NX);
	set_refused(l1, 0, boot.foreign_table | P | NX);
	set_refused(l3, 0, boot.foreign_table | rw);
	set_refused(l2, 0, boot.foreign | rw | PS);
	for (uint64_t at = 0; at < 64 << 20; at += 61 * PAGE)
		set_refused(l1, 0, at | P | NX);
	set_refused(l1, 0, (1ull << 51) | rw);
	set_refused(l1, 0, 0xfee00000 | rw | NX | CAISSON_PTE_PCD);
	/* Our tables, but writable, executable, for ring 3; as a large page. */
	set_refused(l1, 0, frame(9) | rw | NX);
	set_refused(l1, 0, frame(9) | P);
	set_refused(l1, 0, frame(9) | P | U | NX);
	set_refused(l2, 0, boot.tables | rw | PS | NX);
	set_refused(l2, 0, boot.tables | P | PS);
	check(fault_of(write_tables) == 14 && caught.error == 3);
	/* Levels. */
	set_refused(l4, 1, l2 | rw);
	set_refused(l4, 1, l1 | rw);
	set_refused(l4, 1, l4 | rw);
	set_refused(l3, 1, l3 | rw);
	set_refused(l3, 1, l1 | rw);
	set_refused(l2, 1, l2 | rw);
	set_refused(l2, 1, data | rw);
	set_refused(l3, 1, data | rw | PS);
	set_refused(l4, 1, data | rw | PS);
	set_refused(l3, 1, frame(100) | rw);
	/* The monitor's slot; ring 3 in the upper half. */
	set_refused(l4, CAISSON_SLOT_INDEX, l3 | rw);
	set_refused(l4, CAISSON_SLOT_INDEX, 0);
	set_refused(l4, 300, l3 | rw | U);
	/* Malformed. */
	set_refused(l1, 0, data | rw | CAISSON_PTE_G);
	set_refused(l1, 0, data | rw | 1ull << 59);
	set_refused(l1, 0, data | rw | CAISSON_PTE_PCD);
	set_refused(l1, 0, data | rw | CAISSON_PTE_PAT);
	set_refused(l2, 0, (data + PAGE) | rw | PS);
	set_refused(l2, 0, data | rw | PS | CAISSON_PTE_PAT_LARGE);
	set_refused(l1, 0, data);
	set_refused(l1, 0, 2);
	set_refused(l1, 0, CAISSON_PTE_ADDRESS & ~CAISSON_PTE_FAR);
	check(set(l1, 0, (CAISSON_PTE_ADDRESS & ~data) | 0x560) == 0);
	check(set(l1, 0, 0) == 0);
	/* Addresses of entries. */
	check(hypercall(CAISSON_CALL_ENTRY_SET, l1 + 4, data | rw, 0, NULL) == EINVAL_);
	check(hypercall(CAISSON_CALL_ENTRY_SET, frame(100), data | rw, 0, NULL) == ENOENT_);
	check(hypercall(CAISSON_CALL_ENTRY_SET, data, data | rw, 0, NULL) == ENOENT_);
	check(hypercall(CAISSON_CALL_ENTRY_SET, boot.foreign_table, 0, 0, NULL) == ENOENT_);
	check(hypercall(CAISSON_CALL_ENTRY_SET, ~7ull, 0, 0, NULL) == ENOENT_);
	/* Tables in use, and not. */
	check(hypercall(CAISSON_CALL_TABLE_NEW, l1, 2, 0, NULL) == EBUSY_);
	check(hypercall(CAISSON_CALL_TABLE_NEW, frame(100), 5, 0, NULL) == EINVAL_);
	check(hypercall(CAISSON_CALL_TABLE_NEW, frame(100) + 8, 1, 0, NULL) == EINVAL_);
	check(hypercall(CAISSON_CALL_TABLE_NEW, data, 1, 0, NULL) == ENOENT_);
	check(hypercall(CAISSON_CALL_TABLE_FREE, l4, 0, 0, NULL) == EBUSY_);
	check(hypercall(CAISSON_CALL_TABLE_FREE, frame(FRAME_L3), 0, 0, NULL) == EBUSY_);
	check(hypercall(CAISSON_CALL_TABLE_FREE, frame(100), 0, 0, NULL) == ENOENT_);
	check(set(l2, 0, l1 | rw) == 0);
	check(hypercall(CAISSON_CALL_TABLE_FREE, l1, 0, 0, NULL) == EBUSY_);
	check(set(l3, 0, l2 | rw) == 0);
	check(hypercall(CAISSON_CALL_TABLE_FREE, l2, 0, 0, NULL) == EBUSY_);
	check(set(l3, 0, 0) == 0);
	check(set(l2, 0, 0) == 0);
	check(hypercall(CAISSON_CALL_TABLE_FREE, l1, 0, 0, NULL) == 0);
	check(hypercall(CAISSON_CALL_TABLE_NEW, l1, 3, 0, NULL) == 0);
	check(set(l1, 0, l2 | rw) == 0);
}
