/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a guest's kernel is started in ring 1: kmod/uapi/caisson_boot.h, the loader's side.  Kernel,
 * initramfs, command line and boot page go into memory that is placed already; page tables into the
 * sandbox's, by the module.
 */
#ifndef CAISSON_CKI_BOOT_H
#define CAISSON_CKI_BOOT_H

#include <stdint.h>

#include "lib/error.h"
#include "vmm/cki/sandbox.h"
#include "vmm/mem/mem.h"

struct cki_boot {
	const char *kernel, *initrd; /* NULL: none */
	const char *cmdline;
	uint32_t vcpus;
};

struct cki_entry {
	uint64_t rip, rdi;
	uint64_t root; /* physical */
};

/* ENOEXEC: a kernel that does not run in ring 1.  ENOMEM: memory is too small, or too scattered. */
int cki_boot_load(struct cki_sandbox *s, const struct mem *mem, const struct cki_boot *b,
		  struct cki_entry *ret, struct error *err);

/* Whether a kernel has what is needed to be started in ring 1: 0, or the sentence. */
int cki_boot_check(const char *kernel, struct error *err);

#endif
