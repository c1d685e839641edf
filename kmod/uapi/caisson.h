/* SPDX-License-Identifier: (GPL-2.0-only WITH Linux-syscall-note) OR Apache-2.0 */
/*
 * /dev/caisson: guest kernels in ring 1.  The whole contract, for the machine monitor (ioctls) and
 * for the guest kernel (hypercalls, page-table rules, the vCPU page).
 *
 * Not stable yet: both sides compare CAISSON_API, and only the same number goes together.
 *
 *  A sandbox is an open of /dev/caisson: memory, page tables, vCPUs.  It belongs to the process
 * that opened it, and ends with the last descriptor of it and of its vCPUs.
 *
 * ## Memory
 *
 *  Guest-physical addresses are host-physical addresses.  Memory comes in blocks of 2 MiB, each of
 * one class for life:
 *   - DATA: the monitor's memory (huge pages), lent with CAISSON_ADD_MEMORY.  Guest and monitor
 * write it.
 *   - TABLE: the module's own memory (CAISSON_ADD_TABLES).  Page tables are here and nowhere else.
 *     Neither guest nor monitor can write it; the guest may map it read-only.
 *
 * ## Page-table rules
 *
 *  A frame is 4 KiB of a TABLE block.  It is free, or a page table of level 1 to 4.  It is made a
 * table (empty) with TABLE_NEW, and free again with TABLE_FREE, which needs that no entry points to
 * it, and that no vCPU has it as its root.  What it maps or points to is dropped with it.  A frame
 * that was in use becomes a table again only after every vCPU has forgotten its translations (the
 * module sees to it).
 *
 *  An entry is changed with ENTRY_SET, which stores the given value or nothing.  Rules, in order:
 *   1. The entry is 8-byte aligned, in a frame that is a table.
 *   2. At level 4, entry 508 is the monitor's.
 *   3. A value without the present bit is 0, or has bit 51 set and, on a CPU with L1TF, all address
 *      bits down to the upper half of what its cache compares (43 or 45 to 51, as a rule): an
 *      address beyond all memory, nothing for a processor to guess at.  All address bits set is
 *      right everywhere; so is the inverse of an address of memory, which is what Linux stores.
 *   4. Present: the global bit and the key bits (62:59) are clear; address bits are of memory.
 *   5. Levels 4, 3 and, without the size bit, 2 point to a table of exactly the level below; PWT
 * and PCD are clear.  The size bit is refused at levels 4 and 3.
 *   6. In entries 256 to 511 of level 4 the user bit is clear.
 *   7. A leaf (level 1; level 2 with the size bit) maps
 *      - a DATA block of this sandbox, with any of W, U, NX; cache bits clear;
 *      - a TABLE block of this sandbox, with W and U clear and NX set; cache bits clear;
 *      - at level 1, a page of an MMIO window of this sandbox, with NX set and the window's cache
 * bits. A leaf of level 2 is aligned to 2 MiB. Accessed and dirty bits, bits 9 to 11 and 52 to 58
 * are the guest's.
 *
 * ## Changes in one call
 *
 *  CHANGES makes those of a list in the vCPU's page, `changes`, from index RDI up to and without
 * RSI, in order, each by the rules above.  It ends at the first that is refused, with its error,
 * or, with 0, when it has done enough for one call (the first is made in any case).  RDX is the
 * index of the first that was not made.  EINVAL if RDI is above RSI, or RSI above
 * CAISSON_CHANGES_MAX: RDX is RDI.
 *
 *  A change is an address, in whose lowest three bits is what to do, and a value:
 *   - SET: ENTRY_SET.
 *   - KEEP: the same at level 1; accessed and dirty bits that the entry has are kept, if it is
 *     present before and after.
 *   - REMOVE takes the bits of the value (of W, accessed, dirty) out of an entry of level 1 or 2;
 *     what the CPU sets meanwhile is not lost.
 *   - CLEAR makes as many entries as the value says 0, from this one on, within one table of
 *     level 1.
 *   - NEW: TABLE_NEW; the value is the level.
 *   - FREE: TABLE_FREE.
 *
 *  EINVAL: another number; other bits; no entries, or more than the table has.  EPERM: another
 * level.
 *
 * ## Processor state
 *
 *  Ring 1 runs with CAISSON_CS and CAISSON_SS, ring 3 with CAISSON_USER_CS and CAISSON_USER_SS;
 * there is no 32-bit code.  Interrupts are always enabled (real IF is 1), IOPL is 0; SMAP is off,
 * FSGSBASE and UMIP are on.  DS, ES, FS and GS hold null selectors after every interruption,
 * whatever was in them; the bases of FS and GS are kept.  The registers of FPU, SSE and AVX are the
 * guest's own.
 *
 *  Top-level entry 508 (from CAISSON_SLOT, 512 GiB) is the monitor's.  In it, each vCPU finds its
 * own struct caisson_vcpu_page at CAISSON_VCPU_PAGE, by which it tells the monitor's entry code
 * where to go.  The guest kernel lives in the upper half (a `syscall` from the lower half is a
 * system call of ring 3; ring 3 cannot execute in the upper half by rule 6).
 *
 *  System call of ring 3: ring 1 at syscall_entry, stack kernel_stack, RCX and R11 as the CPU
 * leaves them, the caller's RSP in user_stack; `masked` is set.
 *
 *  Exception, event: ring 1 at exception_entry.  On the stack (kernel_stack if ring 3 was
 * interrupted, else the present one), aligned to 16 before: struct caisson_frame.  `masked` is set;
 * the frame's `masked` is what it was.  CR2 is in the vCPU page.  All registers are the interrupted
 * ones. A stack that cannot be written ends the sandbox.  A vCPU begins with `masked` set.
 *
 *  Return: the guest's own `iretq`.
 *
 *  Events come as an exception of number CAISSON_VECTOR_EVENT when `events` is not 0 and `masked`
 * is. `events` is a set of bits; the guest takes them out (locked), the monitor puts them in.
 * Having cleared `masked`, the guest looks at `events` and takes what is there, or calls EVENTS.
 * They come from the vCPU's timer, from vCPUs (RAISE), and from eventfds (CAISSON_IRQFD); a bit
 * that is there already stays.
 *
 * ## Hypercalls
 *
 *  `syscall` in ring 1: number in RAX; arguments in RDI, RSI, RDX, R8; result in RAX (0, or a
 * negative errno), a second one in RDX where it says so.  RCX and R11 are clobbered.
 *
 *  On return from a hypercall, whichever, the vCPU has forgotten all translations that had been
 * changed or taken out of its tables by then.
 *
 *  A set of vCPUs is a bit each, by their number; bits of vCPUs that are not there mean nothing.
 *
 *  ROOT: EINVAL if the address is not aligned to a page; EPERM if there is no table of level 4.
 *
 *  START: the vCPU begins in ring 1 with all registers 0 but the three given and RSI, its number;
 * it has no stack.  Once: EBUSY if it was started before, or the monitor did, or has closed it;
 * ENOENT if it is not there; EINVAL and EPERM as ROOT.
 *
 *  HALT: returns 0 when there are events, and may return for no reason: whoever waits for something
 * looks again.
 *
 *  FLUSH: on return all of the set have forgotten what they knew when it was called.  A vCPU that
 * is halted, or out of the guest for another reason, costs nothing.  ENOMEM if the host is short of
 * memory: nothing is known of the others then.
 */
