// SPDX-License-Identifier: Apache-2.0
#include "vmm/cki/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/ioctl.h>

#include "kmod/uapi/caisson_boot.h"
#include "lib/cleanup.h"
#include "vmm/boot/cki.h"

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
	free(s->blocks);
	free(s->tables);
	*s = (struct cki_sandbox){.fd = -1};
}

/* --- Memory ------------------------------------------------------------------------------------*/

int cki_sandbox_lock(const struct cki_sandbox *s, struct error *err)
{
	return flock(s->fd, LOCK_EX) < 0 ? error_errno(err, "lock '%s'", CKI_DEVICE) : 0;
}

void cki_sandbox_unlock(const struct cki_sandbox *s)
{
	flock(s->fd, LOCK_UN);
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

/* As mem_place() has put them: one after the other, in the order of their addresses. */
static int list_blocks(struct cki_sandbox *s, const struct mem *mem, struct error *err)
{
	s->blocks = calloc(mem->size / MEM_BLOCK, sizeof(*s->blocks));
	if (!s->blocks)
		return error_set(err, ENOMEM, "out of memory");
	for (unsigned int i = 0; i < mem->regions_n; i++)
		for (uint64_t at = 0; at < mem->regions[i].size; at += MEM_BLOCK)
			s->blocks[s->blocks_n++] = mem->regions[i].base.v + at;
	return 0;
}

int cki_sandbox_add_memory(struct cki_sandbox *s, struct mem *mem, struct error *err)
{
	_cleanup_free_ uint64_t *runs = calloc(mem->size / MEM_BLOCK, sizeof(*runs));

	if (!runs)
		return error_set(err, ENOMEM, "out of memory");
	if (!mem->lent && mem_sort(mem, err) < 0)
		return -err->code;
	if (lend(s, mem, runs, err) < 0 || mem_place(mem, runs, err) < 0)
		return -err->code;
	return list_blocks(s, mem, err);
}

int cki_sandbox_add_tables(struct cki_sandbox *s, struct error *err)
{
	const uint32_t n = cki_table_blocks(s->blocks_n);
	struct caisson_tables_add add;

	s->tables = calloc(n, sizeof(*s->tables));
	if (!s->tables)
		return error_set(err, ENOMEM, "out of memory");
	while (s->tables_n < n) {
		if (ioctl(s->fd, CAISSON_ADD_TABLES, &add) < 0)
			return error_errno(err, "2 MiB in one piece for page tables");
		s->tables[s->tables_n++] = add.physical;
	}
	return 0;
}

int cki_sandbox_tsc_khz(const struct cki_sandbox *s, uint64_t *ret, struct error *err)
{
	int khz = ioctl(s->fd, CAISSON_GET_TSC_KHZ);

	if (khz <= 0)
		return error_set(err, ENODEV, "the host does not know the rate of its TSC");
	*ret = (uint64_t)khz;
	return 0;
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
