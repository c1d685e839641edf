// SPDX-License-Identifier: Apache-2.0
#include "vmm/boot/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/cleanup.h"

#define NOTES_SIZE_MAX 4096u
#define PAGE 4096u

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

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

int kernel_read(int fd, void *to, uint64_t size, uint64_t at, struct error *err)
{
	uint8_t *page = (uint8_t *)((uintptr_t)to & ~(uintptr_t)(PAGE - 1));

	if (size)
		madvise(page, (size_t)((uint8_t *)to - page) + size, MADV_POPULATE_WRITE);
	return read_or_say(fd, to, size, at, err);
}

static int read_headers(struct kernel_file *k, struct error *err)
{
	Elf64_Ehdr e;

	if (read_or_say(k->fd, &e, sizeof(e), 0, err) < 0)
		return -err->code;
	if (memcmp(e.e_ident, ELFMAG, SELFMAG) != 0 || e.e_ident[EI_CLASS] != ELFCLASS64 ||
	    e.e_machine != EM_X86_64 || e.e_phentsize != sizeof(k->phdrs[0]) ||
	    e.e_phnum > KERNEL_PHDRS_MAX)
		return error_set(
			err, ENOEXEC,
			"not an x86-64 ELF kernel (vmlinux, not bzImage, is what it takes)");
	k->n = e.e_phnum;
	return read_or_say(k->fd, k->phdrs, e.e_phnum * sizeof(k->phdrs[0]), e.e_phoff, err);
}

int kernel_open(const char *path, struct kernel_file *ret, struct error *err)
{
	*ret = (struct kernel_file){.fd = open(path, O_RDONLY | O_CLOEXEC)};
	if (ret->fd < 0)
		return error_errno(err, "open");
	if (read_headers(ret, err) < 0) {
		kernel_close(ret);
		return -err->code;
	}
	return 0;
}

void kernel_close(struct kernel_file *k)
{
	cleanup_close(&k->fd);
	k->fd = -1;
}

/* Looks for a note in a segment of them: its description, or NULL. */
static const uint8_t *find_note(const uint8_t *notes, size_t size, const char *wanted,
				uint32_t type, size_t desc_size)
{
	const size_t wanted_size = strlen(wanted) + 1;
	size_t at = 0;

	while (size - at >= sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr n;
		size_t name, desc, rest;

		memcpy(&n, notes + at, sizeof(n));
		at += sizeof(n);
		rest = size - at;
		name = ((size_t)n.n_namesz + 3) & ~(size_t)3;
		desc = ((size_t)n.n_descsz + 3) & ~(size_t)3;
		if (name > rest || desc > rest - name)
			return NULL;
		if (n.n_type == type && n.n_namesz == wanted_size &&
		    memcmp(notes + at, wanted, wanted_size) == 0 && n.n_descsz >= desc_size)
			return notes + at + name;
		at += name + desc;
	}
	return NULL;
}

int kernel_note(const struct kernel_file *k, const char *name, uint32_t type, void *ret,
		size_t size, struct error *err)
{
	uint8_t notes[NOTES_SIZE_MAX];

	for (unsigned int i = 0; i < k->n; i++) {
		const Elf64_Phdr *p = &k->phdrs[i];
		const uint8_t *found;

		if (p->p_type != PT_NOTE || p->p_filesz > sizeof(notes))
			continue;
		if (read_or_say(k->fd, notes, p->p_filesz, p->p_offset, err) < 0)
			return -err->code;
		found = find_note(notes, p->p_filesz, name, type, size);
		if (found) {
			memcpy(ret, found, size);
			return 1;
		}
	}
	return 0;
}