#ifndef CAISSON_UAPI_H
#define CAISSON_UAPI_H

#ifndef __ASSEMBLER__
#include <linux/ioctl.h>
#include <linux/types.h>
#endif

#define CAISSON_API 3

#define CAISSON_CS 0x51
#define CAISSON_SS 0x59
#define CAISSON_USER_CS 0x33
#define CAISSON_USER_SS 0x2b

#define CAISSON_SLOT 0xfffffe0000000000
#define CAISSON_SLOT_INDEX 508
#define CAISSON_VCPU_PAGE 0xfffffe7fffe03000

#define CAISSON_VECTOR_EVENT 0x100

/* Bits of `events`: of the 64, the first 16 are not for devices. */
#define CAISSON_EVENT_TIMER 0
#define CAISSON_EVENT_OWN                                                                          \
	1 /* to 15: the guest's own, for vCPUs to raise (interrupts between them) */

#define CAISSON_CALL_VERSION 0	  /* RDX: CAISSON_API */
#define CAISSON_CALL_MONITOR 1	  /* RDI..R8: for the machine monitor; RAX is its answer */
#define CAISSON_CALL_HALT 2	  /* sleeps until there are events, masked or not */
#define CAISSON_CALL_EVENTS 3	  /* delivers events, if there are and they are not masked */
#define CAISSON_CALL_TIMER 4	  /* RDI: nanoseconds from now to EVENT_TIMER; 0: none */
#define CAISSON_CALL_ROOT 5	  /* RDI: address of the level-4 table to run on */
#define CAISSON_CALL_TABLE_NEW 6  /* RDI: address of a free frame, RSI: its level */
#define CAISSON_CALL_TABLE_FREE 7 /* RDI: address of a table */
#define CAISSON_CALL_ENTRY_SET 8  /* RDI: address of an entry, RSI: value; RDX: the old value */
#define CAISSON_CALL_FLUSH 9	  /* RDI: set of vCPUs; this one's translations go in any case */
#define CAISSON_CALL_START 10	  /* RDI: vCPU, RSI: root, RDX: RIP, R8: RDI that it begins with */
#define CAISSON_CALL_RAISE 11	  /* RDI: set of vCPUs, RSI: event, 0 to 63 */
#define CAISSON_CALL_CHANGES 12	  /* RDI, RSI: part of `changes`; RDX: how far it came */

