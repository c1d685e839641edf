// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* The page-table rules; the story is in rules.h, the rules' text in uapi/caisson.h. */
#include "mutant.h"
#include "rules.h"
#include "uapi/caisson.h"

#ifdef __KERNEL__
#include <linux/errno.h>
#else
#include <errno.h>
#endif

#define LEAF_BITS                                                                                  \
	(CAISSON_PTE_P | CAISSON_PTE_W | CAISSON_PTE_U | CAISSON_PTE_A | CAISSON_PTE_D |           \
	 CAISSON_PTE_NX | CAISSON_PTE_ADDRESS | (7ull << 9) | (127ull << 52))

/* Where things are: in the host, where their pointers say; in the gate, at offsets from `t`. */
#ifdef CAISSON_GATE
#define PLACE(t, offset) ((void *)((__u64)(t) + (offset)))

static struct caisson_block *blocks_of(const struct caisson_tables *t)
{
	return PLACE(t, GATE_BLOCKS);
}

static struct caisson_table_frame *frames_of(const struct caisson_tables *t,
					     const struct caisson_block *block)
{
	return PLACE(t, GATE_FRAMES + (__u64)block->table * GATE_FRAMES_SIZE);
}

static __u64 *entries_of(const struct caisson_tables *t, const struct caisson_block *block)
{
	return PLACE(t, GATE_ENTRIES + ((__u64)block->table << CAISSON_BLOCK_SHIFT));
}

static __u64 *root_of(const struct caisson_tables *t, __u32 vcpu)
{
	return PLACE(t, GATE_ROOTS + (__u64)vcpu * GATE_ROOT_SIZE);
}
#else
static struct caisson_block *blocks_of(const struct caisson_tables *t)
{
	return t->blocks;
}

static struct caisson_table_frame *frames_of(const struct caisson_tables *t,
					     const struct caisson_block *block)
{
	(void)t;
	return block->frames;
}

static __u64 *entries_of(const struct caisson_tables *t, const struct caisson_block *block)
{
	(void)t;
	return block->entries;
}

static __u64 *root_of(const struct caisson_tables *t, __u32 vcpu)
{
	return t->roots[vcpu].table;
}
#endif

/*
 * Five levels: an address of a guest's has bits 63 to 47 alike, as with four.  So there are two
 * ways from the top, for the two halves, and each leads to a table in which the other half is
 * empty.
 */
static __u64 *root_half(const struct caisson_tables *t, __u32 vcpu, bool upper)
{
	return root_of(t, vcpu) + (upper && DUTY(52) ? t->split : 0);
}

static __u64 *root_entry(const struct caisson_tables *t, __u32 vcpu, __u32 index)
{
	return root_half(t, vcpu, index >= CAISSON_ENTRIES / 2) + index;
}

static __u64 clock_read(const struct caisson_tables *t)
{
	return __atomic_load_n(&t->clock, __ATOMIC_SEQ_CST);
}

static __u64 clock_tick(struct caisson_tables *t)
{
	return __atomic_add_fetch(&t->clock, 1, __ATOMIC_SEQ_CST);
}

