// SPDX-License-Identifier: GPL-2.0-only
/*
 * Eventfds on both sides of a guest: who writes one raises an event (CAISSON_IRQFD), and a guest's
 * call to the monitor may write one (CAISSON_IOEVENTFD).  No vCPU thread returns to user space for
 * either.
 *
 * Each holds the eventfd until the sandbox ends.  That its last descriptor is closed before is
 * nothing to us: nobody writes any more, or what is written is read by nobody.
 */
#include <linux/eventfd.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "monitor.h"
#include "mutant.h"

struct caisson_irq {
	struct caisson_irq *next;
	struct caisson_vcpu *vcpu;
	u32 event;
	struct eventfd_ctx *eventfd;
	wait_queue_entry_t wait;
	poll_table poll;
};

/* Under the eventfd's lock, with interrupts off. */
static int irq_wake(wait_queue_entry_t *wait, unsigned int mode, int sync, void *key)
{
	struct caisson_irq *irq = container_of(wait, struct caisson_irq, wait);

	if (key_to_poll(key) & EPOLLIN) {
		caisson_count(COUNT_IRQ);
		caisson_vcpu_raise(irq->vcpu, irq->event);
	}
	return 0;
}

static void irq_queue(struct file *file, wait_queue_head_t *head, poll_table *poll)
{
	add_wait_queue(head, &container_of(poll, struct caisson_irq, poll)->wait);
}

/* Under the sandbox's lock. */
int caisson_irq_add(struct caisson_sandbox *s, const struct caisson_irqfd __user *arg)
{
	struct caisson_irqfd a;
	struct caisson_irq *irq;
	struct file *file;

	if (copy_from_user(&a, arg, sizeof(a)))
		return -EFAULT;
	if (a.reserved || !HOLDS(120, a.event < 64))
		return -EINVAL;
	if (s->irqs_n == CAISSON_IRQFDS_MAX)
		return -E2BIG;
	if (!caisson_vcpu_find(s, a.vcpu))
		return -ENOENT;
	file = eventfd_fget(a.fd);
	if (IS_ERR(file))
		return PTR_ERR(file);
	irq = kzalloc(sizeof(*irq), GFP_KERNEL_ACCOUNT);
	if (!irq) {
		fput(file);
		return -ENOMEM;
	}
	irq->vcpu = caisson_vcpu_find(s, a.vcpu);
	irq->event = a.event;
	irq->eventfd = eventfd_ctx_fileget(file);
	init_waitqueue_func_entry(&irq->wait, irq_wake);
	init_poll_funcptr(&irq->poll, irq_queue);
	irq->next = s->irqs;
	s->irqs = irq;
	s->irqs_n++;
	/* What was written before counts as well. */
	if (vfs_poll(file, &irq->poll) & EPOLLIN)
		caisson_vcpu_raise(irq->vcpu, irq->event);
	fput(file);
	return 0;
}

/* Under the sandbox's lock. */
int caisson_doorbell_add(struct caisson_sandbox *s, const struct caisson_ioeventfd __user *arg)
{
	struct caisson_ioeventfd a;
	struct caisson_doorbell *bell;

	if (copy_from_user(&a, arg, sizeof(a)))
		return -EFAULT;
	if (a.reserved)
		return -EINVAL;
	if (!HOLDS(121, s->doorbells_n < CAISSON_IOEVENTFDS_MAX))
		return -E2BIG;
	bell = &s->doorbells[s->doorbells_n];
	memcpy(bell->argument, a.argument, sizeof(bell->argument));
	bell->eventfd = eventfd_ctx_fdget(a.fd);
	if (IS_ERR(bell->eventfd))
		return PTR_ERR(bell->eventfd);
	smp_store_release(&s->doorbells_n, s->doorbells_n + 1);
	return 0;
}

/* Whether a call to the monitor is one; then it has been rung. */
bool caisson_doorbell_ring(struct caisson_sandbox *s, const u64 argument[4])
{
	const u32 n = smp_load_acquire(&s->doorbells_n);

	for (u32 i = 0; i < n; i++)
		if (!memcmp(s->doorbells[i].argument, argument, sizeof(s->doorbells[i].argument))) {
			caisson_count(COUNT_DOORBELL);
			eventfd_signal(s->doorbells[i].eventfd);
			return true;
		}
	return false;
}

/* Nobody is in an ioctl of the sandbox's any more, but eventfds may be written. */
void caisson_eventfds_done(struct caisson_sandbox *s)
{
	u64 count;

	while (s->irqs) {
		struct caisson_irq *irq = s->irqs;

		s->irqs = irq->next;
		eventfd_ctx_remove_wait_queue(irq->eventfd, &irq->wait, &count);
		eventfd_ctx_put(irq->eventfd);
		kfree(irq);
	}
	for (u32 i = 0; i < s->doorbells_n; i++)
		eventfd_ctx_put(s->doorbells[i].eventfd);
}
