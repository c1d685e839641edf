// SPDX-License-Identifier: Apache-2.0
#include "vmm/pci/function.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>

/* Bits of the command register that a guest has.  Windows do not come and go with MEMORY: it is
 * there because drivers look. */
#define COMMAND_BITS                                                                               \
	(PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_PARITY | PCI_COMMAND_SERR |         \
	 PCI_COMMAND_INTX_DISABLE)
#define CONTROL_BITS (PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL)

void pci_function_init(struct pci_function *f, const struct pci_ops *ops,
		       const struct pci_identity *id)
{
	*f = (struct pci_function){.ops = ops};
	pthread_mutex_init(&f->lock, NULL);
	pci_config_init(&f->config, id);
	f->config.mask[PCI_COMMAND] = COMMAND_BITS & 0xff;
	f->config.mask[PCI_COMMAND + 1] = COMMAND_BITS >> 8;
}

void pci_function_done(struct pci_function *f)
{
	msix_done(&f->msix);
	pthread_mutex_destroy(&f->lock);
}

int pci_function_add_bar(struct pci_function *f, unsigned int n, uint64_t size, bool wide,
			 bool prefetchable, struct error *err)
{
	if (n >= PCI_BARS || (wide && n + 1 >= PCI_BARS) || f->config.bars[n].size ||
	    (n > 0 && f->config.bars[n - 1].size && f->config.bars[n - 1].wide) ||
	    (wide && f->config.bars[n + 1].size))
		return error_set(err, EINVAL, "there is no room for window %u", n);
	if (size < 16 || size & (size - 1))
		return error_set(err, EINVAL, "window %u has 0x%llx bytes", n,
				 (unsigned long long)size);
	f->config.bars[n] =
		(struct pci_bar){.size = size, .wide = wide, .prefetchable = prefetchable};
	return 0;
}

static bool place_fits(const struct pci_function *f, struct pci_place p, uint64_t size)
{
	const uint64_t all = p.bar < PCI_BARS ? f->config.bars[p.bar].size : 0;

	return p.offset % 8 == 0 && size <= all && p.offset <= all - size;
}

int pci_function_add_msix(struct pci_function *f, const int *eventfds, uint32_t n,
			  struct pci_place table, struct pci_place pending, struct error *err)
{
	int at;

	if (msix_init(&f->msix, eventfds, n, err) < 0)
		return -err->code;
	if (n == 0 || n > PCI_MSIX_FLAGS_QSIZE + 1u ||
	    !place_fits(f, table, msix_table_size(&f->msix)) ||
	    !place_fits(f, pending, msix_pending_size(&f->msix)) ||
	    (table.bar == pending.bar &&
	     table.offset < pending.offset + msix_pending_size(&f->msix) &&
	     pending.offset < table.offset + msix_table_size(&f->msix)))
		return error_set(err, EINVAL, "its MSI-X table of %u vectors is not in its windows",
				 n);
	at = pci_config_add_cap(&f->config, PCI_CAP_ID_MSIX, PCI_CAP_MSIX_SIZEOF);
	if (at < 0)
		return error_set(err, ENOSPC, "there is no room for its capabilities");
	pci_config_set16(&f->config, (unsigned int)at + PCI_MSIX_FLAGS, (uint16_t)(n - 1));
	pci_config_set32(&f->config, (unsigned int)at + PCI_MSIX_TABLE,
			 (uint32_t)table.offset | table.bar);
	pci_config_set32(&f->config, (unsigned int)at + PCI_MSIX_PBA,
			 (uint32_t)pending.offset | pending.bar);
	f->config.mask[at + PCI_MSIX_FLAGS + 1] = CONTROL_BITS >> 8;
	f->msix_cap = (uint8_t)at;
	f->table = table;
	f->pending = pending;
	return 0;
}

void pci_function_config_read(struct pci_function *f, uint32_t offset, void *buf, uint32_t size)
{
	pthread_mutex_lock(&f->lock);
	pci_config_read(&f->config, offset, buf, size);
	pthread_mutex_unlock(&f->lock);
}

void pci_function_config_write(struct pci_function *f, uint32_t offset, const void *buf,
			       uint32_t size)
{
	uint16_t before, after;

	pthread_mutex_lock(&f->lock);
	before = pci_config_get16(&f->config, PCI_COMMAND);
	pci_config_write(&f->config, offset, buf, size);
	after = pci_config_get16(&f->config, PCI_COMMAND);
	if ((before ^ after) & PCI_COMMAND_MASTER)
		f->ops->bus_master(f, after & PCI_COMMAND_MASTER);
	if (f->msix_cap) {
		const uint16_t c = pci_config_get16(&f->config, f->msix_cap + PCI_MSIX_FLAGS);

		msix_control(&f->msix, c & PCI_MSIX_FLAGS_ENABLE, c & PCI_MSIX_FLAGS_MASKALL);
	}
	pthread_mutex_unlock(&f->lock);
}

/* Whether the access touches the part; if so *ret_at is how far from its start it begins, which
 * wraps to a huge number when it begins before. */
static bool touches(struct pci_place part, uint64_t part_size, unsigned int bar, uint64_t offset,
		    uint32_t size, uint64_t *ret_at)
{
	*ret_at = offset - part.offset;
	return part_size && bar == part.bar && offset < part.offset + part_size &&
	       offset + size > part.offset;
}

static bool access_msix(struct pci_function *f, unsigned int bar, uint64_t offset, void *data,
			uint32_t size, bool write)
{
	uint64_t at;

	if (touches(f->table, msix_table_size(&f->msix), bar, offset, size, &at)) {
		pthread_mutex_lock(&f->lock);
		if (write)
			msix_table_write(&f->msix, at, data, size);
		else
			msix_table_read(&f->msix, at, data, size);
		pthread_mutex_unlock(&f->lock);
		return true;
	}
	if (!touches(f->pending, msix_pending_size(&f->msix), bar, offset, size, &at))
		return false;
	pthread_mutex_lock(&f->lock);
	if (!write)
		msix_pending_read(&f->msix, at, data, size);
	pthread_mutex_unlock(&f->lock);
	return true;
}

void pci_function_access(struct pci_function *f, unsigned int bar, uint64_t offset, void *data,
			 uint32_t size, bool write)
{
	const uint64_t all = bar < PCI_BARS ? f->config.bars[bar].size : 0;

	if (size == 0 || size > 8 || size > all || offset > all - size)
		return;
	if (access_msix(f, bar, offset, data, size, write))
		return;
	if (write)
		f->ops->write(f, bar, offset, data, size);
	else
		f->ops->read(f, bar, offset, data, size);
}
