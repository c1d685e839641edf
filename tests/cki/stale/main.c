// SPDX-License-Identifier: Apache-2.0
/*
 * Translations that should be gone: after FLUSH the CPU has none of an entry's old value, of either
 * kind of table or page; and none of the host's, global ones least of all, is left for ring 1 to
 * read by.  Emulators that forget everything on a change of CR3 cannot show a breach.
 */
#include "tests/cki/lib/guest.h"

#define AT 0x50000000000ull
#define LARGE 0x50000200000ull
#define ROUNDS 200
/* Where a host that is not placed by chance has its code and data, and its modules. */
#define KERNEL 0xffffffff81000000ull
#define KERNEL_END 0xffffffff85000000ull
#define MODULES 0xffffffffc0000000ull
#define MODULES_END 0xffffffffc0800000ull

static uint8_t page[2][PAGE] __attribute__((aligned(4096)));
static const volatile uint8_t *probe __attribute__((used));

static __attribute__((naked)) void read_probe(void)
{
	__asm__ volatile("mov probe(%rip), %rax; movzbl (%rax), %eax; ret");
}

static void probe_all(uint64_t from, uint64_t to)
{
	for (uint64_t at = from; at < to; at += PAGE) {
		probe = (const uint8_t *)at;
		if (fault_of(read_probe) == 14)
			continue;
		say("the host's: ");
		say_hex(at);
		say("\n");
		end(GUEST_FAIL);
	}
}

/* Changes an entry, and reads by the new value. */
static void change(uint64_t table, unsigned int index, uint64_t value, uint64_t address,
		   uint8_t wanted)
{
	check(set(table, index, value) == 0);
	check(hypercall(CAISSON_CALL_FLUSH, 0, 0, 0, NULL) == 0);
	check(*(volatile uint8_t *)address == wanted);
}

void main(void)
{
	const uint64_t flags = CAISSON_PTE_P | CAISSON_PTE_W | CAISSON_PTE_NX;
	const uint64_t pointer = CAISSON_PTE_P | CAISSON_PTE_W;
	const uint64_t l3 = table(3), l2 = table(2), l1[2] = {table(1), table(1)};

	for (unsigned int i = 0; i < 2; i++) {
		page[i][0] = (uint8_t)(i + 1);
		*(volatile uint8_t *)(GUEST_BASE + (2 + i) * (2ull << 20)) = (uint8_t)(i + 11);
	}
	check(set(frame(FRAME_L4), 10, l3 | pointer) == 0);
	check(set(l3, 0, l2 | pointer) == 0);
	check(set(l1[1], 0, physical(page[1]) | flags) == 0);
	check(set(l2, 0, l1[0] | pointer) == 0);
	for (unsigned int i = 0; i < ROUNDS; i++) {
		/* Pages, small and large; and the table that is between. */
		change(l1[0], 0, physical(page[i & 1]) | flags, AT, (uint8_t)((i & 1) + 1));
		change(l2, 1, boot.blocks[2 + (i & 1)] | flags | CAISSON_PTE_PS, LARGE,
		       (uint8_t)((i & 1) + 11));
		if (!(i & 1))
			change(l2, 0, l1[1] | pointer, AT, 2);
		change(l2, 0, l1[0] | pointer, AT, (uint8_t)((i & 1) + 1));
	}
	/* Gone altogether, and no longer to be written. */
	probe = (const uint8_t *)AT;
	check(set(l1[0], 0, 0) == 0);
	check(hypercall(CAISSON_CALL_FLUSH, 0, 0, 0, NULL) == 0);
	check(fault_of(read_probe) == 14);
	probe_all(KERNEL, KERNEL_END);
	probe_all(MODULES, MODULES_END);
}
