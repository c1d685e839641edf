// SPDX-License-Identifier: Apache-2.0
#include "vmm/cki/functions.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <seccomp.h>
#include <string.h>
#include <sys/ioctl.h>

#include "kmod/uapi/caisson_boot.h"

/* --- Windows -----------------------------------------------------------------------------------*/

/* A part that this process has mapped: where it is in the host says where its window is. */
static int lend_part(const struct cki_sandbox *s, struct pci_function *f,
		     const struct pci_direct *part, struct error *err)
{
	struct caisson_window_add add = {.address = (uintptr_t)part->at, .size = part->size};
	struct pci_bar *bar = &f->config.bars[part->place.bar];
	uint64_t base;

	if (ioctl(s->fd, CAISSON_ADD_WINDOW, &add) < 0)
		return error_errno(err, "lend its window %u to the module", part->place.bar);
	base = add.physical - part->place.offset;
	if (base % bar->size || (bar->at.v && bar->at.v != base))
		return error_set(err, EIO, "its window %u is at 0x%llx, where it cannot be",
				 part->place.bar, (unsigned long long)base);
	bar->at = GPA(base);
	return 0;
}

/* Of a window that nothing is lent of a guest can use what is a call, which is its interrupts'. */
static int check_windows(const struct pci_function *f, struct error *err)
{
	for (unsigned int i = 0; i < PCI_BARS; i++)
		if (f->config.bars[i].size && !f->config.bars[i].at.v && f->table.bar != i &&
		    f->pending.bar != i)
			return error_set(err, ENOTSUP, "its window %u cannot be mapped", i);
	return 0;
}

static int lend_windows(const struct cki_sandbox *s, struct pci_function *f, struct error *err)
{
	for (unsigned int i = 0; i < f->direct_n; i++)
		if (lend_part(s, f, &f->direct[i], err) < 0)
			return -err->code;
	return check_windows(f, err);
}

/* Nothing else is there.  (The module has seen to what is lent, for memory.) */
static int check_places(const struct pci_function *f, const struct mem *mem, struct error *err)
{
	const uint64_t devices_end = DEVICES_AT + DEVICES_MAX * VIRTIO_MMIO_WINDOW;

	for (unsigned int i = 0; i < PCI_BARS; i++) {
		const struct pci_bar *bar = &f->config.bars[i];
		const uint64_t at = bar->at.v, end = at + bar->size;
		bool taken = at < devices_end && DEVICES_AT < end;

		for (unsigned int n = 0; n < mem->regions_n; n++)
			taken |= at < mem->regions[n].base.v + mem->regions[n].size &&
				 mem->regions[n].base.v < end;
		if (bar->size && taken)
			return error_set(err, EADDRINUSE,
					 "its window %u is at 0x%llx, where something else is", i,
					 (unsigned long long)at);
	}
	return 0;
}

/* --- Interrupts --------------------------------------------------------------------------------*/

static int connect_vectors(const struct cki_sandbox *s, struct pci_function *f, struct error *err)
{
	const uint32_t line = CKI_FUNCTIONS_LINE + f->msix.first_line;

	if (f->msix.n > CAISSON_LINES - CKI_FUNCTIONS_LINE || line > CAISSON_LINES - f->msix.n)
		return error_set(err, E2BIG,
				 "it has %u interrupts: this engine has %u for all functions",
				 f->msix.n, CAISSON_LINES - CKI_FUNCTIONS_LINE);
	for (uint32_t i = 0; i < f->msix.n; i++) {
		struct caisson_irqfd irq = {.fd = f->msix.vectors[i].eventfd,
					    .event = CAISSON_EVENT_LINE(line + i)};

		if (ioctl(s->fd, CAISSON_IRQFD, &irq) < 0)
			return error_errno(err, "connect its interrupt %u", i);
	}
	/* Drivers keep no notes there: it is what says the line. */
	f->config.data[PCI_INTERRUPT_LINE] = (uint8_t)line;
	f->config.mask[PCI_INTERRUPT_LINE] = 0;
	return 0;
}

/* --- All of it ---------------------------------------------------------------------------------*/

static void add_calls(struct cki_functions *f, const struct pci_function *function)
{
	vfio_function_calls(function, f->calls + f->calls_n);
	f->calls_n += VFIO_FUNCTION_CALLS;
}

static int add(struct cki_functions *fs, const struct cki_sandbox *s, struct pci_function *f,
	       const struct mem *mem, struct error *err)
{
	if (lend_windows(s, f, err) < 0) {
		f->ops->free(f);
		return -err->code;
	}
	if (pci_bus_add(&fs->bus, f, err) < 0 || check_places(f, mem, err) < 0 ||
	    connect_vectors(s, f, err) < 0)
		return -err->code;
	add_calls(fs, f);
	return 0;
}

int cki_functions_init(struct cki_functions *fs, const struct cki_sandbox *s,
		       const struct machine *m, const struct mem *mem, struct io *io,
		       void (*gone)(void *arg, const struct error *reason), void *arg,
		       struct error *err)
{
	struct pci_function *f;

	*fs = (struct cki_functions){.calls_n = 1};
	fs->calls[0] = (struct confine_call){SCMP_SYS(poll)}; /* the pending bits */
	pci_bus_init(&fs->bus, NULL);
	for (uint32_t i = 0; i < m->functions_n; i++) {
		if (vfio_function_new(&m->functions[i], &f, err) < 0)
			goto fail;
		if (add(fs, s, f, mem, err) < 0) {
			error_wrap(err, "function %s", m->functions[i].name);
			goto fail;
		}
		if (vfio_function_watch(f, io, gone, arg, err) < 0)
			goto fail;
	}
	return 0;
fail:
	cki_functions_done(fs);
	return -err->code;
}

void cki_functions_done(struct cki_functions *fs)
{
	pci_bus_done(&fs->bus);
}
