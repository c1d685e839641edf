// SPDX-License-Identifier: Apache-2.0
#include "vmm/vfio/function.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "vmm/vfio/device.h"

#define PAGE 4096ull
#define WINDOWS 6u /* VFIO_PCI_BAR0_REGION_INDEX and on */
#define PARTS_MAX 4u
#define NOTICES 2u

struct passthrough {
	struct pci_function pci;
	const char *name;
	int fd;
	struct vfio_region config, windows[WINDOWS];
	int eventfds[VFIO_VECTORS_MAX];
	uint32_t vectors;
	/* What the host has to say: of an error, of wanting it back. */
	struct notice {
		struct passthrough *of;
		uint32_t index;
		const char *text;
		int eventfd;
		struct io_watch watch;
	} notices[NOTICES];
	struct io *io;
	void (*gone)(void *arg, const struct error *reason);
	void *gone_arg;
};

static struct passthrough *passthrough_of(struct pci_function *f)
{
	return (struct passthrough *)((uint8_t *)f - offsetof(struct passthrough, pci));
}

static const struct passthrough *const_passthrough_of(const struct pci_function *f)
{
	return (const struct passthrough *)((const uint8_t *)f - offsetof(struct passthrough, pci));
}

/* Memory stays on for the host's sake: an access to a window that is off would be a fault. */
static int set_command(const struct passthrough *p, bool bus_master)
{
	const uint16_t command = PCI_COMMAND_MEMORY | PCI_COMMAND_INTX_DISABLE |
				 (bus_master ? PCI_COMMAND_MASTER : 0);

	return vfio_device_write(p->fd, p->config.offset + PCI_COMMAND, &command, sizeof(command));
}

static void bus_master(struct pci_function *f, bool on)
{
	/* If it fails the device is gone, and there is a notice. */
	set_command(passthrough_of(f), on);
}

static void window_read(struct pci_function *f, unsigned int bar, uint64_t offset, void *data,
			uint32_t size)
{
	const struct passthrough *p = passthrough_of(f);
	const struct vfio_region *r = &p->windows[bar];

	if (r->readable && vfio_device_read(p->fd, r->offset + offset, data, size) < 0)
		memset(data, 0xff, size);
}

static void window_write(struct pci_function *f, unsigned int bar, uint64_t offset,
			 const void *data, uint32_t size)
{
	const struct passthrough *p = passthrough_of(f);
	const struct vfio_region *r = &p->windows[bar];

	if (r->writable)
		vfio_device_write(p->fd, r->offset + offset, data, size);
}

static void passthrough_free(struct pci_function *f)
{
	struct passthrough *p = passthrough_of(f);

	for (unsigned int i = 0; i < f->direct_n; i++)
		munmap(f->direct[i].at, f->direct[i].size);
	for (uint32_t i = 0; i < p->vectors; i++)
		cleanup_close(&p->eventfds[i]);
	for (unsigned int i = 0; i < NOTICES; i++)
		cleanup_close(&p->notices[i].eventfd);
	pci_function_done(f);
	free(p);
}

static const struct pci_ops passthrough_ops = {
	.bus_master = bus_master,
	.read = window_read,
	.write = window_write,
	.free = passthrough_free,
};

static int config_get(const struct passthrough *p, unsigned int at, void *buf, size_t size,
		      struct error *err)
{
	int rc = vfio_device_read(p->fd, p->config.offset + at, buf, size);

	if (rc == 0)
		return 0;
	errno = -rc;
	return error_errno(err, "read its configuration");
}

/* VFIO fills in what virtual functions do not say of themselves: vendor, device, windows. */
static int read_identity(const struct passthrough *p, struct pci_identity *ret, struct error *err)
{
	uint8_t head[64];
	uint32_t class;

	if (config_get(p, 0, head, sizeof(head), err) < 0)
		return -err->code;
	if ((head[PCI_HEADER_TYPE] & PCI_HEADER_TYPE_MASK) != PCI_HEADER_TYPE_NORMAL)
		return error_set(err, ENOTSUP, "it is a bridge, not a function");
	memcpy(&ret->vendor, head + PCI_VENDOR_ID, 2);
	memcpy(&ret->device, head + PCI_DEVICE_ID, 2);
	memcpy(&ret->subsystem_vendor, head + PCI_SUBSYSTEM_VENDOR_ID, 2);
	memcpy(&ret->subsystem, head + PCI_SUBSYSTEM_ID, 2);
	memcpy(&class, head + PCI_CLASS_REVISION, 4);
	ret->class = class >> 8;
	ret->revision = (uint8_t) class;
	return 0;
}

