// SPDX-License-Identifier: Apache-2.0
/*
 * Changes in one call: each is made by the rules of the call that makes it alone, in order, up to
 * the first that is refused; none beyond the list; tables that are freed with what is in them; and
 * no call that keeps its CPU for long.
 */
#include "tests/cki/lib/guest.h"

#define P CAISSON_PTE_P
#define W CAISSON_PTE_W
#define NX CAISSON_PTE_NX
#define EPERM_ -1
#define ENOENT_ -2
#define EBUSY_ -16
#define EINVAL_ -22

#define AT 0x10000000ull
static uint64_t l1, l2, l3, data;

static void put(unsigned int i, unsigned int what, uint64_t address, uint64_t value)
{
	vcpu->changes[i].address = address | what;
	vcpu->changes[i].value = value;
}

static int64_t make(uint64_t begin, uint64_t end, uint64_t *ret_at)
{
	return hypercall(CAISSON_CALL_CHANGES, begin, end, 0, ret_at);
}

/* One change; its error. */
static int64_t one(unsigned int what, uint64_t address, uint64_t value)
{
	uint64_t at;
	int64_t error;

	put(0, what, address, value);
	error = make(0, 1, &at);
	check(at == (error ? 0 : 1));
	return error;
}

static void in_order(void)
{
	uint64_t at;

	for (unsigned int i = 0; i < CAISSON_CHANGES_MAX; i++)
		put(i, CAISSON_CHANGE_SET, l1 + i * 8, (data + i * PAGE) | P | NX);
	check(make(0, CAISSON_CHANGES_MAX, &at) == 0 && at == CAISSON_CHANGES_MAX);
	for (unsigned int i = 0; i < CAISSON_CHANGES_MAX; i++)
		check(entry(l1, i) == ((data + i * PAGE) | P | NX));
	/* A part of the list; an empty part. */
	for (unsigned int i = 0; i < 4; i++)
		put(i, CAISSON_CHANGE_SET, l1 + i * 8, 0);
	check(make(1, 3, &at) == 0 && at == 3);
	check(entry(l1, 0) && !entry(l1, 1) && !entry(l1, 2) && entry(l1, 3));
	check(make(2, 2, &at) == 0 && at == 2);
}

/* `what` and `value` refused in the middle: what was before is made, and nothing from there on. */
static void refused(unsigned int what, uint64_t address, uint64_t value, int64_t wanted)
{
	uint64_t at;
	int64_t error;

	check(one(CAISSON_CHANGE_SET, l1 + 8 * 8, 0) == 0 &&
	      one(CAISSON_CHANGE_SET, l1 + 9 * 8, 0) == 0);
	put(5, CAISSON_CHANGE_SET, l1 + 8 * 8, data | P | W | NX);
	put(6, what, address, value);
	put(7, CAISSON_CHANGE_SET, l1 + 9 * 8, data | P | W | NX);
	error = make(5, 8, &at);
	if (error != wanted || at != 6) {
		say("change: ");
		say_hex(address | what);
		say_hex(value);
		say("\n");
		end(GUEST_FAIL);
	}
	check(entry(l1, 8) == (data | P | W | NX) && entry(l1, 9) == 0);
}

static void bad_ones(void)
{
	const uint64_t e = l1 + 10 * 8;

	refused(CAISSON_CHANGE_SET, e, boot.foreign | P | W, EPERM_);
	refused(CAISSON_CHANGE_SET, e, frame(9) | P | W | NX, EPERM_);
	refused(CAISSON_CHANGE_KEEP, e, boot.foreign | P, EPERM_);
	refused(CAISSON_CHANGE_KEEP, l2 + 8, data | P | W | CAISSON_PTE_PS, EPERM_);
	refused(CAISSON_CHANGE_SET, frame(FRAME_L4) + CAISSON_SLOT_INDEX * 8, 0, EPERM_);
	refused(CAISSON_CHANGE_SET, boot.foreign_table, 0, ENOENT_);
	refused(CAISSON_CHANGE_SET, data, 0, ENOENT_);
	refused(CAISSON_CHANGE_SET, frame(100), 0, ENOENT_);
	/* Bits: none but those that only take rights away. */
	refused(CAISSON_CHANGE_REMOVE, l1, NX, EINVAL_);
	refused(CAISSON_CHANGE_REMOVE, l1, P, EINVAL_);
	refused(CAISSON_CHANGE_REMOVE, l1, 1ull << 21, EINVAL_);
	refused(CAISSON_CHANGE_REMOVE, frame(FRAME_L4), W, EPERM_);
	refused(CAISSON_CHANGE_REMOVE, l3, W, EPERM_);
	refused(CAISSON_CHANGE_REMOVE, frame(100), W, ENOENT_);
	refused(CAISSON_CHANGE_REMOVE, boot.foreign_table, W, ENOENT_);
	/* Entries beyond the table; tables of another level. */
	refused(CAISSON_CHANGE_CLEAR, e, 0, EINVAL_);
	refused(CAISSON_CHANGE_CLEAR, e, 503, EINVAL_);
	refused(CAISSON_CHANGE_CLEAR, e, ~0ull, EINVAL_);
	refused(CAISSON_CHANGE_CLEAR, e, 1ull << 61, EINVAL_);
	refused(CAISSON_CHANGE_CLEAR, l2, 1, EPERM_);
	refused(CAISSON_CHANGE_CLEAR, frame(FRAME_L4), 1, EPERM_);
	refused(CAISSON_CHANGE_CLEAR, frame(100), 1, ENOENT_);
	refused(CAISSON_CHANGE_CLEAR, boot.foreign, 1, ENOENT_);
	/* Tables. */
	refused(CAISSON_CHANGE_NEW, l1, 1, EBUSY_);
	refused(CAISSON_CHANGE_NEW, frame(100), 5, EINVAL_);
	refused(CAISSON_CHANGE_NEW, frame(100) + 8, 1, EINVAL_);
	refused(CAISSON_CHANGE_NEW, data, 1, ENOENT_);
	refused(CAISSON_CHANGE_FREE, frame(FRAME_L4), 0, EBUSY_);
	refused(CAISSON_CHANGE_FREE, frame(FRAME_L3), 0, EBUSY_);
	refused(CAISSON_CHANGE_FREE, frame(100), 0, ENOENT_);
	refused(6, e, 0, EINVAL_);
	refused(7, e, 0, EINVAL_);
}

