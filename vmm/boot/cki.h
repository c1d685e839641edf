/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Boot in ring 1 (kmod/uapi/caisson_boot.h): image, initramfs and command line into the blocks of a
 * sandbox, and the page tables that the guest's kernel starts on, made through the module.
 *
 * Blocks are at physical addresses of the host, in any order; what must be in one piece is put
 * where there is such a piece.  The kernel file is the operator's, but may be any file: every
 * header is checked.
 */
#ifndef CAISSON_BOOT_CKI_H
#define CAISSON_BOOT_CKI_H

#include <stdint.h>

#include "lib/error.h"

#define CKI_CMDLINE_MAX 2048u /* with the NUL: what the kernel takes */

struct cki_memory {
	int fd;			/* the sandbox */
	uint8_t *host;		/* its DATA blocks, one after the other; zeroed */
	const uint64_t *blocks; /* physical address of each */
	uint32_t blocks_n;
	const uint64_t *tables; /* physical address of each TABLE block; none is used yet */
	uint32_t tables_n;
};

struct cki_guest {
	const char *kernel, *initrd, *cmdline; /* initrd: NULL: none */
	uint64_t tsc_khz;
	uint32_t vcpus;
};

/* How vCPU 0 begins: RIP, RDI, and the level-4 table. */
struct cki_entry {
	uint64_t rip, rdi, root;
};

/* How many TABLE blocks a guest of so many DATA blocks gets. */
uint32_t cki_table_blocks(uint32_t blocks);

/*
 * Loads the guest.  Errors: ENOEXEC: a file that is no such kernel; ENOMEM: no piece of memory that
 * is large enough, or in one piece; E2BIG: too scattered, or the command line is
 * too long; what the module says.
 */
int cki_load(const struct cki_memory *mem, const struct cki_guest *guest, struct cki_entry *ret,
	     struct error *err);

#endif