static int add_windows(struct passthrough *p, struct error *err)
{
	uint32_t bars[WINDOWS];

	if (config_get(p, PCI_BASE_ADDRESS_0, bars, sizeof(bars), err) < 0)
		return -err->code;
	for (unsigned int i = 0; i < WINDOWS; i++) {
		const bool wide = (bars[i] & PCI_BASE_ADDRESS_MEM_TYPE_MASK) ==
				  PCI_BASE_ADDRESS_MEM_TYPE_64;
		struct vfio_region *r = &p->windows[i];

		if (vfio_device_region(p->fd, VFIO_PCI_BAR0_REGION_INDEX + i, r, err) < 0)
			return -err->code;
		if (!r->size || bars[i] & PCI_BASE_ADDRESS_SPACE_IO) {
			r->size = 0;
			continue;
		}
		if (pci_function_add_bar(&p->pci, i, r->size, wide,
					 bars[i] & PCI_BASE_ADDRESS_MEM_PREFETCH, err) < 0)
			return -err->code;
		i += wide;
	}
	return 0;
}

/* The offset of a capability, or 0.  The list is the device's: it may be a circle. */
static int find_cap(const struct passthrough *p, uint8_t id, uint8_t *ret, struct error *err)
{
	uint8_t at, cap[2];

	*ret = 0;
	if (config_get(p, PCI_CAPABILITY_LIST, &at, 1, err) < 0)
		return -err->code;
	for (int i = 0; i < 48 && at >= 0x40; i++) {
		if (config_get(p, at & ~3u, cap, sizeof(cap), err) < 0)
			return -err->code;
		if (cap[0] == id) {
			*ret = at & (uint8_t)~3;
			return 0;
		}
		at = cap[1];
	}
	return 0;
}

static int make_eventfds(struct passthrough *p, uint32_t n, struct error *err)
{
	for (; p->vectors < n; p->vectors++) {
		p->eventfds[p->vectors] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (p->eventfds[p->vectors] < 0)
			return error_errno(err, "make an eventfd");
	}
	return 0;
}

static struct pci_place place_of(uint32_t word)
{
	return (struct pci_place){.bar = word & PCI_MSIX_TABLE_BIR,
				  .offset = word & PCI_MSIX_TABLE_OFFSET};
}

static int add_interrupts(struct passthrough *p, struct error *err)
{
	uint32_t n = vfio_device_irqs(p->fd, VFIO_PCI_MSIX_IRQ_INDEX), words[2];
	uint8_t cap;
	int rc;

	if (find_cap(p, PCI_CAP_ID_MSIX, &cap, err) < 0)
		return -err->code;
	if (!cap || n == 0)
		return error_set(err, ENOTSUP, "it has no MSI-X interrupts");
	if (n > VFIO_VECTORS_MAX)
		return error_set(err, ENOTSUP, "it has %u interrupts: up to %u can be had", n,
				 VFIO_VECTORS_MAX);
	if (config_get(p, cap + PCI_MSIX_TABLE, words, sizeof(words), err) < 0 ||
	    make_eventfds(p, n, err) < 0)
		return -err->code;
	if (pci_function_add_msix(&p->pci, p->eventfds, n, place_of(words[0]), place_of(words[1]),
				  err) < 0)
		return -err->code;
	rc = vfio_device_set_irqs(p->fd, VFIO_PCI_MSIX_IRQ_INDEX, p->eventfds, n);
	errno = -rc;
	return rc < 0 ? error_errno(err, "switch on its %u interrupts", n) : 0;
}

unsigned int vfio_parts(uint64_t size, const struct vfio_part *holes, unsigned int n,
			struct vfio_part *ret, unsigned int max)
{
	unsigned int parts = 0;
	uint64_t at = 0;

	size &= ~(PAGE - 1);
	while (at < size && parts < max) {
		uint64_t end = size, next = size;

		/* The first hole from here on, in whole pages; holes that touch are one. */
		for (unsigned int i = 0; i < n; i++) {
			const uint64_t from = holes[i].offset & ~(PAGE - 1);
			const uint64_t to = (holes[i].offset + holes[i].size + PAGE - 1) &
					    ~(PAGE - 1);

			if (holes[i].size && to > at && from < end) {
				end = from > at ? from : at;
				next = to;
			}
		}
		if (end > at)
			ret[parts++] = (struct vfio_part){at, end - at};
		at = next > at ? next : size;
	}
	return parts;
}

static int map_part(struct passthrough *p, unsigned int bar, const struct vfio_part *part,
		    struct error *err)
{
	const struct vfio_region *r = &p->windows[bar];
	const int prot = (r->readable ? PROT_READ : 0) | (r->writable ? PROT_WRITE : 0);
	void *at = mmap(NULL, part->size, prot, MAP_SHARED, p->fd,
			(off_t)(r->offset + part->offset));

	if (at == MAP_FAILED)
		return error_errno(err, "map its window %u", bar);
	p->pci.direct[p->pci.direct_n++] = (struct pci_direct){
		.place = {(uint8_t)bar, part->offset}, .size = part->size, .at = at};
	return 0;
}