/* What to do, in the address of a change. */
#define CAISSON_CHANGE_SET 0
#define CAISSON_CHANGE_KEEP 1
#define CAISSON_CHANGE_REMOVE 2
#define CAISSON_CHANGE_CLEAR 3
#define CAISSON_CHANGE_NEW 4
#define CAISSON_CHANGE_FREE 5

#define CAISSON_CHANGES_MAX 124

#ifndef __ASSEMBLER__

struct caisson_change {
	__u64 address; /* and CAISSON_CHANGE_* */
	__u64 value;
};

struct caisson_vcpu_page {
	__u64 syscall_entry;
	__u64 exception_entry;
	__u64 kernel_stack;
	__u64 user_stack;
	__u64 cr2;
	__u64 events;
	__u8 masked;
	__u8 reserved[15];
	struct caisson_change changes[CAISSON_CHANGES_MAX]; /* not looked at but in CHANGES */
};

struct caisson_frame {
	__u32 vector;
	__u32 masked;
	__u64 error;
	__u64 rip, cs, rflags, rsp, ss;
};

struct caisson_memory {
	__u64 address; /* in the caller, aligned to 2 MiB, of huge pages */
	__u64 size;    /* a multiple of 2 MiB */
	__u64 runs;    /* out: address of size / 2 MiB __u64: the physical address of each block */
};

struct caisson_tables_add {
	__u64 physical; /* out: of a new TABLE block */
};

struct caisson_operation {
	__u64 call; /* CAISSON_CALL_TABLE_NEW, TABLE_FREE or ENTRY_SET */
	__u64 a, b;
	__u64 old; /* out */
};

struct caisson_registers {
	__u64 r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi;
	__u64 rip, cs, rflags, rsp, ss; /* only the ring counts of cs; ss is made to match */
	__u64 fs_base, gs_base;
	__u64 root; /* physical address of the level-4 table; 0: as before */
};

