// SPDX-License-Identifier: Apache-2.0
#include "vmm/boot/pvh.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/cleanup.h"

#define START_INFO_AT 0x6000u
#define MODULE_AT (START_INFO_AT + sizeof(struct start_info))
#define MEMMAP_AT 0x7000u
#define CMDLINE_AT 0x8000u

#define START_INFO_MAGIC 0x336ec578u
#define START_INFO_VERSION 1u /* with a memory map */
#define NOTE_NAME "Xen"
#define NOTE_PHYS32_ENTRY 18u

#define PHDRS_MAX 32u
#define NOTES_SIZE_MAX 4096u
#define PAGE 4096u

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

struct start_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modlist, cmdline, rsdp;
	uint64_t memmap;
	uint32_t memmap_n, reserved;
};

struct module {
	uint64_t at, size, cmdline, reserved;
};

enum { MEMMAP_RAM = 1, MEMMAP_RESERVED = 2 };

struct memmap_entry {
	uint64_t at, size;
	uint32_t type, reserved;
};

static int read_exactly(int fd, void *buf, uint64_t size, uint64_t at)
{
	while (size) {
		ssize_t n = pread(fd, buf, size, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ENODATA;
		buf = (uint8_t *)buf + n;
		at += (uint64_t)n;
		size -= (uint64_t)n;
	}
	return 0;
}

static int read_or_say(int fd, void *buf, uint64_t size, uint64_t at, struct error *err)
{
	int rc = read_exactly(fd, buf, size, at);

	if (rc == -ENODATA)
		return error_set(err, ENOEXEC, "the file is cut off");
	return rc < 0 ? error_set(err, -rc, "read: %s", strerror(-rc)) : 0;
}

/*
 * Reads a part of a file to where the guest will have it.  The pages are made all at once, which
 * takes a third of the time that faults, one by one under read(2), take; a kernel that cannot
 * (before 5.14) makes them then.
 */
static int read_to_guest(int fd, uint8_t *to, uint64_t size, uint64_t at, struct error *err)
{
	uint8_t *page = (uint8_t *)((uintptr_t)to & ~(uintptr_t)(PAGE - 1));

	if (size)
		madvise(page, (size_t)(to - page) + size, MADV_POPULATE_WRITE);
	return read_or_say(fd, to, size, at, err);
}

static int load_segment(const struct mem *mem, int fd, const Elf64_Phdr *p, uint64_t *ret_end,
			struct error *err)
{
	uint8_t *to;

	if (p->p_memsz == 0)
		return 0;
	to = mem_at(mem, GPA(p->p_paddr), p->p_memsz);
	if (p->p_filesz > p->p_memsz || p->p_paddr < BOOT_HIGH_START || !to)
		return error_set(err, ENOMEM,
				 "a segment of %llu bytes at 0x%llx is not within the memory",
				 (unsigned long long)p->p_memsz, (unsigned long long)p->p_paddr);
	if (p->p_paddr + p->p_memsz > *ret_end)
		*ret_end = p->p_paddr + p->p_memsz;
	return read_to_guest(fd, to, p->p_filesz, p->p_offset, err); /* the rest is zero already */
}

/* Looks for the entry point in a segment of notes; 0 when it is not there. */
static uint32_t find_entry(const uint8_t *notes, size_t size)
{
	size_t at = 0;

	while (size - at >= sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr n;
		size_t name, desc, rest;
		uint32_t entry;

		memcpy(&n, notes + at, sizeof(n));
		at += sizeof(n);
		rest = size - at;
		name = ((size_t)n.n_namesz + 3) & ~(size_t)3;
		desc = ((size_t)n.n_descsz + 3) & ~(size_t)3;
		if (name > rest || desc > rest - name)
			return 0;
		if (n.n_type == NOTE_PHYS32_ENTRY && n.n_namesz == sizeof(NOTE_NAME) &&
		    memcmp(notes + at, NOTE_NAME, sizeof(NOTE_NAME)) == 0 &&
		    desc >= sizeof(entry)) {
			memcpy(&entry, notes + at + name, sizeof(entry));
			return entry;
		}
		at += name + desc;
	}
	return 0;
}

static int read_headers(int fd, Elf64_Phdr *ret, unsigned int *ret_n, struct error *err)
{
	Elf64_Ehdr e;

	if (read_or_say(fd, &e, sizeof(e), 0, err) < 0)
		return -err->code;
	if (memcmp(e.e_ident, ELFMAG, SELFMAG) != 0 || e.e_ident[EI_CLASS] != ELFCLASS64 ||
	    e.e_machine != EM_X86_64 || e.e_phentsize != sizeof(*ret) || e.e_phnum > PHDRS_MAX)
		return error_set(
			err, ENOEXEC,
			"not an x86-64 ELF kernel (vmlinux, not bzImage, is what it takes)");
	*ret_n = e.e_phnum;
	return read_or_say(fd, ret, e.e_phnum * sizeof(*ret), e.e_phoff, err);
}

static int read_entry(int fd, const Elf64_Phdr *phdrs, unsigned int n, uint64_t *ret,
		      struct error *err)
{
	uint8_t notes[NOTES_SIZE_MAX];

	*ret = 0;
	for (unsigned int i = 0; i < n && !*ret; i++) {
		const Elf64_Phdr *p = &phdrs[i];

		if (p->p_type != PT_NOTE || p->p_filesz > sizeof(notes))
			continue;
		if (read_or_say(fd, notes, p->p_filesz, p->p_offset, err) < 0)
			return -err->code;
		*ret = find_entry(notes, p->p_filesz);
	}
	return *ret ? 0 : error_set(err, ENOEXEC, "it has no PVH entry point (CONFIG_PVH)");
}

static int load_kernel(const struct mem *mem, int fd, uint64_t *ret_end, uint64_t *ret_entry,
		       struct error *err)
{
	Elf64_Phdr phdrs[PHDRS_MAX];
	unsigned int n = 0;

	*ret_end = 0;
	if (read_headers(fd, phdrs, &n, err) < 0 || read_entry(fd, phdrs, n, ret_entry, err) < 0)
		return -err->code;
	for (unsigned int i = 0; i < n; i++)
		if (phdrs[i].p_type == PT_LOAD &&
		    load_segment(mem, fd, &phdrs[i], ret_end, err) < 0)
			return -err->code;
	return 0;
}

/* The initramfs goes to the end of low memory, away from where the kernel grows. */
static int load_initrd(const struct mem *mem, int fd, uint64_t kernel_end, struct module *ret,
		       struct error *err)
{
	const uint64_t low_end = mem->regions[0].size;
	struct stat st;
	uint64_t size;

	if (fstat(fd, &st) < 0)
		return error_errno(err, "fstat");
	size = (uint64_t)st.st_size;
	if (size > low_end || kernel_end > low_end - size)
		return error_set(err, ENOMEM, "its %llu bytes do not fit beside the kernel",
				 (unsigned long long)size);
	ret->at = (low_end - size) & ~(uint64_t)(PAGE - 1);
	ret->size = size;
	if (ret->at < kernel_end)
		return error_set(err, ENOMEM, "it does not fit beside the kernel");
	return size ? read_to_guest(fd, mem_at(mem, GPA(ret->at), size), size, 0, err) : 0;
}

static int load_files(const struct mem *mem, const char *kernel, const char *initrd,
		      uint64_t *ret_entry, struct module *ret_module, struct error *err)
{
	_cleanup_close_ int kernel_fd = open(kernel, O_RDONLY | O_CLOEXEC), initrd_fd = -1;
	uint64_t end;

	if (kernel_fd < 0)
		return error_errno(err, "the kernel '%s'", kernel);
	if (load_kernel(mem, kernel_fd, &end, ret_entry, err) < 0)
		return error_wrap(err, "the kernel '%s'", kernel);
	if (!initrd)
		return 0;
	initrd_fd = open(initrd, O_RDONLY | O_CLOEXEC);
	if (initrd_fd < 0)
		return error_errno(err, "the initramfs '%s'", initrd);
	if (load_initrd(mem, initrd_fd, end, ret_module, err) < 0)
		return error_wrap(err, "the initramfs '%s'", initrd);
	return 0;
}

/* RAM of the machine as the kernel sees it.  Returns the number of entries. */
static uint32_t memory_map(const struct mem *mem, struct memmap_entry *e)
{
	uint32_t n = 0;

	e[n++] = (struct memmap_entry){.at = 0, .size = BOOT_LOW_END, .type = MEMMAP_RAM};
	e[n++] = (struct memmap_entry){.at = BOOT_LOW_END,
				       .size = BOOT_HIGH_START - BOOT_LOW_END,
				       .type = MEMMAP_RESERVED};
	/* What it may grow into is not there yet. */
	for (unsigned int i = 0; i < mem->regions_n - mem->grows; i++) {
		uint64_t at = mem->regions[i].base.v, skip = at ? 0 : BOOT_HIGH_START;

		e[n++] = (struct memmap_entry){.at = at + skip,
					       .size = mem->regions[i].size - skip,
					       .type = MEMMAP_RAM};
	}
	return n;
}

static int write_start_info(const struct mem *mem, const char *cmdline, const struct module *module)
{
	struct memmap_entry map[2 + MEM_REGIONS_MAX];
	struct start_info s = {
		.magic = START_INFO_MAGIC,
		.version = START_INFO_VERSION,
		.nr_modules = module->size ? 1 : 0,
		.modlist = module->size ? MODULE_AT : 0,
		.cmdline = CMDLINE_AT,
		.memmap = MEMMAP_AT,
		.memmap_n = memory_map(mem, map),
	};

	if (mem_write(mem, GPA(START_INFO_AT), &s, sizeof(s)) < 0 ||
	    mem_write(mem, GPA(MODULE_AT), module, sizeof(*module)) < 0 ||
	    mem_write(mem, GPA(MEMMAP_AT), map, s.memmap_n * sizeof(*map)) < 0 ||
	    mem_write(mem, GPA(CMDLINE_AT), cmdline, strlen(cmdline) + 1) < 0)
		return -EFAULT;
	return 0;
}

int pvh_load(const struct mem *mem, const char *kernel, const char *initrd, const char *cmdline,
	     struct pvh_entry *ret, struct error *err)
{
	struct module module = {0};

	if (mem->regions[0].size <= BOOT_HIGH_START)
		return error_set(err, ENOMEM, "%llu bytes of memory are too few to boot in",
				 (unsigned long long)mem->size);
	if (strlen(cmdline) >= PVH_CMDLINE_MAX)
		return error_set(err, E2BIG, "the kernel's command line is longer than %u bytes",
				 PVH_CMDLINE_MAX - 1);
	if (load_files(mem, kernel, initrd, &ret->rip, &module, err) < 0)
		return -err->code;
	if (write_start_info(mem, cmdline, &module) < 0)
		return error_set(err, ENOMEM, "there is no memory where boot data go");
	ret->start_info = GPA(START_INFO_AT);
	return 0;
}
