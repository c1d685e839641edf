/* SPDX-License-Identifier: (GPL-2.0-only WITH Linux-syscall-note) OR Apache-2.0 */
/*
 * How a guest kernel is started in ring 1, and what it may ask of the machine monitor.  For the
 * loader (the monitor) and the guest's kernel; what the module does with either is in caisson.h.
 *
 *  The guest believes what is here: it comes from the monitor, on which its life depends anyway.
 * The monitor believes nothing that comes from the guest: addresses, sizes and numbers of calls are
 * checked against what the sandbox has.
 *
 * ## The kernel
 *
 *  An ELF file (vmlinux) with a note of name "Caisson" and type CAISSON_NOTE_ENTRY, whose
 * description is struct caisson_boot_note.  Of another `protocol` it is not to be started.
 *
 *  Its PT_LOAD segments are one image: physical addresses as if loaded at `image` of the note, in
 * the order and at the distances of p_paddr.  The loader puts the image into a **physically
 * contiguous** run of DATA blocks that begins at a block (a multiple of 2 MiB), and runs up to the
 * note's image_size (so with what it needs behind its last segment).  What no segment fills is
 * zero.
 *
 *  The initramfs is in a physically contiguous run, too, that begins at a page.  Nothing else need
 * be contiguous.
 *
 * ## Page tables
 *
 *  The loader makes them with CAISSON_OPERATE in the first `tables_used` frames of the TABLE
 * blocks, counted in the order of the list `tables`; all other frames are free, and the guest's.
 * They are
 *   - one of level 4, the root;
 *   - for each address `image_virtual` + n * 2 MiB: a leaf of level 2, writable and executable, to
 *     the image's nth block;
 *   - for each DATA block at physical address P: a leaf of level 2 at CAISSON_DIRECT + P, writable,
 *     not executable; for each TABLE block: the same, read-only, not executable.
 *  All leaves have their accessed bits set, and the writable ones the dirty bit.
 *
 * ## The boot area
 *
 *  CAISSON_BOOT_SIZE bytes of a DATA block, from its start, with struct caisson_boot and its lists
 * at the offsets it gives.  The command line is a string with a NUL, within one DATA block.  Both
 * are outside of image and initramfs; the guest has copied them before it uses any other memory.
 *
 * ## Start
 *
 *  vCPU 0 starts at the note's `entry` with RDI: CAISSON_DIRECT + the boot area, all else 0,
 * `masked` set.  The other vCPUs do not run until they are started by hypercall
 * (START).
 *
 * ## Calls to the monitor (CAISSON_CALL_MONITOR)
 *
 *  RDI: one of CAISSON_MONITOR_*; RSI, RDX, R8: arguments; RAX: result, or a negative errno.
 *
 *   CONSOLE    RSI: physical address, RDX: bytes, within one DATA block.  The console's output.
 *   POWER      RSI: CAISSON_POWER_*.  The sandbox ends; does not return.
 *   MMIO_READ  RSI: address, RDX: bytes (1, 2, 4 or 8).  A device's window; RAX: the value.
 *   MMIO_WRITE RSI: address, RDX: bytes, R8: the value.
 *   CONFIG_READ  RSI: bus << 16 | device << 11 | function << 8 | offset, RDX: bytes (1, 2 or 4,
 *              within a register of 4).  PCI configuration space; RAX: the value, all ones where
 *              nothing is.  ENODEV: the machine has no bus.
 *   CONFIG_WRITE the same, R8: the value.
 *
 *  Devices are virtio-mmio.  Their windows are no memory: nothing can be mapped there, and an
 * access is one of the two calls.  Addresses and interrupt lines come as on other engines, on the
 * command line (virtio_mmio.device=SIZE@ADDRESS:LINE).  An interrupt of line n is event
 * CAISSON_EVENT_LINE(n); lines are edges: the driver asks the device why, and a bit put in again
 * is one more interrupt.  The monitor need not know a window's doorbell: what module or monitor
 * answer sooner than others (a write to QueueNotify) is theirs to choose.
 *
 *  Functions of the host's are on bus 0, if there are any; only their memory windows are shown.
 * These are at the host's addresses and cannot be moved.  What of them is lent is mapped as a
 * window of caisson.h; the pages of the MSI-X table and of the pending bits are not, but answer
 * MMIO_READ and MMIO_WRITE.  MSI-X vector n of a function raises the line that its interrupt line
 * register names, plus n, as soon as the function sends it: its message is nobody's to choose, its
 * mask masks nothing.  The function's DMA reaches the DATA blocks, at their physical addresses, and
 * nothing else: not the TABLE blocks.
 */
#ifndef CAISSON_BOOT_UAPI_H
#define CAISSON_BOOT_UAPI_H

#include "caisson.h"

#define CAISSON_BOOT_PROTOCOL 1

#define CAISSON_NOTE_NAME "Caisson"
#define CAISSON_NOTE_ENTRY 1

#define CAISSON_DIRECT 0xffff888000000000

#define CAISSON_MONITOR_CONSOLE 0x100
#define CAISSON_MONITOR_POWER 0x101
#define CAISSON_MONITOR_MMIO_READ 0x102
#define CAISSON_MONITOR_MMIO_WRITE 0x103
#define CAISSON_MONITOR_CONFIG_READ 0x104
#define CAISSON_MONITOR_CONFIG_WRITE 0x105

#define CAISSON_POWER_OFF 0
#define CAISSON_POWER_RESET 1
#define CAISSON_POWER_PANIC 2 /* the kernel has given up; why is on the console */

/* Events of caisson.h are below 16.  Lines 0 to 47. */
#define CAISSON_EVENT_LINE(n) (16 + (n))
#define CAISSON_LINES 48

/* The vCPU page from here to its end is the guest's own; neither monitor nor module look at it. */
#define CAISSON_VCPU_PAGE_OWN 2048

#ifndef __ASSEMBLER__

struct caisson_boot_note {
	__u32 protocol;
	__u32 reserved;
	__u64 entry;	     /* linear address */
	__u64 image;	     /* p_paddr that the image's run begins with; a multiple of 2 MiB */
	__u64 image_virtual; /* linear address of the same */
	__u64 image_size;    /* bytes */
};

struct caisson_run_list {
	__u32 offset; /* in the boot area, of an array of struct caisson_boot_run */
	__u32 n;
};

/* Blocks that follow each other. */
struct caisson_boot_run {
	__u64 physical, size; /* multiples of 2 MiB */
};

struct caisson_boot {
	__u32 protocol;
	__u32 size;  /* of this struct */
	__u64 root;  /* of the level-4 table */
	__u64 image; /* physical address of the image's run */
	__u64 initrd, initrd_size;
	__u64 cmdline; /* physical address */
	__u64 tsc_khz;
	__u64 wall_ns; /* since 1970, at `wall_tsc` */
	__u64 wall_tsc;
	__u32 tables_used;		      /* frames that hold the tables described above */
	__u32 vcpus;			      /* that there are, or may be started */
	struct caisson_run_list data, tables; /* ascending; at most CAISSON_BOOT_RUNS each */
};

#define CAISSON_BOOT_SIZE 32768
#define CAISSON_BOOT_RUNS 1000

#endif
#endif
