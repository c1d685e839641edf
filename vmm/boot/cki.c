// SPDX-License-Identifier: Apache-2.0
#include "vmm/boot/cki.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

#include "kmod/rules.h"
#include "kmod/uapi/caisson.h"
#include "kmod/uapi/caisson_boot.h"
#include "lib/cleanup.h"
#include "vmm/boot/kernel.h"

#define PAGE 4096ull
#define BLOCK (1ull << CAISSON_BLOCK_SHIFT)
#define IMAGE_SIZE_MAX (256ull << 20)

#define TABLE (CAISSON_PTE_P | CAISSON_PTE_W | CAISSON_PTE_A)
#define LEAF (CAISSON_PTE_P | CAISSON_PTE_PS | CAISSON_PTE_A)
#define WRITABLE (CAISSON_PTE_W | CAISSON_PTE_D)

struct loader {
	const struct cki_memory *mem;
	uint32_t *order;  /* indices of DATA blocks by rising physical address */
	uint64_t *tables; /* physical addresses of TABLE blocks, rising */
	uint64_t tables_used;
	struct caisson_boot_note note;
	struct caisson_boot boot;
	uint64_t end; /* first physical address behind what was placed in one piece */
	uint64_t root;
};

/* --- Memory --- */

static uint64_t block_at(const struct loader *l, uint32_t i)
{
	return l->mem->blocks[l->order[i]];
}

/* Where a physical address of a DATA block is for us, and how many bytes the block has from there;
 * NULL: it is none of ours. */
static uint8_t *host_at(const struct loader *l, uint64_t physical, uint64_t *ret_n)
{
	uint32_t low = 0, high = l->mem->blocks_n;

	while (low < high) {
		const uint32_t middle = low + (high - low) / 2;

		if (block_at(l, middle) <= physical)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0 || physical - block_at(l, low - 1) >= BLOCK)
		return NULL;
	*ret_n = BLOCK - (physical - block_at(l, low - 1));
	return l->mem->host + l->order[low - 1] * BLOCK + (BLOCK - *ret_n);
}

static int write_bytes(const struct loader *l, uint64_t to, const void *from, uint64_t size)
{
	while (size) {
		uint64_t n;
		uint8_t *at = host_at(l, to, &n);

		if (!at)
			return -EFAULT;
		n = n < size ? n : size;
		memcpy(at, from, n);
		from = (const uint8_t *)from + n;
		to += n;
		size -= n;
	}
	return 0;
}

/* Part of a file to a physical address. */
static int read_file(const struct loader *l, int fd, uint64_t to, uint64_t size, uint64_t at,
		     struct error *err)
{
	while (size) {
		uint64_t n;
		uint8_t *host = host_at(l, to, &n);

		if (!host)
			return error_set(err, ENOMEM, "0x%llx is not within the memory",
					 (unsigned long long)to);
		n = n < size ? n : size;
		if (kernel_read(fd, host, n, at, err) < 0)
			return -err->code;
		to += n;
		at += n;
		size -= n;
	}
	return 0;
}

/* The first block, by address and not below `from`, that `n` blocks follow each other from. */
static int run_find(const struct loader *l, uint64_t from, uint64_t n, uint64_t *ret)
{
	uint64_t length = 0;

	for (uint32_t i = 0; i < l->mem->blocks_n; i++) {
		if (block_at(l, i) < from)
			continue;
		length = length && block_at(l, i) == block_at(l, i - 1) + BLOCK ? length + 1 : 1;
		if (length == n) {
			*ret = block_at(l, i) - (n - 1) * BLOCK;
			return 0;
		}
	}
	return -ENOMEM;
}

/* `size` bytes in one piece, from a block on, behind all pieces before. */
static int piece(struct loader *l, uint64_t size, const char *what, uint64_t *ret,
		 struct error *err)
{
	const uint64_t n = (size + BLOCK - 1) / BLOCK;

	if (run_find(l, l->end, n, ret) < 0)
		return error_set(err, ENOMEM,
				 "%s needs %llu blocks of 2 MiB that follow each other in the "
				 "host's memory, and there are none",
				 what, (unsigned long long)n);
	l->end = *ret + n * BLOCK;
	return 0;
}

