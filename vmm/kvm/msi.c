// SPDX-License-Identifier: Apache-2.0
#include "vmm/kvm/msi.h"

#include <errno.h>
#include <linux/kvm.h>
#include <seccomp.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "lib/cleanup.h"

#define PIC_PINS 16u
#define PINS (VM_PINS + PIC_PINS)

const struct confine_call msi_calls[] = {
	/* A vector is unmasked: where its message goes, and its eventfd to KVM; masked: back. */
	{SCMP_SYS(ioctl), CONFINE_ARG(1, KVM_SET_GSI_ROUTING)},
	{SCMP_SYS(ioctl), CONFINE_ARG(1, KVM_IRQFD)},
	{SCMP_SYS(read)},  /* what came while it was masked ... */
	{SCMP_SYS(write)}, /* ... comes again */
	{SCMP_SYS(poll)},  /* the pending bits */
};
const size_t msi_calls_n = ARRAY_SIZE(msi_calls);

static int connect_line(void *arg, uint32_t line, int eventfd, uint64_t address, uint32_t data)
{
	struct msi *m = arg;
	struct kvm_irqfd irqfd = {.fd = (uint32_t)eventfd, .gsi = VM_PINS + line};
	struct kvm_irq_routing_entry route = {.gsi = VM_PINS + line, .type = KVM_IRQ_ROUTING_MSI};
	struct kvm_irq_routing_entry *entry, old;
	int rc = 0;

	route.u.msi.address_lo = (uint32_t)address;
	route.u.msi.address_hi = (uint32_t)(address >> 32);
	route.u.msi.data = data;
	if (line >= m->lines)
		return -EINVAL;
	pthread_mutex_lock(&m->lock);
	entry = &m->table->entries[PINS + line];
	old = *entry;
	*entry = route;
	if (ioctl(m->vm->fd, KVM_SET_GSI_ROUTING, m->table) < 0) {
		rc = -errno;
		/* KVM keeps the table it had; so do we, or no other line could change. */
		*entry = old;
	}
	pthread_mutex_unlock(&m->lock);
	if (rc == 0 && ioctl(m->vm->fd, KVM_IRQFD, &irqfd) < 0)
		rc = -errno;
	return rc;
}

static void disconnect_line(void *arg, uint32_t line, int eventfd)
{
	const struct msi *m = arg;
	struct kvm_irqfd irqfd = {.fd = (uint32_t)eventfd,
				  .gsi = VM_PINS + line,
				  .flags = KVM_IRQFD_FLAG_DEASSIGN};

	/* It was connected, so it can be taken back. */
	ioctl(m->vm->fd, KVM_IRQFD, &irqfd);
}

/* As KVM_CREATE_IRQCHIP has made it (arch/x86/kvm/irq_comm.c, default_routing). */
static void add_pins(struct kvm_irq_routing *t)
{
	for (uint32_t i = 0; i < PINS; i++) {
		struct kvm_irq_routing_entry *e = &t->entries[t->nr++];
		const uint32_t pin = i < VM_PINS ? i : i - VM_PINS;

		*e = (struct kvm_irq_routing_entry){.gsi = pin, .type = KVM_IRQ_ROUTING_IRQCHIP};
		e->u.irqchip.irqchip = i < VM_PINS ? KVM_IRQCHIP_IOAPIC
				       : pin < 8   ? KVM_IRQCHIP_PIC_MASTER
						   : KVM_IRQCHIP_PIC_SLAVE;
		e->u.irqchip.pin = i < VM_PINS ? pin : pin % 8;
	}
}

int msi_init(struct msi *m, const struct vm *vm, uint32_t lines, struct error *err)
{
	*m = (struct msi){.vm = vm, .lines = lines, .sink = {m, connect_line, disconnect_line}};
	pthread_mutex_init(&m->lock, NULL);
	if (ioctl(vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_IRQ_ROUTING) < (int)(PINS + lines))
		return error_set(err, ENOTSUP,
				 "KVM: no routes for %u interrupts (KVM_CAP_IRQ_ROUTING)", lines);
	m->table = calloc(1, sizeof(*m->table) +
				     (PINS + lines) * sizeof(struct kvm_irq_routing_entry));
	if (!m->table)
		return error_set(err, ENOMEM, "out of memory");
	add_pins(m->table);
	/* Nobody is connected yet: any message will do, and 0 is sent to nobody. */
	for (uint32_t i = 0; i < lines; i++)
		m->table->entries[m->table->nr++] = (struct kvm_irq_routing_entry){
			.gsi = VM_PINS + i, .type = KVM_IRQ_ROUTING_MSI};
	return 0;
}

void msi_done(struct msi *m)
{
	free(m->table);
	m->table = NULL;
}