/* The list itself: in the vCPU page, and no further. */
static void beyond(void)
{
	static const uint64_t ends[] = {
		CAISSON_CHANGES_MAX + 1, 200,	     252,  300, 512, 1ull << 20, 1ull << 32,
		(1ull << 32) + 4,	 1ull << 60, ~0ull};
	uint64_t at;

	for (unsigned int i = 0; i < CAISSON_CHANGES_MAX; i++)
		put(i, CAISSON_CHANGE_SET, l1 + 11 * 8, 0);
	for (unsigned int i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		check(make(0, ends[i], &at) == EINVAL_ && at == 0);
		check(make(CAISSON_CHANGES_MAX, ends[i], &at) == EINVAL_ &&
		      at == CAISSON_CHANGES_MAX);
		check(make(ends[i], ends[i], &at) == EINVAL_ && at == ends[i]);
		check(make(ends[i], 4, &at) == EINVAL_ && at == ends[i]);
	}
	check(make(4, 3, &at) == EINVAL_ && at == 4);
}

/* Of 124 times 512 entries, no call does more than a few times 512. */
static void bounded(void)
{
	uint64_t at = 0, before;
	unsigned int calls = 0;

	for (unsigned int i = 0; i < CAISSON_CHANGES_MAX; i++)
		put(i, CAISSON_CHANGE_CLEAR, l1, 512);
	while (at < CAISSON_CHANGES_MAX) {
		before = at;
		check(make(at, CAISSON_CHANGES_MAX, &at) == 0);
		check(at > before && at - before <= 2);
		calls++;
	}
	check(calls >= CAISSON_CHANGES_MAX / 2);
	for (unsigned int i = 0; i < 512; i++)
		check(entry(l1, i) == 0);
}

/* Accessed and dirty bits are the CPU's: kept, or taken out, as is said. */
static void bits(void)
{
	volatile uint64_t *page = (volatile uint64_t *)AT;
	const uint64_t bits = CAISSON_PTE_A | CAISSON_PTE_D;

	check(set(l3, 0, l2 | P | W) == 0 && set(l2, 128, l1 | P | W) == 0);
	check(set(frame(FRAME_L4), 0, l3 | P | W) == 0);
	check(set(l1, 0, data | P | W | NX) == 0);
	*page = 1;
	check((entry(l1, 0) & bits) == bits);
	check(one(CAISSON_CHANGE_KEEP, l1, data | P | NX) == 0);
	check(entry(l1, 0) == (data | P | NX | bits));
	check(one(CAISSON_CHANGE_SET, l1, data | P | W | NX) == 0);
	check(entry(l1, 0) == (data | P | W | NX));
	*page = 1;
	check(one(CAISSON_CHANGE_REMOVE, l1, W | CAISSON_PTE_D) == 0);
	check(entry(l1, 0) == (data | P | NX | CAISSON_PTE_A));
	/* And the CPU has forgotten what it knew. */
	check(one(CAISSON_CHANGE_CLEAR, l1, 2) == 0);
}

static void touch(void)
{
	*(volatile uint64_t *)AT = 0;
}

/* A table is freed with all that is in it; what it pointed to is free to be freed. */
static void freed_whole(void)
{
	uint64_t at;

	check(fault_of(touch) == 14);
	for (unsigned int i = 0; i < 512; i++)
		check(set(l1, i, (data + i * PAGE) | P | W | NX) == 0);
	check(one(CAISSON_CHANGE_FREE, l1, 0) == EBUSY_);
	check(one(CAISSON_CHANGE_FREE, l2, 0) == EBUSY_);
	check(set(l3, 0, 0) == 0);
	/* The upper one first: then nothing points to the lower. */
	put(0, CAISSON_CHANGE_FREE, l2, 0);
	put(1, CAISSON_CHANGE_FREE, l1, 0);
	check(make(0, 1, &at) == 0);
	check(make(1, 2, &at) == 0);
	check(fault_of(touch) == 14);
	/* Made anew, another way round, and linked, in one call: they are empty. */
	put(0, CAISSON_CHANGE_NEW, l1, 2);
	put(1, CAISSON_CHANGE_NEW, l2, 1);
	put(2, CAISSON_CHANGE_SET, l1 + 128 * 8, l2 | P | W);
	put(3, CAISSON_CHANGE_SET, l3, l1 | P | W);
	check(make(0, 4, &at) == 0 && at == 4);
	for (unsigned int i = 0; i < 512; i++)
		check(entry(l2, i) == 0 && (i == 128 || entry(l1, i) == 0));
	check(fault_of(touch) == 14);
	check(set(l2, 0, data | P | W | NX) == 0);
	touch();
}

void main(void)
{
	l1 = table(1);
	l2 = table(2);
	l3 = table(3);
	data = boot.blocks[1];
	in_order();
	bad_ones();
	beyond();
	bounded();
	bits();
	freed_whole();
}
