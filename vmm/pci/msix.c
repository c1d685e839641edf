// SPDX-License-Identifier: Apache-2.0
#include "vmm/pci/msix.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ADDRESS_LOW, ADDRESS_HIGH, DATA, CONTROL, WORDS };

int msix_init(struct msix *m, const int *eventfds, uint32_t n, struct error *err)
{
	*m = (struct msix){.n = n};
	if (n == 0)
		return 0;
	m->vectors = calloc(n, sizeof(*m->vectors));
	if (!m->vectors)
		return error_set(err, ENOMEM, "out of memory");
	for (uint32_t i = 0; i < n; i++) {
		m->vectors[i].eventfd = eventfds[i];
		m->vectors[i].words[CONTROL] = PCI_MSIX_ENTRY_CTRL_MASKBIT;
	}
	return 0;
}

void msix_done(struct msix *m)
{
	free(m->vectors);
	*m = (struct msix){.n = 0};
}

/*
 * What came while it was masked is taken out of the eventfd first and put back after: connecting
 * delivers what is there, but leaves the count, which would be a pending bit for ever.
 */
static void connect_vector(struct msix *m, uint32_t i)
{
	struct msix_vector *v = &m->vectors[i];
	const uint64_t address = (uint64_t)v->words[ADDRESS_HIGH] << 32 | v->words[ADDRESS_LOW];
	uint64_t count;
	const bool came = read(v->eventfd, &count, sizeof(count)) == (ssize_t)sizeof(count);

	if (m->sink->connect(m->sink->arg, m->first_line + i, v->eventfd, address,
			     v->words[DATA]) == 0)
		v->connected = true;
	else
		m->faults++;
	count = 1;
	if (came && write(v->eventfd, &count, sizeof(count)) < 0)
		m->faults++;
}

static void apply(struct msix *m, uint32_t i)
{
	struct msix_vector *v = &m->vectors[i];
	const bool open = m->enabled && !m->masked &&
			  !(v->words[CONTROL] & PCI_MSIX_ENTRY_CTRL_MASKBIT);

	if (!m->sink || open == v->connected)
		return;
	if (open) {
		connect_vector(m, i);
		return;
	}
	m->sink->disconnect(m->sink->arg, m->first_line + i, v->eventfd);
	v->connected = false;
}

void msix_control(struct msix *m, bool enabled, bool masked)
{
	if (enabled == m->enabled && masked == m->masked)
		return;
	m->enabled = enabled;
	m->masked = masked;
	for (uint32_t i = 0; i < m->n; i++)
		apply(m, i);
}

uint64_t msix_table_size(const struct msix *m)
{
	return (uint64_t)m->n * MSIX_ENTRY_SIZE;
}

uint64_t msix_pending_size(const struct msix *m)
{
	return (m->n + 63ull) / 64 * 8;
}

/* Whether an access is one of those there are. */
static bool fits(uint64_t offset, uint32_t size, uint64_t all)
{
	return (size == 4 || size == 8) && offset % size == 0 && size <= all &&
	       offset <= all - size;
}

void msix_table_read(const struct msix *m, uint64_t offset, void *buf, uint32_t size)
{
	if (fits(offset, size, msix_table_size(m)))
		memcpy(buf,
		       (const uint8_t *)m->vectors[offset / MSIX_ENTRY_SIZE].words +
			       offset % MSIX_ENTRY_SIZE,
		       size);
}

void msix_table_write(struct msix *m, uint64_t offset, const void *buf, uint32_t size)
{
	const uint32_t i = (uint32_t)(offset / MSIX_ENTRY_SIZE);
	struct msix_vector *v;
	uint32_t word;

	if (!fits(offset, size, msix_table_size(m)))
		return;
	v = &m->vectors[i];
	word = (uint32_t)(offset % MSIX_ENTRY_SIZE / 4);
	memcpy(v->words + word, buf, size);
	v->words[CONTROL] &= PCI_MSIX_ENTRY_CTRL_MASKBIT;
	/* A message that changes while it may be sent: 6.8.2.9 leaves open what happens. */
	if (v->connected && word < CONTROL) {
		m->sink->disconnect(m->sink->arg, m->first_line + i, v->eventfd);
		v->connected = false;
	}
	apply(m, i);
}

static bool pending(const struct msix_vector *v)
{
	struct pollfd p = {.fd = v->eventfd, .events = POLLIN};

	return !v->connected && poll(&p, 1, 0) == 1 && p.revents & POLLIN;
}

void msix_pending_read(const struct msix *m, uint64_t offset, void *buf, uint32_t size)
{
	uint64_t bits = 0;

	if (!fits(offset, size, msix_pending_size(m)))
		return;
	for (uint32_t bit = 0; bit < size * 8; bit++) {
		const uint64_t i = offset * 8 + bit;

		if (i < m->n && pending(&m->vectors[i]))
			bits |= 1ull << bit;
	}
	memcpy(buf, &bits, size);
}
