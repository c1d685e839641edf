// SPDX-License-Identifier: Apache-2.0
#include "vmm/boot/pvh.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "vmm/boot/kernel.h"

#define START_INFO_AT 0x6000u
#define MODULE_AT (START_INFO_AT + sizeof(struct start_info))
#define MEMMAP_AT 0x7000u
#define CMDLINE_AT 0x8000u

#define START_INFO_MAGIC 0x336ec578u
#define START_INFO_VERSION 1u /* with a memory map */
#define NOTE_NAME "Xen"
#define NOTE_PHYS32_ENTRY 18u

#define PAGE 4096u

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
	return kernel_read(fd, to, p->p_filesz, p->p_offset, err); /* the rest is zero already */
}

static int load_kernel(const struct mem *mem, const struct kernel_file *k, uint64_t *ret_end,
		       uint64_t *ret_entry, struct error *err)
{
	uint32_t entry = 0;

	*ret_end = 0;
	if (kernel_note(k, NOTE_NAME, NOTE_PHYS32_ENTRY, &entry, sizeof(entry), err) < 0)
		return -err->code;
	if (!entry)
		return error_set(err, ENOEXEC, "it has no PVH entry point (CONFIG_PVH)");
	*ret_entry = entry;
	for (unsigned int i = 0; i < k->n; i++)
		if (k->phdrs[i].p_type == PT_LOAD &&
		    load_segment(mem, k->fd, &k->phdrs[i], ret_end, err) < 0)
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
	return size ? kernel_read(fd, mem_at(mem, GPA(ret->at), size), size, 0, err) : 0;
}

static int load_files(const struct mem *mem, const char *kernel, const char *initrd,
		      uint64_t *ret_entry, struct module *ret_module, struct error *err)
{
	_cleanup_close_ int initrd_fd = -1;
	struct kernel_file k;
	uint64_t end = 0;
	int rc = kernel_open(kernel, &k, err);

	if (rc == 0) {
		rc = load_kernel(mem, &k, &end, ret_entry, err);
		kernel_close(&k);
	}
	if (rc < 0)
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
