// SPDX-License-Identifier: Apache-2.0
#include "vmm/cki/boot.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <x86intrin.h>

#include "kmod/rules.h"
#include "kmod/uapi/caisson_boot.h"
#include "lib/cleanup.h"
#include "vmm/boot/kernel.h"

#define PAGE 4096u
#define CMDLINE_MAX 2048u /* with the NUL: what the kernel takes (COMMAND_LINE_SIZE) */
/* Tables of levels 3 and 2 that are made: a level 2 to a GiB that has memory. */
#define TABLES_MAX 512u

#define TABLE (CAISSON_PTE_P | CAISSON_PTE_W | CAISSON_PTE_A)
#define LEAF_READ (CAISSON_PTE_P | CAISSON_PTE_A | CAISSON_PTE_PS | CAISSON_PTE_NX)
#define LEAF_DATA (LEAF_READ | CAISSON_PTE_W | CAISSON_PTE_D)
#define LEAF_IMAGE (LEAF_DATA & ~CAISSON_PTE_NX)

/* Physical memory that is not given to anything yet. */
struct run {
	uint64_t at, size;
};

struct loader {
	struct cki_sandbox *s;
	const struct mem *mem;
	const struct cki_boot *b;
	struct caisson_boot_note note;
	struct run runs[MEM_REGIONS_MAX]; /* what is left of them */
	unsigned int runs_n;
	uint64_t image, initrd, initrd_size, page;
	struct {
		unsigned int level;
		uint64_t address; /* the first that it translates */
		uint64_t table;
	} tables[TABLES_MAX];
	unsigned int tables_n;
	uint64_t root;
};

/* --- What goes where ---------------------------------------------------------------------------*/

static uint64_t round_up(uint64_t n, uint64_t to)
{
	return (n + to - 1) / to * to;
}

static void find_runs(struct loader *l)
{
	for (unsigned int i = 0; i < l->mem->regions_n; i++) {
		const struct mem_region *r = &l->mem->regions[i];
		struct run *last = l->runs_n ? &l->runs[l->runs_n - 1] : NULL;

		if (last && last->at + last->size == r->base.v)
			last->size += r->size;
		else
			l->runs[l->runs_n++] = (struct run){r->base.v, r->size};
	}
}

/* So many bytes, in whole blocks, from the start of the smallest run that has them. */
static int take(struct loader *l, uint64_t size, const char *what, uint64_t *ret, struct error *err)
{
	struct run *best = NULL;

	size = round_up(size, MEM_BLOCK);
	for (unsigned int i = 0; i < l->runs_n; i++)
		if (l->runs[i].size >= size && (!best || l->runs[i].size < best->size))
			best = &l->runs[i];
	if (!best)
		return error_set(err, ENOMEM,
				 "the memory has no piece of %llu MiB left, in the host's physical "
				 "memory, for %s",
				 (unsigned long long)(size >> 20), what);
	*ret = best->at;
	best->at += size;
	best->size -= size;
	return 0;
}

/* --- Kernel and initramfs ----------------------------------------------------------------------*/

static int read_note(const struct kernel_file *k, struct caisson_boot_note *ret, struct error *err)
{
	int rc = kernel_note(k, CAISSON_NOTE_NAME, CAISSON_NOTE_ENTRY, ret, sizeof(*ret), err);

	if (rc < 0)
		return rc;
	if (rc == 0)
		return error_set(err, ENOEXEC, "it has no entry point for ring 1");
	if (ret->protocol != CAISSON_BOOT_PROTOCOL)
		return error_set(err, ENOEXEC,
				 "its boot protocol for ring 1 is version %u, this build's %u",
				 ret->protocol, CAISSON_BOOT_PROTOCOL);
	if (ret->image % MEM_BLOCK || ret->image_virtual % MEM_BLOCK ||
	    ret->image_virtual < CAISSON_DIRECT || ret->image_size == 0 ||
	    ret->image_size > 1ull << 30 ||
	    ret->image_virtual + ret->image_size < ret->image_virtual)
		return error_set(err, ENOEXEC, "its note for ring 1 is malformed");
	return 0;
}

static int load_segment(const struct loader *l, const struct kernel_file *k, const Elf64_Phdr *p,
			struct error *err)
{
	const uint64_t offset = p->p_paddr - l->note.image;
	void *to;

