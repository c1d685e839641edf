// SPDX-License-Identifier: Apache-2.0
#include "tests/guest/toy.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/guest/lib/pci.h"

#define PAGE 4096u

struct toy {
	struct pci_function pci;
	int eventfds[TOY_VECTORS];
};

static struct toy *toy_of(struct pci_function *f)
{
	return (struct toy *)((uint8_t *)f - offsetof(struct toy, pci));
}

static void toy_bus_master(struct pci_function *f, bool on)
{
	(void)f;
	(void)on;
}

static void toy_read(struct pci_function *f, unsigned int bar, uint64_t offset, void *data,
		     uint32_t size)
{
	const uint32_t magic = TOY_MAGIC;

	(void)f;
	if (bar == 0 && offset == 0 && size == sizeof(magic))
		memcpy(data, &magic, sizeof(magic));
}

static void toy_write(struct pci_function *f, unsigned int bar, uint64_t offset, const void *data,
		      uint32_t size)
{
	const uint64_t one = 1;
	uint32_t n;

	if (bar != 0 || offset != 0 || size != sizeof(n))
		return;
	memcpy(&n, data, sizeof(n));
	if (n < TOY_VECTORS && write(toy_of(f)->eventfds[n], &one, sizeof(one)) < 0)
		abort(); /* it is never near its end */
}

static void toy_free(struct pci_function *f)
{
	if (f->direct_n)
		munmap(f->direct[0].at, f->direct[0].size);
	for (unsigned int i = 0; i < TOY_VECTORS; i++)
		close(toy_of(f)->eventfds[i]);
	pci_function_done(f);
	free(toy_of(f));
}

static const struct pci_ops toy_ops = {toy_bus_master, toy_read, toy_write, toy_free};

int toy_new(struct pci_function **ret, struct error *err)
{
	const struct pci_identity id = {.vendor = TOY_ID & 0xffff,
					.device = TOY_ID >> 16,
					.class = 0xff0000};
	struct toy *t = calloc(1, sizeof(*t));
	void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (!t || page == MAP_FAILED)
		return error_set(err, ENOMEM, "out of memory");
	pci_function_init(&t->pci, &toy_ops, &id);
	for (unsigned int i = 0; i < TOY_VECTORS; i++)
		t->eventfds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	t->pci.direct[t->pci.direct_n++] =
		(struct pci_direct){.place = {2, 0}, .size = PAGE, .at = page};
	if (pci_function_add_bar(&t->pci, 0, PAGE, false, false, err) < 0 ||
	    pci_function_add_bar(&t->pci, 2, 2 * PAGE, true, false, err) < 0 ||
	    pci_function_add_msix(&t->pci, t->eventfds, TOY_VECTORS,
				  (struct pci_place){2, TOY_TABLE},
				  (struct pci_place){2, TOY_PENDING}, err) < 0) {
		toy_free(&t->pci);
		return -err->code;
	}
	*ret = &t->pci;
	return 0;
}
