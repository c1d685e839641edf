/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The page-table rules (uapi/caisson.h): who may map what.  Pure C, for the module and for user
 * space, where tests/kmod drives it.
 *
 * Addresses and values come from the guest: nothing about them is believed.  The caller serialises
 * all calls on one struct caisson_tables but root_enter() and root_leave().  Nothing here sleeps;
 * no loop is longer than 512 rounds, or the number of vCPUs; caisson_changes_make() goes on for
 * less than 1,100 in all.
 *
 * What keeps a stale translation from hurting: a frame that lost its last reference carries the
 * time of that (`stamp`, in `clock`), and becomes a table again only when no vCPU is in the guest
 * that entered it before then.  Entering forgets all translations (see caisson_root_enter()).  A
 * leaf needs no such care, since blocks keep their class and their owner for as long as a vCPU
 * exists.
 */
#ifndef CAISSON_RULES_H
#define CAISSON_RULES_H

#ifdef __KERNEL__
#include <linux/types.h>
#else
#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
#endif

#define CAISSON_BLOCK_SHIFT 21
#define CAISSON_BLOCK_FRAMES 512
#define CAISSON_ENTRIES 512
#define CAISSON_VCPUS_MAX 64
#define CAISSON_WINDOWS_MAX 16

#define CAISSON_PTE_P (1ull << 0)
#define CAISSON_PTE_W (1ull << 1)
#define CAISSON_PTE_U (1ull << 2)
#define CAISSON_PTE_PWT (1ull << 3)
#define CAISSON_PTE_PCD (1ull << 4)
#define CAISSON_PTE_A (1ull << 5)
#define CAISSON_PTE_D (1ull << 6)
#define CAISSON_PTE_PS (1ull << 7)  /* level 2 and 3 */
#define CAISSON_PTE_PAT (1ull << 7) /* level 1 */
#define CAISSON_PTE_G (1ull << 8)
#define CAISSON_PTE_PAT_LARGE (1ull << 12)
#define CAISSON_PTE_FAR (1ull << 51)
#define CAISSON_PTE_KEY (15ull << 59)
#define CAISSON_PTE_NX (1ull << 63)
#define CAISSON_PTE_ADDRESS 0x000ffffffffff000ull

/* 4 KiB of a TABLE block. */
struct caisson_table_frame {
	__u8 level;    /* 0: free */
	__u8 roots;    /* vCPUs that run on it; level 4 */
	__u16 present; /* entries */
	__u32 parents; /* entries that point to it */
	__u64 stamp;   /* when it lost its last reference; 0: never had one */
};

struct caisson_block {
	__u64 number; /* physical address >> CAISSON_BLOCK_SHIFT */
	/* TABLE blocks; NULL for DATA. */
	struct caisson_table_frame *frames; /* CAISSON_BLOCK_FRAMES */
	__u64 *entries;			    /* the block itself, as we reach it */
	__u32 table;			    /* how many TABLE blocks were added before */
};

struct caisson_window {
	__u64 start, end; /* physical, aligned to pages */
	__u64 cache;	  /* CAISSON_PTE_PWT, _PCD, _PAT: what each leaf must have */
};

/* Of a vCPU: the table of level 4 that its CPU walks, a copy of the guest's. */
struct caisson_root {
	__u64 *table;  /* NULL: there is no such vCPU; its upper half is `split` entries further on
			*/
	__u64 source;  /* physical address of the guest's level-4 table; 0: none */
	__u64 entered; /* `clock` + 1 when it entered the guest; 0: it is not in the guest */
};

struct caisson_change; /* uapi/caisson.h */

struct caisson_tables {
	struct caisson_block *blocks; /* sorted by number */
	__u32 blocks_n;
	__u32 windows_n;
	struct caisson_window windows[CAISSON_WINDOWS_MAX];
	struct caisson_root roots[CAISSON_VCPUS_MAX];
	__u64 clock;
	__u64 removed; /* present entries that were changed or taken out, since ever */
	__u32 lock;    /* the caller's: 0, or who has it */
	__u32 moved;   /* what is mapped for the pks gate (gate.h) is not all that there is */
	__u64 absent;  /* address bits that an entry has which is not present, and not 0 */
	__u64 split;   /* 0; where CPUs walk five levels, CAISSON_ENTRIES: each half has a table of
			  its own */
};

/* The block at a physical address, or NULL. */
struct caisson_block *caisson_block_find(const struct caisson_tables *t, __u64 address);

/* Makes start to end - 1 (physical) a window; `cache` is CAISSON_PTE_PCD, or that and _PWT.  For
 * the sandbox's life.  EINVAL: not whole pages, none, or no address of a device's; other cache
 * bits; EEXIST: a block or a window is there; E2BIG: there are CAISSON_WINDOWS_MAX. */
int caisson_window_add(struct caisson_tables *t, __u64 start, __u64 end, __u64 cache);

/* Whether a window has any of these addresses. */
bool caisson_window_overlaps(const struct caisson_tables *t, __u64 start, __u64 end);

/* Makes a free frame an empty table of `level`.  EAGAIN: a vCPU in the guest may still know the
 * frame from before; have all of them leave the guest, and call again.  ENOENT: no frame; EBUSY:
 * not free. */
int caisson_table_new(struct caisson_tables *t, __u64 address, __u64 level);

/* EBUSY: in use.  What it points to has one reference less for each entry. */
int caisson_table_free(struct caisson_tables *t, __u64 address);

/* Exchanges an entry.  EINVAL: a malformed value; EPERM: it maps what it must not; ENOENT: no
 * entry. */
int caisson_entry_set(struct caisson_tables *t, __u64 address, __u64 value, __u64 *ret_old);

/* Makes changes *at to end - 1 of a list that its owner may write meanwhile; *at is then the first
 * that was not made.  0 with *at < end: enough for once.  Else the error of the one at *at:
 * EAGAIN as caisson_table_new(). */
int caisson_changes_make(struct caisson_tables *t, const volatile struct caisson_change *list,
			 __u32 *at, __u32 end);

/* Has a vCPU run on a level-4 table; 0: on none. */
int caisson_root_set(struct caisson_tables *t, __u32 vcpu, __u64 address);

/* Around each stay in the guest, on its CPU.  Between enter and the guest's first instruction, all
 * of the vCPU's translations must be flushed; after leave, none may be used. */
void caisson_root_enter(struct caisson_tables *t, __u32 vcpu);
void caisson_root_leave(struct caisson_tables *t, __u32 vcpu);

#endif
