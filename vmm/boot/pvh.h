/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Boot by the PVH ABI (xen/docs/misc/pvh.pandoc, "x86/HVM direct boot ABI"): an ELF
 * kernel is put where its program headers say, and entered in 32-bit protected mode
 * at the address its note names, with EBX pointing to hvm_start_info.  No firmware,
 * no real mode, no page tables of ours.
 *
 * What is where, below 1 MiB (the guest's RAM starts at 0):
 *
 *	0x6000  hvm_start_info, then the one module (the initramfs)
 *	0x7000  memory map
 *	0x8000  kernel command line
 *	0x9f000 MP table (vmm/boot/mptable.h); from here to 1 MiB is reserved
 *
 * The kernel file is the operator's, but may be any file: every header is checked.
 */
#ifndef CAISSON_BOOT_PVH_H
#define CAISSON_BOOT_PVH_H

#include <stdint.h>

#include "lib/error.h"
#include "vmm/mem/mem.h"

#define BOOT_LOW_END 0x9f000u	  /* RAM starts at 0 and ends here ... */
#define BOOT_HIGH_START 0x100000u /* ... to go on here */
#define PVH_CMDLINE_MAX 2048u	  /* with the NUL: what the kernel takes (COMMAND_LINE_SIZE) */

struct pvh_entry {
	uint64_t rip;	  /* physical; below 4 GiB */
	gpa_t start_info; /* for EBX */
};

/*
 * Loads kernel and initramfs (NULL: none) and writes what the kernel is told.  Errors: a file that
 * cannot be read or is no such kernel; what does not fit into memory.
 */
int pvh_load(const struct mem *mem, const char *kernel, const char *initrd, const char *cmdline,
	     struct pvh_entry *ret, struct error *err);

#endif
