/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The pks gate: what of the monitor is mapped in the guests, for C and assembly.  The story is in
 * docs/cki.md.
 *
 * A gigabyte of the reserved slot, at caisson_host.gate, the same for all vCPUs of a sandbox.  All
 * of it has key GATE_KEY, which rings 1 and 3 run without; it is writable, and not executable.
 *
 *	at		what
 *	0		struct caisson_tables, whose pointers are the host's: not used here
 *	GATE_ROOTS	the page of each vCPU's root
 *	GATE_BLOCKS	the blocks
 *	GATE_FRAMES	of each TABLE block, in the order they were added: its frames
 *	GATE_ENTRIES	of each TABLE block: the block
 *
 * Two pages of the vCPU's area (layout.h) have the key, too: struct caisson_gate_vcpu, and the
 * stack.
 */
#ifndef CAISSON_GATE_H
#define CAISSON_GATE_H

#include "layout.h"

#define GATE_KEY 1
/* PKRS: nothing of that key, and everything. */
#define PKRS_SHUT (3 << (2 * GATE_KEY))
#define PKRS_OPEN 0
#define GATE_MSR_PKRS 0x6e1

#define GATE_ROOTS _AC(0x40000, UL)
#define GATE_ROOT_SIZE 8192
#define GATE_BLOCKS _AC(0xc0000, UL)
#define GATE_BLOCKS_SIZE (GATE_FRAMES - GATE_BLOCKS)
#define GATE_FRAMES _AC(0x200000, UL)
#define GATE_FRAMES_SIZE 8192
#define GATE_ENTRIES _AC(0x2000000, UL)
#define GATE_SIZE _AC(0x40000000, UL)
#define GATE_TABLE_BLOCKS_MAX 496 /* what fits; with more, a sandbox has the cr3 gate */

/* Calls that it may answer, by number. */
#define GATE_CALLS                                                                                 \
	(1 << CAISSON_CALL_VERSION | 1 << CAISSON_CALL_ROOT | 1 << CAISSON_CALL_TABLE_NEW |        \
	 1 << CAISSON_CALL_TABLE_FREE | 1 << CAISSON_CALL_ENTRY_SET | 1 << CAISSON_CALL_FLUSH |    \
	 1 << CAISSON_CALL_CHANGES)

#ifndef __ASSEMBLER__
#include "rules.h"

struct caisson_gate_vcpu {
	u64 number;
	u64 known;    /* `removed` when all translations were flushed last */
	u64 answered; /* calls, until the host has counted them */
	u64 calls[CAISSON_CALL_CHANGES + 1];
};

static_assert(sizeof(struct caisson_tables) <= 4096);
static_assert(sizeof(struct caisson_table_frame) * CAISSON_BLOCK_FRAMES == GATE_FRAMES_SIZE);
static_assert(GATE_ENTRIES + ((u64)GATE_TABLE_BLOCKS_MAX << CAISSON_BLOCK_SHIFT) <= GATE_SIZE);
static_assert(GATE_ROOTS + CAISSON_VCPUS_MAX * GATE_ROOT_SIZE <= GATE_BLOCKS);
#endif

#endif