/*
 * An MMIO window: registers of a PCI function, which the caller has mapped (VM_PFNMAP, shared,
 * writable, not cached: as vfio-pci maps them), for the guest at the addresses that the host has
 * them at.  Leaves there have PCD, and neither PWT nor PAT.
 *
 * When the caller's mapping goes away or changes (unmapped, also by its end; reset, or memory
 * switched off, by vfio-pci; the function removed), so does the guest's: no vCPU is in the guest
 * any more before that goes on, and all are CAISSON_EXIT_KILLED from then on.
 *
 * EINVAL: not whole pages, no such mapping, not in one piece; EACCES: not writable; EFAULT: the
 * registers cannot be had; EPERM: not within one memory BAR of a function, or with entries of its
 * MSI-X table; EEXIST: the sandbox has memory or a window there; E2BIG: too many, or too large;
 * EAGAIN: it changed meanwhile; ENODEV: it has lost a window.
 */
struct caisson_window_add {
	__u64 address, size; /* in the caller; multiples of 4096 */
	__u64 physical;	     /* out */
};

/* Who writes the eventfd raises the event, also if that was before.  Until the sandbox ends. */
struct caisson_irqfd {
	__s32 fd;
	__u32 vcpu, event;
	__u32 reserved; /* 0 */
};

/* A call to the monitor with just these arguments (RDI, RSI, RDX, R8) writes the eventfd, and is
 * answered with 0.  Until the sandbox ends; of several for the same, the first counts. */
struct caisson_ioeventfd {
	__u64 argument[4];
	__s32 fd;
	__u32 reserved; /* 0 */
};

#define CAISSON_IRQFDS_MAX 128
#define CAISSON_IOEVENTFDS_MAX 512

enum caisson_exit {
	CAISSON_EXIT_MONITOR = 1, /* a hypercall: argument[0..3]; `answer` is for it */
	/* `text` says why; the vCPU does not run again (EINVAL).  Its siblings go on until the
	 * monitor stops them. */
	CAISSON_EXIT_KILLED,
};

/* At offset 0 of a vCPU's descriptor. */
struct caisson_run {
	__u32 exit;	      /* enum caisson_exit */
	__u32 immediate_exit; /* the monitor's: not 0: RUN is EINTR, as if a signal were there */
	__u64 argument[4];
	__u64 answer;
	/* As of the exit, or EINTR; of the last time that it left the guest by itself, if then an
	 * NMI has come in the monitor's entry code. */
	struct caisson_registers registers;
	char text[128];
};

#define CAISSON_IOC 0xca
#define CAISSON_GET_VERSION _IO(CAISSON_IOC, 0)
#define CAISSON_ADD_MEMORY _IOWR(CAISSON_IOC, 1, struct caisson_memory)
#define CAISSON_ADD_TABLES _IOR(CAISSON_IOC, 2, struct caisson_tables_add)
#define CAISSON_OPERATE _IOWR(CAISSON_IOC, 3, struct caisson_operation)
#define CAISSON_ADD_VCPU _IO(CAISSON_IOC, 4) /* the descriptor of a vCPU; numbers are in order */
#define CAISSON_IRQFD _IOW(CAISSON_IOC, 5, struct caisson_irqfd)
#define CAISSON_IOEVENTFD _IOW(CAISSON_IOC, 6, struct caisson_ioeventfd)
#define CAISSON_GET_TSC_KHZ _IO(CAISSON_IOC, 7) /* the TSC's rate as the host knows it */
#define CAISSON_ADD_WINDOW _IOWR(CAISSON_IOC, 8, struct caisson_window_add)
/* Of a vCPU: */
#define CAISSON_SET_REGISTERS _IOW(CAISSON_IOC, 16, struct caisson_registers)
/* 0 with run->exit; EINTR, after which it goes on.  A vCPU that has not been told where to begin
 * waits until it is (SET_REGISTERS, with a root, or START).  EOPNOTSUPP: the thread is on a CPU
 * that was not there when the module was loaded, or has an LDT of its own. */
#define CAISSON_RUN _IO(CAISSON_IOC, 17)

#endif
#endif