/* The first block from `number` on, by its index; blocks_n: none. */
static __u32 block_from(const struct caisson_tables *t, __u64 number)
{
	const struct caisson_block *blocks = blocks_of(t);
	__u32 low = 0, high = t->blocks_n;

	while (low < high) {
		__u32 middle = low + (high - low) / 2;

		if (blocks[middle].number < number)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct caisson_block *caisson_block_find(const struct caisson_tables *t, __u64 address)
{
	struct caisson_block *blocks = blocks_of(t);
	__u64 number = address >> CAISSON_BLOCK_SHIFT;
	__u32 i = block_from(t, number);

	if (i == t->blocks_n || blocks[i].number != number)
		return NULL;
	return &blocks[i];
}

static __u32 frame_index(__u64 address)
{
	return (address >> 12) & (CAISSON_BLOCK_FRAMES - 1);
}

static struct caisson_table_frame *frame_find(const struct caisson_tables *t, __u64 address,
					      __u64 **ret_entries)
{
	struct caisson_block *block = caisson_block_find(t, address);

	if (!block || !block->frames)
		return NULL;
	*ret_entries = entries_of(t, block) + (size_t)frame_index(address) * CAISSON_ENTRIES;
	return &frames_of(t, block)[frame_index(address)];
}

static void frame_unreferenced(struct caisson_tables *t, struct caisson_table_frame *frame)
{
	if (frame->parents == 0 && frame->roots == 0 && DUTY(1))
		frame->stamp = clock_tick(t);
}

/* Whether a vCPU that is in the guest may know a translation from before `stamp`. */
static bool known_in_guest(const struct caisson_tables *t, __u64 stamp)
{
	for (__u32 i = 0; i < CAISSON_VCPUS_MAX; i++) {
		__u64 entered = __atomic_load_n(&t->roots[i].entered, __ATOMIC_SEQ_CST);

		if (entered != 0 && entered <= stamp)
			return true;
	}
	return false;
}

int caisson_table_new(struct caisson_tables *t, __u64 address, __u64 level)
{
	struct caisson_table_frame *frame;
	__u64 *entries;

	if (!HOLDS(2, (address & 4095) == 0) || !HOLDS(3, level >= 1 && level <= 4))
		return -EINVAL;
	frame = frame_find(t, address, &entries);
	if (!frame)
		return -ENOENT;
	if (!HOLDS(4, frame->level == 0))
		return -EBUSY;
	if (!HOLDS(5, !known_in_guest(t, frame->stamp)))
		return -EAGAIN;
	/* Entries that are not present may be left in it. */
	for (__u32 i = 0; i < CAISSON_ENTRIES && DUTY(14); i++)
		entries[i] = 0;
	frame->level = (__u8)level;
	return 0;
}

/* The frame that an entry of `level` points to. */
static struct caisson_table_frame *child_find(const struct caisson_tables *t, __u32 level,
					      __u64 value)
{
	__u64 *entries;

	if (!(value & CAISSON_PTE_P) || level == 1 || (level == 2 && value & CAISSON_PTE_PS))
		return NULL;
	return frame_find(t, value & CAISSON_PTE_ADDRESS, &entries);
}

static void child_drop(struct caisson_tables *t, __u32 level, __u64 old)
{
	struct caisson_table_frame *child = child_find(t, level, old);

	if (!child)
		return;
	child->parents--;
	frame_unreferenced(t, child);
}

static void children_drop(struct caisson_tables *t, __u32 level, const __u64 *entries)
{
	for (__u32 i = 0; i < CAISSON_ENTRIES; i++)
		if (DUTY(10))
			child_drop(t, level, entries[i]);
}

int caisson_table_free(struct caisson_tables *t, __u64 address)
{
	struct caisson_table_frame *frame;
	__u64 *entries;

	if (!HOLDS(6, (address & 4095) == 0))
		return -EINVAL;
	frame = frame_find(t, address, &entries);
	if (!frame || !HOLDS(7, frame->level != 0))
		return -ENOENT;
	if (!HOLDS(8, frame->parents == 0) || !HOLDS(9, frame->roots == 0))
		return -EBUSY;
	/* Its entries stay until it is a table again: nobody comes by it, but who knows it from
	 * before, and whom TABLE_NEW waits for. */
	if (frame->level > 1 && frame->present)
		children_drop(t, frame->level, entries);
	frame->present = 0;
	frame->level = 0;
	return 0;
}

#ifndef CAISSON_GATE
bool caisson_window_overlaps(const struct caisson_tables *t, __u64 start, __u64 end)
{
	for (__u32 i = 0; i < t->windows_n; i++)
		if (start < t->windows[i].end && t->windows[i].start < end)
			return true;
	return false;
}

static bool block_overlaps(const struct caisson_tables *t, __u64 start, __u64 end)
{
	const __u32 i = block_from(t, start >> CAISSON_BLOCK_SHIFT);

	return i < t->blocks_n && blocks_of(t)[i].number <= (end - 1) >> CAISSON_BLOCK_SHIFT;
}

int caisson_window_add(struct caisson_tables *t, __u64 start, __u64 end, __u64 cache)
{
	if (!HOLDS(45, ((start | end) & 4095) == 0) || !HOLDS(46, start < end) ||
	    !HOLDS(47, end <= CAISSON_PTE_FAR) ||
	    !HOLDS(48, (cache & ~CAISSON_PTE_PWT) == CAISSON_PTE_PCD))
		return -EINVAL;
	if (!HOLDS(49, !block_overlaps(t, start, end)) ||
	    !HOLDS(50, !caisson_window_overlaps(t, start, end)))
		return -EEXIST;
	if (!HOLDS(51, t->windows_n < CAISSON_WINDOWS_MAX))
		return -E2BIG;
	t->windows[t->windows_n++] =
		(struct caisson_window){.start = start, .end = end, .cache = cache};
	return 0;
}
#endif

static const struct caisson_window *window_find(const struct caisson_tables *t, __u64 address)
{
	for (__u32 i = 0; i < t->windows_n; i++)
		if (address >= t->windows[i].start && address < t->windows[i].end)
			return &t->windows[i];
	return NULL;
}

static int check_window(const struct caisson_tables *t, __u64 value)
{
	const __u64 cache = CAISSON_PTE_PWT | CAISSON_PTE_PCD | CAISSON_PTE_PAT;
	const struct caisson_window *window = window_find(t, value & CAISSON_PTE_ADDRESS);

	if (!HOLDS(11, window))
		return -EPERM;
	if (!window)
		return 0;
	/* All other bits are allowed in a leaf, or have been refused already. */
	if (!HOLDS(12, (value & cache) == window->cache) || !HOLDS(13, value & CAISSON_PTE_NX))
		return -EPERM;
	return 0;
}

/* `level` 1 or 2; `value` without the size bit. */
static int check_leaf(const struct caisson_tables *t, __u32 level, __u64 value)
{
	__u64 address = value & CAISSON_PTE_ADDRESS;
	const struct caisson_block *block;

	if (level == 2 && !HOLDS(15, (address & ((1ull << CAISSON_BLOCK_SHIFT) - 1)) == 0))
		return -EINVAL;
	block = caisson_block_find(t, address);
	if (!block)
		return level == 1 ? check_window(t, value) : HOLDS(16, false) ? 0 : -EPERM;
	if (!HOLDS(17, (value & ~LEAF_BITS) == 0))
		return -EINVAL;
	if (!block->frames)
		return 0;
	if (!HOLDS(18, !(value & CAISSON_PTE_W)) || !HOLDS(19, !(value & CAISSON_PTE_U)) ||
	    !HOLDS(20, value & CAISSON_PTE_NX))
		return -EPERM;
	return 0;
}

static int check_pointer(const struct caisson_tables *t, __u32 level, __u32 index, __u64 value)
{
	struct caisson_table_frame *child;

	/* The size bit of levels 3 and 4 is among these. */
	if (!HOLDS(21, (value & ~LEAF_BITS) == 0))
		return -EINVAL;
	if (level == 4 && index >= CAISSON_ENTRIES / 2 && !HOLDS(22, !(value & CAISSON_PTE_U)))
		return -EPERM;
	child = child_find(t, level, value);
	if (!child)
		return HOLDS(37, false) ? 0 : -EPERM;
	if (!HOLDS(23, child->level == level - 1))
		return -EPERM;
	return 0;
}

/* Not present, but walked all the same: a processor may guess at what it points to. */
static int check_absent(const struct caisson_tables *t, __u64 value)
{
	if (value == 0)
		return 0;
	if (!HOLDS(25, value & CAISSON_PTE_FAR) || !HOLDS(38, (value & t->absent) == t->absent))
		return -EINVAL;
	return 0;
}

static int check_entry(const struct caisson_tables *t, __u32 level, __u32 index, __u64 value)
{
	if (level == 4 && !HOLDS(24, index != CAISSON_SLOT_INDEX))
		return -EPERM;
	if (!(value & CAISSON_PTE_P))
		return check_absent(t, value);
	if (!HOLDS(26, !(value & CAISSON_PTE_G)) || !HOLDS(27, !(value & CAISSON_PTE_KEY)))
		return -EINVAL;
	if (level == 1)
		return check_leaf(t, level, value);
	if (level == 2 && value & CAISSON_PTE_PS)
		return check_leaf(t, level, value & ~CAISSON_PTE_PS);
	return check_pointer(t, level, index, value);
}

/* A level-4 entry is also in the copies that vCPUs run on. */
static void copies_set(struct caisson_tables *t, __u64 table, __u32 index, __u64 value)
{
	for (__u32 i = 0; i < CAISSON_VCPUS_MAX; i++)
		if (t->roots[i].table && t->roots[i].source == table)
			__atomic_store_n(root_entry(t, i, index), value, __ATOMIC_SEQ_CST);
}

int caisson_entry_set(struct caisson_tables *t, __u64 address, __u64 value, __u64 *ret_old)
{
	struct caisson_table_frame *frame, *child;
	__u32 index = (address >> 3) & (CAISSON_ENTRIES - 1);
	__u64 *entries, old;
	__u32 level;
	int error;

	if (!HOLDS(28, (address & 7) == 0))
		return -EINVAL;
	frame = frame_find(t, address, &entries);
	if (!frame || !HOLDS(29, frame->level != 0))
		return -ENOENT;
	level = frame->level;
	error = check_entry(t, level, index, value);
	if (error)
		return error;

	child = child_find(t, level, value);
	if (child && DUTY(30))
		child->parents++;
	old = __atomic_exchange_n(&entries[index], value, __ATOMIC_SEQ_CST);
	if (level == 4 && frame->roots && DUTY(31))
		copies_set(t, address & ~4095ull, index, value);
	frame->present += !!(value & CAISSON_PTE_P);
	if (DUTY(32))
		frame->present -= !!(old & CAISSON_PTE_P);
	/* After the exchange: until then the CPU may have followed the old entry. */
	child_drop(t, level, old);
	t->removed += old & CAISSON_PTE_P && old != value;
	*ret_old = old;
	return 0;
}

/* The table of an entry that is to be of level `level` or below; NULL: see *ret_error. */
static struct caisson_table_frame *entry_find(const struct caisson_tables *t, __u64 address,
					      __u32 level, __u64 **ret_entry, int *ret_error)
{
	struct caisson_table_frame *frame = frame_find(t, address, ret_entry);

	*ret_error = -ENOENT;
	if (!frame || !HOLDS(39, frame->level != 0))
		return NULL;
	*ret_error = -EPERM;
	/* Levels above are in vCPUs' copies, too. */
	if (!HOLDS(40, frame->level <= level))
		return NULL;
	*ret_entry += (address >> 3) & (CAISSON_ENTRIES - 1);
	return frame;
}

/* Whatever the CPU sets between the two steps is in the entry afterwards, too. */
static int change_keep(struct caisson_tables *t, __u64 address, __u64 value)
{
	const __u64 kept = CAISSON_PTE_A | CAISSON_PTE_D;
	__u64 *entry, old;
	int error;

	if (!entry_find(t, address, 1, &entry, &error))
		return error;
	error = caisson_entry_set(t, address, value, &old);
	if (!error && old & value & CAISSON_PTE_P && old & kept & ~value && DUTY(41))
		__atomic_fetch_or(entry, old & kept, __ATOMIC_SEQ_CST);
	return error;
}

/* An entry that the rules allow is allowed without these, too; present or not. */
static int change_remove(struct caisson_tables *t, __u64 address, __u64 bits)
{
	__u64 *entry, old;
	int error;

	if (!HOLDS(42, !(bits & ~(CAISSON_PTE_W | CAISSON_PTE_A | CAISSON_PTE_D))))
		return -EINVAL;
	if (!entry_find(t, address, 2, &entry, &error))
		return error;
	old = __atomic_fetch_and(entry, ~bits, __ATOMIC_SEQ_CST);
	t->removed += old & CAISSON_PTE_P && old & bits;
	return 0;
}

static int change_clear(struct caisson_tables *t, __u64 address, __u64 n)
{
	struct caisson_table_frame *frame;
	__u64 *entry;
	int error;

	if (!HOLDS(43, n >= 1 && n <= CAISSON_ENTRIES - ((address >> 3) & (CAISSON_ENTRIES - 1))))
		return -EINVAL;
	frame = entry_find(t, address, 1, &entry, &error);
	if (!frame)
		return error;
	for (__u64 i = 0; i < n; i++) {
		__u64 old = __atomic_exchange_n(&entry[i], 0, __ATOMIC_SEQ_CST);

		frame->present -= !!(old & CAISSON_PTE_P);
		t->removed += !!(old & CAISSON_PTE_P);
	}
	return 0;
}

/* How long TABLE_FREE takes, in entries. */
static __u32 free_work(const struct caisson_tables *t, __u64 address)
{
	__u64 *entries;
	const struct caisson_table_frame *frame = frame_find(t, address, &entries);

	return frame && frame->level > 1 && frame->present ? CAISSON_ENTRIES : 0;
}

/* Adds to *work how long it was at it, in entries, at most 513. */
static int change_make(struct caisson_tables *t, __u64 address, __u64 value, __u32 *work)
{
	const __u64 at = address & ~7ull;
	__u64 old;

	*work += 1;
	switch (address & 7) {
	case CAISSON_CHANGE_SET:
		return caisson_entry_set(t, at, value, &old);
	case CAISSON_CHANGE_KEEP:
		return change_keep(t, at, value);
	case CAISSON_CHANGE_REMOVE:
		return change_remove(t, at, value);
	case CAISSON_CHANGE_CLEAR:
		*work += value <= CAISSON_ENTRIES ? (__u32)value : 0;
		return change_clear(t, at, value);
	case CAISSON_CHANGE_NEW:
		*work += CAISSON_ENTRIES / 16;
		return caisson_table_new(t, at, value);
	case CAISSON_CHANGE_FREE:
		*work += free_work(t, at);
		return caisson_table_free(t, at);
	default:
		return -EINVAL;
	}
}

int caisson_changes_make(struct caisson_tables *t, const volatile struct caisson_change *list,
			 __u32 *at, __u32 end)
{
	__u32 work = 0;
	int error;

	for (; *at < end && HOLDS(44, work < CAISSON_ENTRIES); ++*at) {
		/* Each read once. */
		error = change_make(t, list[*at].address, list[*at].value, &work);
		if (error)
			return error;
	}
	return 0;
}

/* At each change of address space: unrolled, and no string instruction, which is slow to begin. */
static void entries_copy(__u64 *to, const __u64 *from, __u32 begin, __u32 end)
{
#pragma GCC unroll 16
	for (__u32 i = begin; i < end; i++)
		to[i] = from[i];
}

static void root_drop(struct caisson_tables *t, struct caisson_root *root)
{
	struct caisson_table_frame *frame;
	__u64 *entries;

	if (!root->source)
		return;
	frame = frame_find(t, root->source, &entries);
	root->source = 0;
	if (!frame)
		return;
	frame->roots--;
	frame_unreferenced(t, frame);
}

int caisson_root_set(struct caisson_tables *t, __u32 vcpu, __u64 address)
{
	struct caisson_root *root;
	struct caisson_table_frame *frame;
	__u64 *entries, *upper;

	if (vcpu >= CAISSON_VCPUS_MAX || !t->roots[vcpu].table)
		return -EINVAL;
	root = &t->roots[vcpu];
	if (address == 0) {
		for (__u32 i = 0; i < CAISSON_ENTRIES; i++)
			if (i != CAISSON_SLOT_INDEX)
				*root_entry(t, vcpu, i) = 0;
		root_drop(t, root);
		return 0;
	}
	if (!HOLDS(33, (address & 4095) == 0))
		return -EINVAL;
	frame = frame_find(t, address, &entries);
	if (!frame || !HOLDS(34, frame->level == 4))
		return -EPERM;
	if (DUTY(35))
		frame->roots++;
	entries_copy(root_half(t, vcpu, false), entries, 0, CAISSON_ENTRIES / 2);
	upper = root_half(t, vcpu, true);
	entries_copy(upper, entries, CAISSON_ENTRIES / 2, CAISSON_SLOT_INDEX);
	if (!DUTY(36))
		upper[CAISSON_SLOT_INDEX] = entries[CAISSON_SLOT_INDEX];
	entries_copy(upper, entries, CAISSON_SLOT_INDEX + 1, CAISSON_ENTRIES);
	root_drop(t, root);
	root->source = address;
	return 0;
}

void caisson_root_enter(struct caisson_tables *t, __u32 vcpu)
{
	/* A full barrier: whoever frees a frame sees us in the guest, or we see the entry gone. */
	__atomic_exchange_n(&t->roots[vcpu].entered, clock_read(t) + 1, __ATOMIC_SEQ_CST);
}

void caisson_root_leave(struct caisson_tables *t, __u32 vcpu)
{
	__atomic_store_n(&t->roots[vcpu].entered, 0, __ATOMIC_SEQ_CST);
}
