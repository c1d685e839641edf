// SPDX-License-Identifier: Apache-2.0
/*
 * model SEED STEPS: the page-table rules (kmod/rules.c) against a model of their own text.
 *
 * A driver makes random operations, good and bad ones, on a small machine: two TABLE blocks, a few
 * DATA blocks, windows, three vCPUs.  The model keeps what was accepted, in plain arrays, and says
 * of each operation whether it must be accepted, from the text in kmod/uapi/caisson.h; it shares no
 * code with the rules.  And the CPUs of the machine are there: a page walker that reads the tables
 * as a CPU does, knows nothing of levels or classes, and keeps what it has found in
 * paging-structure caches until its vCPU next enters the guest.  Whatever it reaches must be
 * allowed: invariants 1 and 2; the tables it starts from are the monitor's: invariant 3.
 *
 * Ends with a sentence and status 1 at the first difference.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kmod/rules.h"
#include "kmod/uapi/caisson.h"

#define ARRAY(a) (sizeof(a) / sizeof((a)[0]))
#define BLOCK (2ull << 20)
#define VCPUS 3
/* Of an address, those that the cache of an L1TF CPU compares; memory is in the lower half. */
#define CACHE_BITS 44
#define SLOT_VALUE 0x5107510750750063ull

/* --- The machine ------------------------------------------------------------------------------ */

static const __u64 data_blocks[] = {0x100, 0x101, 0x103, 0x200};
static const __u64 table_blocks[] = {0x102, 0x150};
/* What a device has; those that are lent, and when, is the driver's to choose. */
static const struct window {
	__u64 start, end, cache;
} lendable[] = {{0x300 * BLOCK + 0x3000, 0x300 * BLOCK + 0x7000, CAISSON_PTE_PCD},
		{0x310 * BLOCK, 0x310 * BLOCK + 0x1000, CAISSON_PTE_PCD | CAISSON_PTE_PWT},
		{0x310 * BLOCK + 0x1000, 0x313 * BLOCK, CAISSON_PTE_PCD},
		{(1ull << 51) - BLOCK, 1ull << 51, CAISSON_PTE_PCD}};
/* Neighbours, the host's, another sandbox's, the vCPUs' own roots. */
static const __u64 foreign[] = {0,
				0x0ff * BLOCK,
				0x104 * BLOCK,
				0x201 * BLOCK,
				0x1ff * BLOCK + 0x1ff000,
				0x400 * BLOCK,
				0x300 * BLOCK,
				0x300 * BLOCK + 0x7000,
				1ull << 51};

/* The frames that the driver plays with, and the entries in each. */
static const unsigned int played[] = {0, 1, 2, 3, 4, 5, 6, 510, 511, 512, 513, 1023};
static const unsigned int indices[] = {0, 1, 255, 256, 508, 511};

#define FRAMES ARRAY(played)
#define INDICES ARRAY(indices)

static __u64 memory[ARRAY(table_blocks)][512][512];
static __u64 roots[VCPUS][1024]; /* with five levels, a table for each half */
static struct caisson_tables tables;

static __u64 address_of(unsigned int f)
{
	return table_blocks[played[f] / 512] * BLOCK + played[f] % 512 * 4096;
}

static __u64 *entries_of(unsigned int f)
{
	return memory[played[f] / 512][played[f] % 512];
}

/* --- What is known of it ---------------------------------------------------------------------- */

static struct {
	unsigned int level;
	__u64 value[INDICES];
	__u64 dropped; /* step at which it lost its last reference */
} model[FRAMES];

static struct window windows[CAISSON_WINDOWS_MAX];
static unsigned int windows_n;
static int model_root[VCPUS]; /* frame, or -1 */
static __u64 entered[VCPUS];  /* step; 0: not in the guest */

static bool has_l1tf, has_five_levels; /* the machine; every other seed */

static __u64 seed, step, state, accepted, stales;

