/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest kernel's file: an x86-64 ELF executable (vmlinux), its segments and notes.
 *
 * The file is the operator's, but may be any file: every header is checked.
 */
#ifndef CAISSON_BOOT_KERNEL_H
#define CAISSON_BOOT_KERNEL_H

#include <elf.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/error.h"

#define KERNEL_PHDRS_MAX 32u

struct kernel_file {
	int fd;
	unsigned int n;
	Elf64_Phdr phdrs[KERNEL_PHDRS_MAX];
};

/* ENOEXEC: it is no such file.  On error nothing is left behind. */
int kernel_open(const char *path, struct kernel_file *ret, struct error *err);
void kernel_close(struct kernel_file *k);

/* The first `size` bytes of the description of a note: 1 when there is one of that name and type
 * (and size, or longer), else 0. */
int kernel_note(const struct kernel_file *k, const char *name, uint32_t type, void *ret,
		size_t size, struct error *err);

/*
 * Reads a part of a file to where the guest will have it, which is all zeros.  The pages are made
 * all at once, which takes a third of the time that faults, one by one under read(2), take; a
 * kernel that cannot (before 5.14) makes them then.
 */
int kernel_read(int fd, void *to, uint64_t size, uint64_t at, struct error *err);

#endif