	if (p->p_memsz == 0)
		return 0;
	if (p->p_filesz > p->p_memsz || p->p_memsz > l->note.image_size ||
	    offset > l->note.image_size - p->p_memsz)
		return error_set(err, ENOEXEC,
				 "a segment of %llu bytes at 0x%llx is not in its image",
				 (unsigned long long)p->p_memsz, (unsigned long long)p->p_paddr);
	to = mem_at(l->mem, GPA(l->image + offset), p->p_memsz);
	if (!to)
		return error_set(err, EIO, "the image is not in memory");
	return kernel_read(k->fd, to, p->p_filesz, p->p_offset, err); /* the rest is zero already */
}

static int load_image(struct loader *l, const struct kernel_file *k, struct error *err)
{
	if (read_note(k, &l->note, err) < 0 ||
	    take(l, l->note.image_size, "it", &l->image, err) < 0)
		return -err->code;
	for (unsigned int i = 0; i < k->n; i++)
		if (k->phdrs[i].p_type == PT_LOAD && load_segment(l, k, &k->phdrs[i], err) < 0)
			return -err->code;
	return 0;
}

static int load_kernel(struct loader *l, struct error *err)
{
	struct kernel_file k;
	int rc = kernel_open(l->b->kernel, &k, err);

	if (rc == 0) {
		rc = load_image(l, &k, err);
		kernel_close(&k);
	}
	return rc < 0 ? error_wrap(err, "the kernel '%s'", l->b->kernel) : 0;
}

static int read_initrd(struct loader *l, int fd, struct error *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return error_errno(err, "fstat");
	l->initrd_size = (uint64_t)st.st_size;
	if (l->initrd_size == 0)
		return 0;
	if (take(l, l->initrd_size, "it", &l->initrd, err) < 0)
		return -err->code;
	return kernel_read(fd, mem_at(l->mem, GPA(l->initrd), l->initrd_size), l->initrd_size, 0,
			   err);
}

