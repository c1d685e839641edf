// SPDX-License-Identifier: Apache-2.0
#include "vmm/cki/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/ioctl.h>

#include "kmod/rules.h"
#include "kmod/uapi/caisson_boot.h"
#include "lib/cleanup.h"

/* A table maps 2 MiB at best, and a process has some of its own: a block of tables to so many of
 * memory, and a few for the start. */
#define BLOCKS_PER_TABLE_BLOCK 32u
#define TABLE_BLOCKS_MIN 4u

static int device_open(struct error *err)
{
	int fd = open(CKI_DEVICE, O_RDWR | O_CLOEXEC);

	if (fd < 0 && errno == ENOENT)
		return error_set(err, ENODEV,
				 CKI_DEVICE
				 " is missing: the module caisson is not loaded (its reason, "
				 "if it refused, is in the kernel's log)");
	return fd < 0 ? error_errno(err, "open '%s'", CKI_DEVICE) : fd;
}

static int check(int fd, struct error *err)
{
	int version = ioctl(fd, CAISSON_GET_VERSION);

	if (version != CAISSON_API)
		return error_set(
			err, EPROTO,
			"the module caisson speaks version %d of its interface, this build %d",
			version, CAISSON_API);
	return 0;
}

int cki_check(struct error *err)
{
	_cleanup_close_ int fd = device_open(err);

	return fd < 0 ? fd : check(fd, err);
}

int cki_sandbox_init(struct cki_sandbox *s, struct error *err)
{
	*s = (struct cki_sandbox){.fd = device_open(err)};
	if (s->fd < 0)
		return -err->code;
	if (check(s->fd, err) < 0) {
		cki_sandbox_done(s);
		return -err->code;
	}
	return 0;
}

void cki_sandbox_done(struct cki_sandbox *s)
{
	cleanup_close(&s->fd);
	s->fd = -1;
}

/* --- Memory ------------------------------------------------------------------------------------*/

/* One sandbox at a time sorts its pages: two would give each other's back. */
static int sort(const struct cki_sandbox *s, struct mem *mem, struct error *err)
{
	int rc;

	if (flock(s->fd, LOCK_EX) < 0)
		return error_errno(err, "lock '%s'", CKI_DEVICE);
	rc = mem_sort(mem, err);
	flock(s->fd, LOCK_UN);
	return rc;
}

static int lend(const struct cki_sandbox *s, const struct mem *mem, uint64_t *runs,
		struct error *err)
{
	struct caisson_memory m = {.runs = (uintptr_t)runs};

	/* Regions are in the order of the memfd until it is placed. */
	for (unsigned int i = 0; i < mem->regions_n; i++) {
		m.address = (uintptr_t)mem->regions[i].at;
		m.size = mem->regions[i].size;
		if (ioctl(s->fd, CAISSON_ADD_MEMORY, &m) < 0)
			return error_errno(err, "lend %llu bytes of memory to the module",
					   (unsigned long long)m.size);
		m.runs += m.size / MEM_BLOCK * sizeof(*runs);
	}
	return 0;
}

int cki_sandbox_add_memory(struct cki_sandbox *s, struct mem *mem, struct error *err)
{
	_cleanup_free_ uint64_t *runs = calloc(mem->size / MEM_BLOCK, sizeof(*runs));

	if (!runs)
		return error_set(err, ENOMEM, "out of memory");
	if (!mem->lent && sort(s, mem, err) < 0)
		return -err->code;
	if (lend(s, mem, runs, err) < 0)
		return -err->code;
	return mem_place(mem, runs, err);
}

/* --- Page tables -------------------------------------------------------------------------------*/

static int compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

int cki_sandbox_add_tables(struct cki_sandbox *s, uint64_t memory, struct error *err)
{
	uint64_t n = TABLE_BLOCKS_MIN + memory / MEM_BLOCK / BLOCKS_PER_TABLE_BLOCK;
	struct caisson_tables_add add;

	if (n > CKI_TABLE_BLOCKS_MAX)
		n = CKI_TABLE_BLOCKS_MAX;
	while (s->tables_n < n) {
		if (ioctl(s->fd, CAISSON_ADD_TABLES, &add) < 0)
			return error_errno(err, "2 MiB in one piece for page tables");
		s->tables[s->tables_n++] = add.physical;
	}
	qsort(s->tables, s->tables_n, sizeof(s->tables[0]), compare);
	return 0;
}

static int operate(const struct cki_sandbox *s, uint64_t call, uint64_t a, uint64_t b,
		   struct error *err)
{
	struct caisson_operation op = {.call = call, .a = a, .b = b};

	if (ioctl(s->fd, CAISSON_OPERATE, &op) < 0)
		return error_errno(err, "page table operation %llu (0x%llx, 0x%llx)",
				   (unsigned long long)call, (unsigned long long)a,
				   (unsigned long long)b);
	return 0;
}

int cki_table_new(struct cki_sandbox *s, unsigned int level, uint64_t *ret, struct error *err)
{
	const uint32_t block = s->frames_used / CAISSON_BLOCK_FRAMES;

	if (block >= s->tables_n)
		return error_set(err, ENOMEM, "no page table is left");
	*ret = s->tables[block] + s->frames_used % CAISSON_BLOCK_FRAMES * 4096ull;
	s->frames_used++;
	return operate(s, CAISSON_CALL_TABLE_NEW, *ret, level, err);
}

int cki_entry_set(const struct cki_sandbox *s, uint64_t table, unsigned int index, uint64_t value,
		  struct error *err)
{
	return operate(s, CAISSON_CALL_ENTRY_SET, table + index * 8ull, value, err);
}

/* --- Devices -----------------------------------------------------------------------------------*/

static int add_doorbell(const struct cki_sandbox *s, uint64_t at, uint32_t value, int fd,
			struct error *err)
{
	struct caisson_ioeventfd bell = {
		.argument = {CAISSON_MONITOR_MMIO_WRITE, at, 4, value},
		.fd = fd,
	};

	if (ioctl(s->fd, CAISSON_IOEVENTFD, &bell) < 0)
		return error_errno(err, "connect a doorbell");
	return 0;
}

int cki_sandbox_add_devices(struct cki_sandbox *s, const struct devices *d, struct error *err)
{
	for (unsigned int i = 0; i < d->n; i++) {
		const struct device_slot *slot = &d->slots[i];
		struct caisson_irqfd irq = {.fd = virtio_mmio_irq_fd(&slot->mmio),
					    .event = CAISSON_EVENT_LINE(slot->line)};

		_Static_assert(DEVICES_LINES <= CAISSON_LINES, "too few lines");
		if (ioctl(s->fd, CAISSON_IRQFD, &irq) < 0)
			return error_errno(err, "connect interrupt line %u", slot->line);
		for (unsigned int q = 0; q < virtio_mmio_queues(&slot->mmio); q++)
			if (add_doorbell(s, slot->at.v + VIRTIO_MMIO_KICK_OFFSET, q,
					 virtio_mmio_kick_fd(&slot->mmio, q), err) < 0)
				return -err->code;
	}
	return 0;
}
