/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The monitor's area: the last 2 MiB of the reserved slot, for C and assembly.
 *
 * The code pages are at the same address in the host's tables and in each guest's, so that code
 *keeps running across a change of CR3.  What else is there differs:
 *
 *	page	guest (per vCPU)			host
 *	0, 1	code, read-only				the same
 *	2	constants, read-only			-
 *	3	the vCPU page				-
 *	5	frame to enter the guest from		-
 *	7	stack of entries (RSP0)			-
 *	9..15	stacks of NMI, #DF, #MC, #DB		-
 *	17, 19	of the pks gate, by its key: gate.h	-
 *	24..	its code, read-only			-
 *	256..	-					a struct caisson_host_context per CPU
 *
 * Ring 1 is a supervisor: what is writable in the guest's column, it can write.  So nothing there
 *is believed that was there before the guest ran last: a frame counts from the moment the CPU
 *pushes it until the next entry, and what must survive the guest is in the constants or in the
 *host's column. What ring 1 may read it may know: the constants hold the host's CR3 and a CPU
 *number.
 */
#ifndef CAISSON_LAYOUT_H
#define CAISSON_LAYOUT_H

#include <linux/const.h>

#include "uapi/caisson.h"

#define AREA _AC(0xfffffe7fffe00000, UL)
#define AREA_SIZE _AC(0x200000, UL)

#define PAGE_CODE 0
#define CODE_PAGES 2
#define PAGE_CONST 2
#define PAGE_VCPU 3
#define PAGE_ENTER 5
#define PAGE_STACK 7
#define PAGE_NMI 9
#define PAGE_DF 11
#define PAGE_MC 13
#define PAGE_DB 15
#define PAGE_GATE 17
#define PAGE_GATE_STACK 19
#define GUEST_PAGES 20 /* that a guest can have, holes included */
#define PAGE_GATE_CODE 24
#define GATE_CODE_PAGES 8
#define PAGE_HOST 256

/* IST numbers in our TSS. */
#define IST_NMI 1
#define IST_DF 2
#define IST_MC 3
#define IST_DB 4

/* struct caisson_constants */
#define CONST_HOST_CR3 0
#define CONST_HOST_CONTEXT 8
#define CONST_GATE 16
#define CONST_BARRIER 24

/* struct caisson_trap: as pushed. */
#define TRAP_VECTOR 120
#define TRAP_ERROR 128
#define TRAP_RIP 136
#define TRAP_CS 144
#define TRAP_RFLAGS 152
#define TRAP_RSP 160
#define TRAP_SS 168
#define TRAP_SIZE 176

/* struct caisson_vcpu_page */
#define VCPU_SYSCALL_ENTRY 0
#define VCPU_EXCEPTION_ENTRY 8
#define VCPU_KERNEL_STACK 16
#define VCPU_USER_STACK 24
#define VCPU_CR2 32
#define VCPU_MASKED 48

/* Our own vectors, beside the CPU's. */
#define VECTOR_HYPERCALL 0x101

/* Flags that the guest runs with, whatever it asked for: IF, and the bit that is always 1. */
#define FLAGS_FORCED 0x202

/* struct caisson_switch */
#define SWITCH_CONTEXT 0
#define SWITCH_CR3 8
#define SWITCH_ENTRY 16
#define SWITCH_GUEST_FS 24
#define SWITCH_GUEST_GS 32
#define SWITCH_VERW 40

#ifndef __ASSEMBLER__
#include <linux/build_bug.h>
#include <linux/stddef.h>
#include <linux/types.h>

struct caisson_constants {
	u64 host_cr3;
	u64 host_context;
	u64 gate;    /* struct caisson_tables in the guest; 0: the cr3 gate */
	u64 barrier; /* IBPB before the first return on the host's side */
};

struct caisson_host_context {
	u64 rsp;
	u64 reserved[7];
};

/* What an entry stub leaves on its stack, and what the guest is entered from. */
struct caisson_trap {
	u64 r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi;
	u64 vector, error;
	u64 rip, cs, rflags, rsp, ss;
};

struct caisson_switch {
	u64 context; /* address of the CPU's struct caisson_host_context in the area */
	u64 cr3;
	u64 entry; /* in the area */
	u64 fs_base, gs_base;
	u64 verw; /* not 0: clear the CPU's buffers */
};

static_assert(offsetof(struct caisson_trap, vector) == TRAP_VECTOR);
static_assert(offsetof(struct caisson_trap, ss) == TRAP_SS);
static_assert(sizeof(struct caisson_trap) == TRAP_SIZE);
static_assert(offsetof(struct caisson_vcpu_page, cr2) == VCPU_CR2);
static_assert(offsetof(struct caisson_vcpu_page, masked) == VCPU_MASKED);
static_assert(offsetof(struct caisson_switch, gs_base) == SWITCH_GUEST_GS);
static_assert(offsetof(struct caisson_switch, verw) == SWITCH_VERW);
static_assert(CAISSON_VCPU_PAGE == AREA + PAGE_VCPU * 4096);
static_assert(sizeof(struct caisson_vcpu_page) == 2048);
static_assert(sizeof(struct caisson_frame) == 56);

/* stub.S: the two code pages, to be copied, and places in them by offset. */
extern const u8 caisson_stub[CODE_PAGES * 4096];
extern const u64 caisson_stub_enter, caisson_stub_enter_event, caisson_stub_enter_end;
extern const u64 caisson_stub_leave, caisson_stub_leave_end;
extern const u64 caisson_stub_syscall;
extern const u64 caisson_stub_gate, caisson_stub_gate_end;
/* gate_code.c, to be copied to PAGE_GATE_CODE. */
extern const u8 caisson_gate_code[GATE_CODE_PAGES * 4096];

/* switch.S: into the guest and back; the guest-view address of the trap that ended it. */
u64 caisson_switch(struct caisson_switch *s);
/* 16 bytes per vector: raises it as `int` does. */
extern u8 caisson_replay[256][16];
#endif

#endif