static int load_initrd(struct loader *l, struct error *err)
{
	_cleanup_close_ int fd = -1;

	if (!l->b->initrd)
		return 0;
	fd = open(l->b->initrd, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return error_errno(err, "the initramfs '%s'", l->b->initrd);
	return read_initrd(l, fd, err) < 0 ? error_wrap(err, "the initramfs '%s'", l->b->initrd)
					   : 0;
}

/* --- Page tables -------------------------------------------------------------------------------*/

static unsigned int shift_of(unsigned int level)
{
	return 12 + 9 * (level - 1);
}

/* The table of `level` that translates an address; made, and linked, if it is not there. */
static int table_for(struct loader *l, unsigned int level, uint64_t address, uint64_t *ret,
		     struct error *err)
{
	const unsigned int covers = shift_of(level) + 9;
	const uint64_t first = address >> covers << covers;
	uint64_t above;

	if (level == 4) {
		*ret = l->root;
		return 0;
	}
	for (unsigned int i = 0; i < l->tables_n; i++)
		if (l->tables[i].level == level && l->tables[i].address == first) {
			*ret = l->tables[i].table;
			return 0;
		}
	if (l->tables_n == TABLES_MAX)
		return error_set(err, E2BIG, "the memory is too scattered for the first tables");
	if (table_for(l, level + 1, address, &above, err) < 0 ||
	    cki_table_new(l->s, level, ret, err) < 0 ||
	    cki_entry_set(l->s, above, address >> shift_of(level + 1) & 511, *ret | TABLE, err) < 0)
		return -err->code;
	l->tables[l->tables_n].level = level;
	l->tables[l->tables_n].address = first;
	l->tables[l->tables_n++].table = *ret;
	return 0;
}

static int map(struct loader *l, uint64_t address, uint64_t physical, uint64_t size, uint64_t leaf,
	       struct error *err)
{
	for (uint64_t done = 0; done < size; done += MEM_BLOCK) {
		const uint64_t at = address + done;
		uint64_t table;

		if (table_for(l, 2, at, &table, err) < 0 ||
		    cki_entry_set(l->s, table, at >> 21 & 511, (physical + done) | leaf, err) < 0)
			return -err->code;
	}
	return 0;
}

static int make_tables(struct loader *l, struct error *err)
{
	if (cki_table_new(l->s, 4, &l->root, err) < 0 ||
	    map(l, l->note.image_virtual, l->image, l->note.image_size, LEAF_IMAGE, err) < 0)
		return -err->code;
	for (unsigned int i = 0; i < l->mem->regions_n; i++) {
		const uint64_t at = l->mem->regions[i].base.v;

		if (map(l, CAISSON_DIRECT + at, at, l->mem->regions[i].size, LEAF_DATA, err) < 0)
			return -err->code;
	}
	for (uint32_t i = 0; i < l->s->tables_n; i++) {
		const uint64_t at = l->s->tables[i];

		if (map(l, CAISSON_DIRECT + at, at, MEM_BLOCK, LEAF_READ, err) < 0)
			return -err->code;
	}
	return 0;
}

/* --- The boot page -----------------------------------------------------------------------------*/

static unsigned int add_run(struct caisson_boot_run *runs, unsigned int n, uint64_t at,
			    uint64_t size)
{
	if (n && runs[n - 1].physical + runs[n - 1].size == at)
		runs[n - 1].size += size;
	else
		runs[n++] = (struct caisson_boot_run){at, size};
	return n;
}

/* A clock for the guest to begin with: nanoseconds since 1970, and the TSC then. */
static void read_clock(struct caisson_boot *boot)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	boot->wall_tsc = __rdtsc();
	boot->wall_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static int write_page(struct loader *l, struct error *err)
{
	struct {
		struct caisson_boot head;
		struct caisson_boot_run data[CAISSON_BOOT_RUNS], tables[CAISSON_BOOT_RUNS];
	} page = {.head = {.protocol = CAISSON_BOOT_PROTOCOL,
			   .size = sizeof(page.head),
			   .root = l->root,
			   .image = l->image,
			   .initrd = l->initrd,
			   .initrd_size = l->initrd_size,
			   .cmdline = l->page + PAGE,
			   .tables_used = l->s->frames_used,
			   .vcpus = l->b->vcpus,
			   .data = {.offset = sizeof(page.head)},
			   .tables = {.offset = sizeof(page.head) + sizeof(page.data)}}};
	int tsc_khz = ioctl(l->s->fd, CAISSON_GET_TSC_KHZ);

	_Static_assert(sizeof(page) <= PAGE, "the boot page is full");
	_Static_assert(MEM_REGIONS_MAX <= CAISSON_BOOT_RUNS, "more pieces than can be told");
	_Static_assert(CKI_TABLE_BLOCKS_MAX <= CAISSON_BOOT_RUNS, "more pieces than can be told");
	if (tsc_khz <= 0)
		return error_set(err, ENODEV, "the host does not know its TSC's rate");
	page.head.tsc_khz = (uint64_t)tsc_khz;
	for (unsigned int i = 0; i < l->mem->regions_n; i++)
		page.head.data.n = add_run(page.data, page.head.data.n, l->mem->regions[i].base.v,
					   l->mem->regions[i].size);
	for (uint32_t i = 0; i < l->s->tables_n; i++)
		page.head.tables.n = add_run(page.tables, page.head.tables.n, l->s->tables[i],
					     MEM_BLOCK);
	read_clock(&page.head);
	if (mem_write(l->mem, GPA(l->page), &page, sizeof(page)) < 0 ||
	    mem_write(l->mem, GPA(l->page + PAGE), l->b->cmdline, strlen(l->b->cmdline) + 1) < 0)
		return error_set(err, EIO, "the boot page is not in memory");
	return 0;
}

int cki_boot_load(struct cki_sandbox *s, const struct mem *mem, const struct cki_boot *b,
		  struct cki_entry *ret, struct error *err)
{
	struct loader l = {.s = s, .mem = mem, .b = b};

	if (strlen(b->cmdline) >= CMDLINE_MAX)
		return error_set(err, E2BIG, "the kernel's command line is longer than %u bytes",
				 CMDLINE_MAX - 1);
	find_runs(&l);
	if (load_kernel(&l, err) < 0 || load_initrd(&l, err) < 0 ||
	    take(&l, 2 * PAGE, "the boot page", &l.page, err) < 0 || make_tables(&l, err) < 0 ||
	    write_page(&l, err) < 0)
		return -err->code;
	*ret = (struct cki_entry){.rip = l.note.entry,
				  .rdi = CAISSON_DIRECT + l.page,
				  .root = l.root};
	return 0;
}

int cki_boot_check(const char *kernel, struct error *err)
{
	struct caisson_boot_note note;
	struct kernel_file k;
	int rc = kernel_open(kernel, &k, err);

	if (rc == 0) {
		rc = read_note(&k, &note, err);
		kernel_close(&k);
	}
	return rc < 0 ? error_wrap(err, "the kernel '%s'", kernel) : 0;
}