static int map_window(struct passthrough *p, unsigned int bar, struct error *err)
{
	const struct pci_function *f = &p->pci;
	const struct vfio_region *r = &p->windows[bar];
	const struct vfio_part holes[] = {
		{f->table.offset, f->table.bar == bar ? msix_table_size(&f->msix) : 0},
		{f->pending.offset, f->pending.bar == bar ? msix_pending_size(&f->msix) : 0},
		{r->hole, r->hole_size},
	};
	struct vfio_part parts[PARTS_MAX];
	unsigned int n;

	/* Both, or accesses are carried out one by one. */
	if (!r->size || !r->mappable || !r->readable || !r->writable)
		return 0;
	n = vfio_parts(r->size, holes, ARRAY_SIZE(holes), parts, PARTS_MAX);
	for (unsigned int i = 0; i < n && p->pci.direct_n < PCI_DIRECT_MAX; i++)
		if (map_part(p, bar, &parts[i], err) < 0)
			return -err->code;
	return 0;
}

static int add_notices(struct passthrough *p, struct error *err)
{
	static const struct {
		uint32_t index;
		const char *text;
	} kinds[NOTICES] = {
		{VFIO_PCI_REQ_IRQ_INDEX, "the host wants it back"},
		{VFIO_PCI_ERR_IRQ_INDEX, "it reports an error that cannot be corrected"},
	};

	for (unsigned int i = 0; i < NOTICES; i++) {
		struct notice *n = &p->notices[i];

		n->of = p;
		n->index = kinds[i].index;
		n->text = kinds[i].text;
		n->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (n->eventfd < 0)
			return error_errno(err, "make an eventfd");
		/* Not every device reports errors. */
		if (vfio_device_irqs(p->fd, n->index) == 1)
			vfio_device_set_irqs(p->fd, n->index, &n->eventfd, 1);
	}
	return 0;
}

static int build(struct passthrough *p, struct error *err)
{
	if (add_windows(p, err) < 0 || set_command(p, false) < 0)
		return err->code ? -err->code
				 : error_set(err, EIO,
					     "it does not take a write to its command "
					     "register");
	if (add_interrupts(p, err) < 0)
		return -err->code;
	for (unsigned int i = 0; i < WINDOWS; i++)
		if (map_window(p, i, err) < 0)
			return -err->code;
	return add_notices(p, err);
}

int vfio_function_new(const struct machine_function *m, struct pci_function **ret,
		      struct error *err)
{
	struct passthrough *p = calloc(1, sizeof(*p));
	struct pci_identity id;
	int rc;

	if (!p)
		return error_set(err, ENOMEM, "out of memory");
	p->name = m->name;
	p->fd = m->device_fd;
	for (unsigned int i = 0; i < NOTICES; i++)
		p->notices[i].eventfd = -1;
	if (vfio_device_region(p->fd, VFIO_PCI_CONFIG_REGION_INDEX, &p->config, err) < 0 ||
	    read_identity(p, &id, err) < 0) {
		free(p);
		return error_wrap(err, "function %s", m->name);
	}
	pci_function_init(&p->pci, &passthrough_ops, &id);
	rc = build(p, err);
	if (rc < 0) {
		passthrough_free(&p->pci);
		return error_wrap(err, "function %s", m->name);
	}
	*ret = &p->pci;
	return 0;
}

static void on_notice(struct io_watch *w, uint32_t events)
{
	struct notice *n = w->arg;
	struct passthrough *p = n->of;
	struct error reason;

	(void)events;
	for (unsigned int i = 0; i < NOTICES; i++)
		io_remove(p->io, &p->notices[i].watch);
	error_set(&reason, ENODEV, "function %s: %s", p->name, n->text);
	p->gone(p->gone_arg, &reason);
}

int vfio_function_watch(struct pci_function *f, struct io *io,
			void (*gone)(void *arg, const struct error *reason), void *arg,
			struct error *err)
{
	struct passthrough *p = passthrough_of(f);

	p->io = io;
	p->gone = gone;
	p->gone_arg = arg;
	for (unsigned int i = 0; i < NOTICES; i++) {
		struct notice *n = &p->notices[i];
		int rc;

		n->watch = (struct io_watch){
			.fd = n->eventfd, .events = EPOLLIN, .ready = on_notice, .arg = n};
		rc = io_add(io, &n->watch);
		errno = -rc;
		if (rc < 0)
			return error_errno(err, "function %s: watch it", p->name);
	}
	return 0;
}

void vfio_function_calls(const struct pci_function *f,
			 struct confine_call ret[static VFIO_FUNCTION_CALLS])
{
	const uint64_t fd = (uint64_t)const_passthrough_of(f)->fd;

	/* Registers that are not mapped, and bus mastering; of this one descriptor. */
	ret[0] = (struct confine_call){SCMP_SYS(pread64), CONFINE_ARG(0, fd)};
	ret[1] = (struct confine_call){SCMP_SYS(pwrite64), CONFINE_ARG(0, fd)};
}