/* Rising order, of a few thousand at most and mostly sorted already. */
static void sort_tables(uint64_t *v, uint32_t n)
{
	for (uint32_t i = 1; i < n; i++)
		for (uint32_t j = i; j > 0 && v[j - 1] > v[j]; j--) {
			const uint64_t swap = v[j];

			v[j] = v[j - 1];
			v[j - 1] = swap;
		}
}

static void sort_blocks(const uint64_t *blocks, uint32_t *v, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		v[i] = i;
	/* Shell's: the order of a file's blocks may be the reverse of the memory's. */
	for (uint32_t gap = n / 2; gap; gap = gap / 2)
		for (uint32_t i = gap; i < n; i++) {
			const uint32_t x = v[i];
			uint32_t j = i;

			for (; j >= gap && blocks[v[j - gap]] > blocks[x]; j -= gap)
				v[j] = v[j - gap];
			v[j] = x;
		}
}

/* --- The kernel's file --- */

static int note_check(const struct caisson_boot_note *n, struct error *err)
{
	if (n->protocol != CAISSON_BOOT_PROTOCOL)
		return error_set(err, ENOEXEC, "its boot protocol is %u, ours %u", n->protocol,
				 CAISSON_BOOT_PROTOCOL);
	if (n->image % BLOCK || n->image_virtual % BLOCK || !n->image_size ||
	    n->image_size > IMAGE_SIZE_MAX)
		return error_set(err, ENOEXEC, "its image of %llu bytes at 0x%llx cannot be",
				 (unsigned long long)n->image_size, (unsigned long long)n->image);
	return 0;
}

static int note_read(struct loader *l, const struct kernel_file *k, struct error *err)
{
	int rc = kernel_note(k, CAISSON_NOTE_NAME, CAISSON_NOTE_ENTRY, &l->note, sizeof(l->note),
			     err);

	if (rc < 0)
		return rc;
	if (rc == 0)
		return error_set(err, ENOEXEC,
				 "it has no entry point for ring 1 (CONFIG_CAISSON_GUEST)");
	return note_check(&l->note, err);
}

static int segment_load(const struct loader *l, int fd, const Elf64_Phdr *p, struct error *err)
{
	const uint64_t offset = p->p_paddr - l->note.image;

	if (p->p_paddr < l->note.image || p->p_filesz > p->p_memsz ||
	    p->p_memsz > l->note.image_size || offset > l->note.image_size - p->p_memsz)
		return error_set(err, ENOEXEC,
				 "a segment of %llu bytes at 0x%llx is not in its image",
				 (unsigned long long)p->p_memsz, (unsigned long long)p->p_paddr);
	return read_file(l, fd, l->boot.image + offset, p->p_filesz, p->p_offset, err);
}

static int image_load(struct loader *l, const struct kernel_file *k, struct error *err)
{
	uint64_t image = 0;

	if (note_read(l, k, err) < 0 || piece(l, l->note.image_size, "its image", &image, err) < 0)
		return -err->code;
	l->boot.image = image;
	for (unsigned int i = 0; i < k->n; i++)
		if (k->phdrs[i].p_type == PT_LOAD && segment_load(l, k->fd, &k->phdrs[i], err) < 0)
			return -err->code;
	return 0;
}

static int kernel_load(struct loader *l, const char *path, struct error *err)
{
	struct kernel_file k;
	int rc = kernel_open(path, &k, err);

	if (rc == 0) {
		rc = image_load(l, &k, err);
		kernel_close(&k);
	}
	return rc < 0 ? error_wrap(err, "the kernel '%s'", path) : 0;
}

static int initrd_load(struct loader *l, int fd, struct error *err)
{
	struct stat st;
	uint64_t at;

	if (fstat(fd, &st) < 0)
		return error_errno(err, "fstat");
	if (st.st_size == 0)
		return 0;
	if (piece(l, (uint64_t)st.st_size, "it", &at, err) < 0)
		return -err->code;
	l->boot.initrd = at;
	l->boot.initrd_size = (uint64_t)st.st_size;
	return read_file(l, fd, at, (uint64_t)st.st_size, 0, err);
}

