/* SPDX-License-Identifier: Apache-2.0 */
/* What a micro guest and its runner agree on. */
#ifndef CAISSON_TESTS_CKI_OUTCOME_H
#define CAISSON_TESTS_CKI_OUTCOME_H

#define GUEST_PASS 0
#define GUEST_FAIL 1
#define GUEST_SKIP 2

/* First argument of CAISSON_CALL_MONITOR. */
#define MONITOR_TEXT 0 /* offset in memory, length */
#define MONITOR_END 1  /* outcome */
#define MONITOR_ECHO 2 /* answers the second argument plus one */
/* With just these arguments: writes an eventfd, which makes the runner raise EVENT_BELL on CPU 0.
 */
#define MONITOR_BELL 3
#define BELL_RSI 0x0123456789abcdef
#define BELL_RDX 0xfedcba9876543210
#define EVENT_BELL 17
/* Answers the 8 bytes at an offset in the window, as the host has them. */
#define MONITOR_WINDOW 4

#ifndef __ASSEMBLER__
#include <stdint.h>

#define BLOCKS 4
#define GUEST_BASE 0xffffffff80000000ull   /* block i at GUEST_BASE + i * 2 MiB, writable */
#define GUEST_TABLES 0xffffffffa0000000ull /* the TABLE block, read-only */
/* Its frames: the first three are the tables that the guest starts on. */
#define FRAME_L4 0
#define FRAME_L3 1
#define FRAME_L2 2
#define FRAME_FREE 3

/* At the end of block 0; its address is in RDI at the start. */
struct boot {
	uint64_t tables;	 /* physical address of the TABLE block */
	uint64_t blocks[BLOCKS]; /* of the DATA blocks */
	uint64_t foreign;	 /* of a page that is not the sandbox's */
	uint64_t foreign_table;	 /* of a live level-4 table of another sandbox */
	/* An MMIO window of at least 3 MiB, which begins in the second page of what the function
	 * has; 0: none. */
	uint64_t window, window_size;
};
#endif
#endif