static __u64 random_next(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static __u64 below(__u64 n)
{
	return random_next() % n;
}

__attribute__((format(printf, 1, 2))) static _Noreturn void wrong(const char *format, ...)
{
	va_list args;

	printf("seed %llu, step %llu: ", seed, step);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	exit(1);
}

/* --- The text of the rules -------------------------------------------------------------------- */

enum owner { NOBODY, DATA, TABLE, WINDOW };

static enum owner owner_of(__u64 address, __u64 *ret_cache)
{
	*ret_cache = 0;
	for (unsigned int i = 0; i < ARRAY(data_blocks); i++)
		if (address / BLOCK == data_blocks[i])
			return DATA;
	for (unsigned int i = 0; i < ARRAY(table_blocks); i++)
		if (address / BLOCK == table_blocks[i])
			return TABLE;
	for (unsigned int i = 0; i < windows_n; i++)
		if (address >= windows[i].start && address < windows[i].end) {
			*ret_cache = windows[i].cache;
			return WINDOW;
		}
	return NOBODY;
}

static bool bit(__u64 value, unsigned int n)
{
	return value >> n & 1;
}

static bool points(unsigned int level, __u64 value)
{
	return bit(value, 0) && level > 1 && !(level == 2 && bit(value, 7));
}

static int frame_at(__u64 address)
{
	for (unsigned int f = 0; f < FRAMES; f++)
		if (address_of(f) == address)
			return (int)f;
	return -1;
}

static bool may_map(__u64 address, __u64 value, unsigned int level)
{
	const __u64 pat = level == 1 ? bit(value, 7) : 0;
	const __u64 has = (value & 0x18) | pat << 7;
	__u64 cache;

	switch (owner_of(address, &cache)) {
	case DATA:
		return has == 0;
	case TABLE:
		return has == 0 && !bit(value, 1) && !bit(value, 2) && bit(value, 63);
	case WINDOW:
		return level == 1 && has == cache && bit(value, 63);
	default:
		return false;
	}
}

/* Of an entry that is not present. */
static bool is_far(__u64 value)
{
	for (unsigned int n = CACHE_BITS - 1; has_l1tf && n < 52; n++)
		if (!bit(value, n))
			return false;
	return true;
}

static bool may_set(unsigned int level, unsigned int index, __u64 value)
{
	const __u64 address = value & 0xffffffffff000;

	if (level == 4 && index == 508)
		return false;
	if (!bit(value, 0))
		return value == 0 || (bit(value, 51) && is_far(value));
	if (bit(value, 8) || value >> 59 & 15)
		return false;
	if (points(level, value)) {
		int child = frame_at(address);

		return child >= 0 && model[child].level + 1 == level && model[child].level &&
		       !bit(value, 3) && !bit(value, 4) && !bit(value, 7) &&
		       !(level == 4 && index > 255 && bit(value, 2));
	}
	if (level == 2 && address % BLOCK)
		return false;
	return may_map(address, value, level);
}

static unsigned int references(unsigned int f)
{
	unsigned int n = 0;

	for (unsigned int g = 0; g < FRAMES; g++)
		for (unsigned int i = 0; i < INDICES; i++)
			n += model[g].level && points(model[g].level, model[g].value[i]) &&
			     (model[g].value[i] & 0xffffffffff000) == address_of(f);
	for (unsigned int v = 0; v < VCPUS; v++)
		n += model_root[v] == (int)f;
	return n;
}

/* --- The CPUs --------------------------------------------------------------------------------- */

#define CACHE 16

/* "For addresses that start like this, go on at this table": as a CPU keeps it. */
struct cached {
	unsigned int level; /* of the table; 0: none */
	__u64 prefix;	    /* address >> (12 + 9 * level) */
	__u64 table;
	bool write, user;
};

static struct cached cached[VCPUS][CACHE];

static __u64 *table_at(__u64 address)
{
	for (unsigned int i = 0; i < ARRAY(table_blocks); i++)
		if (address / BLOCK == table_blocks[i])
			return memory[i][address / 4096 % 512];
	wrong("a CPU goes on at %#llx, which is no page table", address);
}

static void reached(__u64 address, __u64 leaf, unsigned int level, bool write, bool user)
{
	const __u64 size = level == 2 ? BLOCK : 4096;
	const __u64 at = (leaf & 0xffffffffff000) & ~(size - 1);
	__u64 cache;
	enum owner owner = owner_of(at, &cache);

	if (owner == NOBODY || level > 2 || (level == 2 && owner == WINDOW))
		wrong("a CPU reaches %#llx by %#llx", at, leaf);
	if (owner == TABLE && (write || user || !bit(leaf, 63)))
		wrong("a CPU reaches the page table %#llx by %#llx", at, leaf);
	if (owner == WINDOW && !bit(leaf, 63))
		wrong("a CPU executes in the window %#llx", at);
	if (level == 1 && (leaf & 0x98) != cache)
		wrong("a CPU reaches %#llx with the wrong cache mode", at);
	if (bit(leaf, 8))
		wrong("a translation of %#llx is global", address);
	if (user && bit(address, 47))
		wrong("ring 3 reaches %#llx", address);
}

/* An entry that is not present: a CPU may read its cache at its address for a moment. */
static void guessed_at(__u64 entry)
{
	const __u64 address = entry & 0xffffffffff000;

	if (!entry)
		return;
	if (!bit(address, 51))
		wrong("a CPU guesses at %#llx", address);
	if (has_l1tf && !bit(address, CACHE_BITS - 1))
		wrong("a CPU guesses at what its cache has for %#llx", address);
}

/* Entry `index` of the table of level 4 that the CPU of `v` comes to. */
static __u64 *root_entry(unsigned int v, unsigned int index)
{
	return &roots[v][index + (index >= 256 && has_five_levels ? 512 : 0)];
}

/* A walk, as the CPU of `v` may make it at any time while in the guest. */
static void walk(unsigned int v, __u64 address)
{
	struct cached *from = &cached[v][below(CACHE)];
	unsigned int level = 4;
	__u64 *table = NULL;
	bool write = true, user = true;

	if (from->level && from->prefix == address >> (12 + 9 * from->level)) {
		level = from->level;
		table = table_at(from->table);
		write = from->write;
		user = from->user;
	}
	for (; level > 0; level--) {
		const unsigned int index = address >> (12 + 9 * (level - 1)) & 511;
		__u64 *entry = table ? &table[index] : root_entry(v, index);

		if (!table && index == 508)
			return;
		if (!bit(*entry, 0)) {
			guessed_at(*entry);
			return;
		}
		*entry |= CAISSON_PTE_A;
		write &= bit(*entry, 1);
		user &= bit(*entry, 2);
		if (level == 1 || (level < 4 && bit(*entry, 7))) {
			if (write && below(2))
				*entry |= CAISSON_PTE_D;
			reached(address, *entry, level, write, user);
			return;
		}
		cached[v][below(CACHE)] = (struct cached){.level = level - 1,
							  .prefix = address >>
								    (12 + 9 * (level - 1)),
							  .table = *entry & 0xffffffffff000,
							  .write = write,
							  .user = user};
		table = table_at(*entry & 0xffffffffff000);
	}
}

static __u64 random_address(void)
{
	__u64 address = 0;

	for (unsigned int i = 0; i < 4; i++)
		address = address << 9 | indices[below(INDICES)];
	return address << 12;
}

static void run_cpus(void)
{
	for (unsigned int v = 0; v < VCPUS; v++) {
		if (entered[v])
			for (unsigned int i = 0; i < 4; i++)
				walk(v, random_address());
		else if (below(8) == 0) {
			caisson_root_enter(&tables, v);
			memset(cached[v], 0, sizeof(cached[v]));
			entered[v] = step + 1; /* after what this step changed */
		}
		if (entered[v] && below(128) == 0) {
			caisson_root_leave(&tables, v);
			entered[v] = 0;
		}
	}
}

/* --- Operations ------------------------------------------------------------------------------- */

static __u64 random_flags(void)
{
	return (random_next() & (CAISSON_PTE_W | CAISSON_PTE_U | CAISSON_PTE_A | CAISSON_PTE_D |
				 CAISSON_PTE_NX | 7ull << 9 | 127ull << 52)) |
	       CAISSON_PTE_P;
}

static __u64 random_value(void)
{
	const struct window *window = windows_n && below(8) ? &windows[below(windows_n)]
							    : &lendable[below(ARRAY(lendable))];
	__u64 data = data_blocks[below(ARRAY(data_blocks))] * BLOCK;

	switch (below(12)) {
	case 0:
	case 1:
	case 2:
	case 3:
		return address_of((unsigned int)below(FRAMES)) | random_flags();
	case 4:
		return (data + below(512) * 4096) | random_flags();
	case 5:
		return data | random_flags() | CAISSON_PTE_PS;
	case 6:
		return ((address_of((unsigned int)below(FRAMES)) | random_flags()) &
			~(CAISSON_PTE_W | CAISSON_PTE_U)) |
		       CAISSON_PTE_NX;
	case 7:
		return ((table_blocks[below(ARRAY(table_blocks))] * BLOCK | random_flags()) &
			~(below(8) ? CAISSON_PTE_W | CAISSON_PTE_U : 0)) |
		       CAISSON_PTE_NX | CAISSON_PTE_PS;
	case 8:
		return (window->start + below((window->end - window->start) / 4096) * 4096) |
		       random_flags() | CAISSON_PTE_NX | window->cache;
	case 9:
		return foreign[below(ARRAY(foreign))] | random_flags() |
		       (below(2) ? CAISSON_PTE_PS : 0) | (below(2) ? CAISSON_PTE_NX : 0);
	case 10:
		return (random_next() & ~1ull) | (below(2) ? CAISSON_PTE_FAR : 0) |
		       (below(2) ? 0x1ffull << (CACHE_BITS - 1) : 0);
	default:
		return 0;
	}
}

static void same(const char *what, __u64 at, __u64 value, int error, bool wanted)
{
	if ((error == 0) != wanted)
		wrong("%s %#llx, %#llx: %s, and must be %s", what, at, value,
		      error ? strerror(-error) : "accepted", wanted ? "accepted" : "refused");
	accepted += wanted;
}

/* Mostly of a frame we play with. */
static __u64 random_table(int *ret_frame)
{
	__u64 at = address_of((unsigned int)(*ret_frame = (int)below(FRAMES)));

	if (below(16))
		return at;
	*ret_frame = -1;
	switch (below(3)) {
	case 0:
		return at + 1 + below(4095);
	case 1:
		return data_blocks[below(ARRAY(data_blocks))] * BLOCK;
	default:
		return foreign[below(ARRAY(foreign))];
	}
}

static bool may_new(int f, __u64 level)
{
	return f >= 0 && level >= 1 && level <= 4 && model[f].level == 0;
}

static bool is_stale(int f)
{
	bool stale = false;

	for (unsigned int v = 0; v < VCPUS; v++)
		stale |= entered[v] && model[f].dropped >= entered[v];
	return stale;
}

static void note_new(int f, __u64 level)
{
	model[f].level = (unsigned int)level;
	memset(model[f].value, 0, sizeof(model[f].value));
}

static void table_new(__u64 at, int f, __u64 level)
{
	bool wanted = may_new(f, level);
	bool stale = wanted && is_stale(f);
	int error;

	error = caisson_table_new(&tables, at, level);
	if (wanted && stale != (error == -EAGAIN))
		wrong("new %#llx: %s, and a CPU %s know it from before", at,
		      error ? strerror(-error) : "accepted", stale ? "may" : "cannot");
	if (wanted && stale) {
		stales++;
		return;
	}
	same("new", at, level, error, wanted);
	if (wanted)
		note_new(f, level);
}

static void do_new(void)
{
	int f;
	__u64 at = random_table(&f);

	table_new(at, f, below(16) ? 1 + below(4) : below(2) ? 0 : 5);
}

static void note_drop(__u64 old, unsigned int level)
{
	int child = points(level, old) ? frame_at(old & 0xffffffffff000) : -1;

	if (child >= 0 && references((unsigned int)child) == 0)
		model[child].dropped = step;
}

static bool may_free(int f)
{
	return f >= 0 && model[f].level && references((unsigned int)f) == 0;
}

static void note_free(int f)
{
	const unsigned int level = model[f].level;

	model[f].level = 0;
	for (unsigned int i = 0; i < INDICES; i++)
		note_drop(model[f].value[i], level);
}

static void table_free(__u64 at, int f)
{
	bool wanted = may_free(f);

	same("free", at, 0, caisson_table_free(&tables, at), wanted);
	if (wanted)
		note_free(f);
}

static void do_free(void)
{
	int f;
	__u64 at = random_table(&f);

	table_free(at, f);
}

static void note_set(int f, unsigned int i, __u64 value)
{
	const __u64 was = model[f].value[i];

	model[f].value[i] = value;
	note_drop(was, model[f].level);
}

/* Entry `i` of `indices`, of frame `f`; or of none of ours at all, if `f` is negative. */
static void entry_set(__u64 at, int f, unsigned int i, __u64 value)
{
	bool wanted = f >= 0 && model[f].level && may_set(model[f].level, indices[i], value);
	__u64 old = ~0ull, was;

	same("set", at, value, caisson_entry_set(&tables, at, value, &old), wanted);
	if (!wanted)
		return;
	was = model[f].value[i];
	if ((old ^ was) & ~(CAISSON_PTE_A | CAISSON_PTE_D))
		wrong("set %#llx: the old value is %#llx and not %#llx", at, old, was);
	note_set(f, i, value);
}

static void do_set(void)
{
	const unsigned int i = (unsigned int)below(INDICES);
	__u64 value = random_value();
	const struct caisson_block *block;
	int f;
	__u64 at = random_table(&f) + indices[i] * 8;

	if (below(8) == 0)
		value ^= 1ull << below(64);
	if (below(64) == 0) {
		at += 1 + below(7);
		f = -1;
	}
	block = caisson_block_find(&tables, at);
	/* Between the entries that we follow. */
	if (f < 0 && (at & 7) == 0 && block && block->frames)
		return;
	entry_set(at, f, i, value);
}

/* Takes a table out of use, and makes it another: what a guest does when it frees memory in a
 * hurry. */
static void do_recycle(void)
{
	const unsigned int f = (unsigned int)below(FRAMES);

	if (!model[f].level)
		return;
	for (unsigned int g = 0; g < FRAMES; g++)
		for (unsigned int i = 0; i < INDICES; i++)
			if (model[g].level && points(model[g].level, model[g].value[i]) &&
			    (model[g].value[i] & 0xffffffffff000) == address_of(f))
				entry_set(address_of(g) + indices[i] * 8, (int)g, i, 0);
	for (unsigned int i = 0; i < INDICES; i++)
		if ((indices[i] != 508 || model[f].level != 4) && below(2))
			entry_set(address_of(f) + indices[i] * 8, (int)f, i, 0);
	table_free(address_of(f), (int)f);
	table_new(address_of(f), (int)f, 1 + below(4));
}

/* --- Windows ---------------------------------------------------------------------------------- */

static bool overlap(const struct window *w, __u64 start, __u64 end)
{
	return w->start < end && start < w->end;
}

static bool may_lend(const struct window *w)
{
	if (w->start % 4096 || w->end % 4096 || w->start >= w->end || w->end > 1ull << 51 ||
	    (w->cache != CAISSON_PTE_PCD && w->cache != (CAISSON_PTE_PCD | CAISSON_PTE_PWT)) ||
	    windows_n == CAISSON_WINDOWS_MAX)
		return false;
	for (unsigned int i = 0; i < windows_n; i++)
		if (overlap(&windows[i], w->start, w->end))
			return false;
	for (unsigned int i = 0; i < ARRAY(data_blocks); i++)
		if (overlap(w, data_blocks[i] * BLOCK, (data_blocks[i] + 1) * BLOCK))
			return false;
	for (unsigned int i = 0; i < ARRAY(table_blocks); i++)
		if (overlap(w, table_blocks[i] * BLOCK, (table_blocks[i] + 1) * BLOCK))
			return false;
	return true;
}

static struct window random_window(void)
{
	struct window w = lendable[below(ARRAY(lendable))];
	const __u64 block = (below(2) ? data_blocks[below(ARRAY(data_blocks))]
				      : table_blocks[below(ARRAY(table_blocks))]) *
			    BLOCK;

	switch (below(9)) {
	case 0:
		w.start += below(8192);
		break;
	case 1:
		w.end += below(8192);
		break;
	case 2:
		w.cache = random_next() & (CAISSON_PTE_PCD | CAISSON_PTE_PWT | CAISSON_PTE_PAT);
		break;
	case 3:
		w.end = w.start - below(2) * 4096;
		break;
	case 4: /* ends in a block, or has one in it, or is in one */
		w.start = block - 0x2000 * below(2) + 0x1000 * below(512);
		w.end = block + 0x1000 * (1 + below(1024));
		break;
	case 5: /* one of many small ones, of which there is no end */
		w.start = (0x330 + below(8)) * BLOCK + below(64) * 0x1000;
		w.end = w.start + 0x1000;
		break;
	case 6: /* beyond all memory */
		w.start += 1ull << 51;
		w.end += 1ull << 51;
		break;
	default:
		break;
	}
	return w;
}

static void do_window(void)
{
	const struct window w = random_window();
	const bool wanted = may_lend(&w);

	same("window", w.start, w.end, caisson_window_add(&tables, w.start, w.end, w.cache),
	     wanted);
	if (!wanted)
		return;
	windows[windows_n++] = w;
	if (!caisson_window_overlaps(&tables, w.end - 1, w.end))
		wrong("nothing is known of the window at %#llx", w.start);
}

/* --- Changes in one call ---------------------------------------------------------------------- */

#define CHANGES 12
/* Of entries: more than the rules need for the worst list. */
#define WORK_MAX 1100

struct change {
	unsigned int what; /* CAISSON_CHANGE_*, or none */
	int f;		   /* frame, or -1 */
	unsigned int i;	   /* of `indices` */
	__u64 at, value;
};

static struct change random_change(void)
{
	struct change c = {.what = (unsigned int)below(below(32) ? 6 : 8),
			   .i = (unsigned int)below(INDICES)};
	const bool whole = c.what == CAISSON_CHANGE_NEW || c.what == CAISSON_CHANGE_FREE;
	const struct caisson_block *block;

	c.at = random_table(&c.f) & ~7ull;
	if (!whole)
		c.at += indices[c.i] * 8;
	block = caisson_block_find(&tables, c.at);
	/* What we do not follow: not a frame, and not between its entries. */
	if (c.f < 0 && block && block->frames && !(whole && c.at & 4095)) {
		c.f = 0;
		c.at = address_of(0) + (whole ? 0 : indices[c.i] * 8);
	}
	switch (c.what) {
	case CAISSON_CHANGE_REMOVE:
		c.value = random_next() & (CAISSON_PTE_W | CAISSON_PTE_A | CAISSON_PTE_D);
		if (below(8) == 0)
			c.value |= 1ull << below(64);
		break;
	case CAISSON_CHANGE_CLEAR:
		c.value = below(8) ? 1 + below(512 - indices[c.i]) : below(2) ? 0 : below(1024);
		break;
	case CAISSON_CHANGE_NEW:
		c.value = below(16) ? 1 + below(4) : below(2) ? 0 : 5;
		break;
	default:
		c.value = random_value();
	}
	return c;
}

/* What the rules' text says of it, when those before have been made; 0, or an error of any sort but
 * EAGAIN. */
static int expected(const struct change *c)
{
	const unsigned int level = c->f < 0 ? 0 : model[c->f].level;
	bool good = false;

	switch (c->what) {
	case CAISSON_CHANGE_SET:
		good = level && may_set(level, indices[c->i], c->value);
		break;
	case CAISSON_CHANGE_KEEP:
		good = level == 1 && may_set(level, indices[c->i], c->value);
		break;
	case CAISSON_CHANGE_REMOVE:
		good = (level == 1 || level == 2) && (c->value & ~0x62ull) == 0;
		break;
	case CAISSON_CHANGE_CLEAR:
		good = level == 1 && c->value >= 1 && indices[c->i] + c->value <= 512;
		break;
	case CAISSON_CHANGE_NEW:
		good = may_new(c->f, c->value);
		if (good && is_stale(c->f))
			return -EAGAIN;
		break;
	case CAISSON_CHANGE_FREE:
		good = may_free(c->f);
		break;
	default:
		break;
	}
	return good ? 0 : -EINVAL;
}

/* How long it took, in entries, at least. */
static __u64 made(const struct change *c)
{
	__u64 work = 1;

	accepted++;
	switch (c->what) {
	case CAISSON_CHANGE_REMOVE:
		model[c->f].value[c->i] &= ~c->value;
		return 1;
	case CAISSON_CHANGE_CLEAR:
		for (unsigned int i = 0; i < INDICES; i++)
			if (indices[i] - indices[c->i] < c->value)
				note_set(c->f, i, 0);
		return c->value;
	case CAISSON_CHANGE_NEW:
		note_new(c->f, c->value);
		return 32;
	case CAISSON_CHANGE_FREE:
		for (unsigned int i = 0; i < INDICES; i++)
			if (model[c->f].level > 1 && bit(model[c->f].value[i], 0))
				work = 512;
		note_free(c->f);
		return work;
	default:
		note_set(c->f, c->i, c->value);
		return 1;
	}
}

/* Accessed and dirty bits of an entry that was `before`, after a list of this one change. */
static void check_accessed(const struct change *c, __u64 before)
{
	const __u64 bits = CAISSON_PTE_A | CAISSON_PTE_D,
		    now = entries_of((unsigned int)c->f)[indices[c->i]];

	if (c->what == CAISSON_CHANGE_KEEP && before & now & CAISSON_PTE_P && before & bits & ~now)
		wrong("%#llx was %#llx and is %#llx: bits are lost", c->at, before, now);
	if (c->what == CAISSON_CHANGE_REMOVE && now != (before & ~c->value))
		wrong("%#llx was %#llx and is %#llx: not as it should", c->at, before, now);
}

static void do_changes(void)
{
	const __u32 n = (__u32)below(CHANGES + 1), begin = (__u32)below(n + 1);
	struct caisson_change list[CHANGES];
	struct change c[CHANGES];
	const bool heavy = below(16) == 0;
	__u32 at = begin;
	__u64 before = 0, work = 0;
	int error, wanted = 0;

	for (__u32 i = 0; i < n; i++) {
		c[i] = random_change();
		if (heavy) {
			c[i].what = CAISSON_CHANGE_CLEAR;
			c[i].f = (int)below(2);
			c[i].i = 0;
			c[i].at = address_of((unsigned int)c[i].f);
			c[i].value = 512;
		}
		list[i] = (struct caisson_change){.address = c[i].at | c[i].what,
						  .value = c[i].value};
	}
	if (n - begin == 1 && c[begin].f >= 0)
		before = entries_of((unsigned int)c[begin].f)[indices[c[begin].i]];
	error = caisson_changes_make(&tables, list, &at, n);
	if (at > n || at < begin || (at == begin && begin < n && !error))
		wrong("of the changes %u to %u, it came to %u", begin, n, at);
	for (__u32 i = begin; i < n; i++) {
		wanted = expected(&c[i]);
		if (i == at)
			break;
		if (wanted)
			wrong("change %u of %u: %#llx, %#llx is made, and must be refused", i, n,
			      list[i].address, list[i].value);
		work += made(&c[i]);
		wanted = 0;
	}
	if (work > WORK_MAX)
		wrong("%llu entries in one call", work);
	/* It ends before its end because of an error, or of the work. */
	if (at < n && !error && work < 500)
		wrong("change %u of %u is not made, and nothing is wrong", at, n);
	if (at < n && error && (!wanted || (error == -EAGAIN) != (wanted == -EAGAIN)))
		wrong("change %u of %u: %#llx, %#llx: %s", at, n, list[at].address, list[at].value,
		      strerror(-error));
	stales += error == -EAGAIN;
	if (n - begin == 1 && at == n && c[begin].f >= 0)
		check_accessed(&c[begin], before);
}

static void do_root(void)
{
	const unsigned int v = (unsigned int)below(VCPUS);
	int f, before = model_root[v];
	__u64 at = random_table(&f);
	bool wanted = f >= 0 && model[f].level == 4;

	/* A vCPU changes its root outside of the guest. */
	if (entered[v])
		return;
	if (below(4) == 0)
		at = 0;
	if (at == 0) {
		f = -1;
		wanted = true;
	}
	same("root", at, v, caisson_root_set(&tables, v, at), wanted);
	if (!wanted)
		return;
	model_root[v] = f;
	if (before >= 0 && references((unsigned int)before) == 0)
		model[before].dropped = step;
}

/* --- All that must be as the model has it ----------------------------------------------------- */

static void check_frame(unsigned int f)
{
	for (unsigned int i = 0; model[f].level && i < INDICES; i++)
		if ((entries_of(f)[indices[i]] ^ model[f].value[i]) &
		    ~(CAISSON_PTE_A | CAISSON_PTE_D))
			wrong("entry %u of %#llx is %#llx and not %#llx", indices[i], address_of(f),
			      entries_of(f)[indices[i]], model[f].value[i]);
}

static void check_root(unsigned int v)
{
	if (*root_entry(v, 508) != SLOT_VALUE)
		wrong("the monitor's slot of vCPU %u is %#llx", v, *root_entry(v, 508));
	for (unsigned int i = 0; i < INDICES; i++) {
		__u64 wanted = model_root[v] < 0 ? 0 : model[model_root[v]].value[i];

		if (indices[i] != 508 &&
		    (*root_entry(v, indices[i]) ^ wanted) & ~(CAISSON_PTE_A | CAISSON_PTE_D))
			wrong("entry %u of the root of vCPU %u is %#llx and not %#llx", indices[i],
			      v, *root_entry(v, indices[i]), wanted);
	}
}

static bool is_followed(unsigned int index)
{
	for (unsigned int i = 0; i < INDICES; i++)
		if (indices[i] == index)
			return true;
	return false;
}

/* What no operation was about is as it was. */
static void check_rest(void)
{
	for (unsigned int b = 0; b < ARRAY(table_blocks); b++)
		for (unsigned int f = 0; f < 512; f++)
			for (unsigned int i = 0; i < 512; i++) {
				__u64 at = table_blocks[b] * BLOCK + f * 4096;

				if (memory[b][f][i] && !(frame_at(at) >= 0 && is_followed(i)))
					wrong("entry %u of %#llx is %#llx", i, at, memory[b][f][i]);
			}
	for (unsigned int v = 0; v < VCPUS; v++)
		for (unsigned int i = 0; i < 1024; i++)
			if (roots[v][i] &&
			    !(is_followed(i % 512) && &roots[v][i] == root_entry(v, i % 512)))
				wrong("entry %u of the root of vCPU %u is %#llx", i, v,
				      roots[v][i]);
}

static void check_all(void)
{
	for (unsigned int f = 0; f < FRAMES; f++)
		check_frame(f);
	for (unsigned int v = 0; v < VCPUS; v++)
		check_root(v);
}

static void setup(void)
{
	static struct caisson_block blocks[ARRAY(data_blocks) + ARRAY(table_blocks)];
	static struct caisson_table_frame frames[ARRAY(table_blocks)][512];

	for (__u64 number = 0; number < 0x1000; number++) {
		for (unsigned int i = 0; i < ARRAY(data_blocks); i++)
			if (data_blocks[i] == number)
				blocks[tables.blocks_n++].number = number;
		for (unsigned int i = 0; i < ARRAY(table_blocks); i++)
			if (table_blocks[i] == number)
				blocks[tables.blocks_n++] =
					(struct caisson_block){.number = number,
							       .frames = frames[i],
							       .entries = memory[i][0]};
	}
	tables.blocks = blocks;
	tables.split = has_five_levels ? 512 : 0;
	tables.absent = has_l1tf ? 0x1ffull << (CACHE_BITS - 1) : 0;
	for (unsigned int v = 0; v < VCPUS; v++) {
		*root_entry(v, 508) = SLOT_VALUE;
		tables.roots[v].table = roots[v];
		model_root[v] = -1;
	}
}

int main(int argc, char **argv)
{
	__u64 steps, old;

	if (argc != 3) {
		fprintf(stderr, "usage: model SEED STEPS\n");
		return 2;
	}
	seed = strtoull(argv[1], NULL, 0);
	steps = strtoull(argv[2], NULL, 0);
	state = seed * 0x9e3779b97f4a7c15 + 1;
	has_l1tf = seed & 1;
	has_five_levels = seed & 2;
	setup();
	if (caisson_root_set(&tables, VCPUS, 0) != -EINVAL ||
	    caisson_root_set(&tables, ~0u, 0) != -EINVAL)
		wrong("a vCPU that is not there has a root");
	if (caisson_entry_set(&tables, ~7ull, 0, &old) != -ENOENT)
		wrong("an entry at the end of the world is set");
	for (step = 1; step <= steps; step++) {
		switch (below(16)) {
		case 0:
		case 1:
			do_new();
			break;
		case 2:
			do_free();
			break;
		case 3:
			do_root();
			break;
		case 4:
		case 5:
		case 6:
		case 7:
			do_changes();
			break;
		default:
			do_set();
		}
		if (below(64) == 0)
			do_recycle();
		if (below(256) == 0)
			do_window();
		check_all();
		run_cpus();
		if (step % 4096 == 0)
			check_rest();
	}
	printf("seed %llu: %llu operations, %llu accepted, %llu too early\n", seed, steps, accepted,
	       stales);
	return 0;
}