static int files_load(struct loader *l, const struct cki_guest *guest, struct error *err)
{
	_cleanup_close_ int initrd = -1;

	if (kernel_load(l, guest->kernel, err) < 0)
		return -err->code;
	if (!guest->initrd)
		return 0;
	initrd = open(guest->initrd, O_RDONLY | O_CLOEXEC);
	if (initrd < 0)
		return error_errno(err, "the initramfs '%s'", guest->initrd);
	if (initrd_load(l, initrd, err) < 0)
		return error_wrap(err, "the initramfs '%s'", guest->initrd);
	return 0;
}

/* --- Page tables --- */

/* The tables that were made last on the way down from the root: addresses rise, so they do. */
struct path {
	uint64_t covers[4]; /* by level - 1: address >> what it covers, plus 1; 0: none */
	uint64_t table[4];
};

static int operate(const struct loader *l, uint64_t call, uint64_t a, uint64_t b, struct error *err)
{
	struct caisson_operation op = {.call = call, .a = a, .b = b};

	if (ioctl(l->mem->fd, CAISSON_OPERATE, &op) < 0)
		return error_errno(err, "page-table operation %llu (0x%llx, 0x%llx)",
				   (unsigned long long)call, (unsigned long long)a,
				   (unsigned long long)b);
	return 0;
}

static int table_new(struct loader *l, uint64_t level, uint64_t *ret, struct error *err)
{
	const uint64_t n = l->tables_used, block = n / CAISSON_BLOCK_FRAMES;

	if (block >= l->mem->tables_n)
		return error_set(err, ENOMEM, "%u blocks for page tables are too few",
				 l->mem->tables_n);
	*ret = l->tables[block] + n % CAISSON_BLOCK_FRAMES * PAGE;
	l->tables_used++;
	return operate(l, CAISSON_CALL_TABLE_NEW, *ret, level, err);
}

/* A leaf of level 2 at a linear address, with the tables it needs. */
static int map(struct loader *l, struct path *path, uint64_t address, uint64_t value,
	       struct error *err)
{
	uint64_t table = l->root;

	for (unsigned int level = 4; level > 2; level--) {
		const unsigned int shift = 12 + 9 * (level - 1);
		const uint64_t covers = (address >> shift) + 1;
		const uint64_t entry = table + (address >> shift & 511) * 8;

		if (path->covers[level - 1] != covers) {
			uint64_t next;

			if (table_new(l, level - 1, &next, err) < 0 ||
			    operate(l, CAISSON_CALL_ENTRY_SET, entry, next | TABLE, err) < 0)
				return -err->code;
			path->covers[level - 1] = covers;
			path->table[level - 1] = next;
		}
		table = path->table[level - 1];
	}
	return operate(l, CAISSON_CALL_ENTRY_SET, table + (address >> 21 & 511) * 8, value, err);
}

/* DATA and TABLE blocks, merged by rising address, so that no table is made twice. */
static int map_direct(struct loader *l, struct path *path, struct error *err)
{
	uint32_t i = 0, j = 0;

	while (i < l->mem->blocks_n || j < l->mem->tables_n) {
		const bool data = j == l->mem->tables_n ||
				  (i < l->mem->blocks_n && block_at(l, i) < l->tables[j]);
		const uint64_t at = data ? block_at(l, i++) : l->tables[j++];
		const uint64_t value = at | LEAF | CAISSON_PTE_NX | (data ? WRITABLE : 0);

		if (map(l, path, CAISSON_DIRECT + at, value, err) < 0)
			return -err->code;
	}
	return 0;
}

static int map_all(struct loader *l, struct error *err)
{
	struct path path = {0};

	if (table_new(l, 4, &l->root, err) < 0 || map_direct(l, &path, err) < 0)
		return -err->code;
	for (uint64_t at = 0; at < l->note.image_size; at += BLOCK)
		if (map(l, &path, l->note.image_virtual + at,
			(l->boot.image + at) | LEAF | WRITABLE, err) < 0)
			return -err->code;
	return 0;
}

/* --- The boot area --- */

/* Blocks by rising address, as runs.  -E2BIG: too many. */
static int runs_fill(struct caisson_boot_run *runs, uint32_t *n, const uint64_t *blocks,
		     const uint32_t *order, uint32_t blocks_n)
{
	*n = 0;
	for (uint32_t i = 0; i < blocks_n; i++) {
		const uint64_t at = blocks[order ? order[i] : i];

		if (*n && runs[*n - 1].physical + runs[*n - 1].size == at) {
			runs[*n - 1].size += BLOCK;
			continue;
		}
		if (*n == CAISSON_BOOT_RUNS)
			return -E2BIG;
		runs[(*n)++] = (struct caisson_boot_run){.physical = at, .size = BLOCK};
	}
	return 0;
}

static void boot_time(struct caisson_boot *boot)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
#if defined(__x86_64__)
	boot->wall_tsc = __rdtsc();
#endif
	boot->wall_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int boot_write(struct loader *l, const struct cki_guest *guest, uint64_t at,
		      struct error *err)
{
	struct caisson_boot *b = &l->boot;
	const uint32_t offset = sizeof(*b);
	struct caisson_boot_run runs[2 * CAISSON_BOOT_RUNS];
	const uint64_t cmdline = at + CAISSON_BOOT_SIZE;

	if (runs_fill(runs, &b->data.n, l->mem->blocks, l->order, l->mem->blocks_n) < 0 ||
	    runs_fill(runs + b->data.n, &b->tables.n, l->tables, NULL, l->mem->tables_n) < 0 ||
	    (b->data.n + b->tables.n) * sizeof(*runs) > CAISSON_BOOT_SIZE - offset)
		return error_set(
			err, E2BIG,
			"the sandbox's memory is in more pieces than its kernel can be told of");
	b->protocol = CAISSON_BOOT_PROTOCOL;
	b->size = sizeof(*b);
	b->root = l->root;
	b->cmdline = cmdline;
	b->tsc_khz = guest->tsc_khz;
	b->vcpus = guest->vcpus;
	b->tables_used = (uint32_t)l->tables_used;
	b->data.offset = offset;
	b->tables.offset = offset + b->data.n * (uint32_t)sizeof(*runs);
	boot_time(b);
	if (write_bytes(l, at, b, sizeof(*b)) < 0 ||
	    write_bytes(l, at + offset, runs, (b->data.n + b->tables.n) * sizeof(*runs)) < 0 ||
	    write_bytes(l, cmdline, guest->cmdline, strlen(guest->cmdline) + 1) < 0)
		return error_set(err, ENOMEM, "there is no memory for the boot area");
	return 0;
}

uint32_t cki_table_blocks(uint32_t blocks)
{
	return 3 + blocks / 16;
}

static int load(struct loader *l, const struct cki_guest *guest, struct cki_entry *ret,
		struct error *err)
{
	uint64_t area;

	if (files_load(l, guest, err) < 0 || map_all(l, err) < 0 ||
	    piece(l, CAISSON_BOOT_SIZE + PAGE, "the boot area", &area, err) < 0 ||
	    boot_write(l, guest, area, err) < 0)
		return -err->code;
	*ret = (struct cki_entry){.rip = l->note.entry,
				  .rdi = CAISSON_DIRECT + area,
				  .root = l->root};
	return 0;
}

int cki_load(const struct cki_memory *mem, const struct cki_guest *guest, struct cki_entry *ret,
	     struct error *err)
{
	_cleanup_free_ uint32_t *order = calloc(mem->blocks_n, sizeof(*order));
	_cleanup_free_ uint64_t *tables = calloc(mem->tables_n, sizeof(*tables));
	struct loader l = {.mem = mem, .order = order, .tables = tables};

	if (strlen(guest->cmdline) >= CKI_CMDLINE_MAX)
		return error_set(err, E2BIG, "the kernel's command line is longer than %u bytes",
				 CKI_CMDLINE_MAX - 1);
	if (!order || !tables)
		return error_set(err, ENOMEM, "out of memory");
	sort_blocks(mem->blocks, order, mem->blocks_n);
	memcpy(tables, mem->tables, mem->tables_n * sizeof(*tables));
	sort_tables(tables, mem->tables_n);
	return load(&l, guest, ret, err);
}
