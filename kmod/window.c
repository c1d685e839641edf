// SPDX-License-Identifier: GPL-2.0-only
/*
 * MMIO windows: registers of a PCI function, lent to a sandbox (CAISSON_ADD_WINDOW).
 *
 * The monitor process has them mapped and names a range of that mapping; what is there is read from
 * its page tables, never said by it, and must be a function's registers.
 *
 * The process's mapping is the right to them.  Who takes it away (the function's driver, before it
 * resets the function or gives it back; munmap(); the process's end) calls a notifier of the
 * address space first, and waits in it.  We do not take the entries out of the guest's tables: the
 * sandbox is over, and nobody walks them any more.
 */
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/pci.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>

#include "monitor.h"
#include "mutant.h"

#define WINDOW_MAX (1ull << 30)

/* --- The process's mapping ---------------------------------------------------------------------
 */

/* With any entry of the range about to change; may not sleep (the caller's `range` says), and need
 * not. */
static bool taken(struct mmu_interval_notifier *notifier, const struct mmu_notifier_range *range,
		  unsigned long seq)
{
	struct caisson_lent *lent = container_of(notifier, struct caisson_lent, notifier);
	struct caisson_sandbox *s = lent->sandbox;
	unsigned long flags;
	bool first;

	flags = caisson_tables_lock(s);
	mmu_interval_set_seq(notifier, seq);
	first = lent->given && !s->revoked && DUTY(145);
	if (first)
		WRITE_ONCE(s->revoked, true);
	caisson_tables_unlock(s, flags);
	if (first)
		caisson_count(COUNT_REVOKE);
	/* Not the first either goes on before they have left. */
	if (READ_ONCE(s->revoked))
		caisson_vcpus_end(s);
	return true;
}

static const struct mmu_interval_notifier_ops notifier_ops = {.invalidate = taken};

/*
 * The frame of an address, under the mmap lock.  ENXIO: no entry is there yet.
 *
 * UC-: by PCD alone.  With the PAT bit it would be the same; at level 1 this is the size bit of the
 * others, and which level it is nobody says.
 */
static int frame_read(u64 address, u64 *ret_pfn)
{
	struct follow_pfnmap_args f = {.vma = vma_lookup(current->mm, address), .address = address};
	bool writable;
	u64 bits;

	if (!f.vma || !(f.vma->vm_flags & VM_PFNMAP) || !(f.vma->vm_flags & VM_SHARED))
		return -EINVAL;
	if (follow_pfnmap_start(&f))
		return -ENXIO;
	*ret_pfn = f.pfn;
	bits = pgprot_val(f.pgprot);
	writable = f.writable;
	follow_pfnmap_end(&f);
	if (!HOLDS(144, writable))
		return -EACCES;
	if (!HOLDS(143, (bits & (CAISSON_PTE_PWT | CAISSON_PTE_PCD | CAISSON_PTE_PAT_LARGE)) ==
				CAISSON_PTE_PCD))
		return -EINVAL;
	return 0;
}

/* vfio-pci has a page there when somebody touches it. */
static int frame_find(u64 address, u64 *ret_pfn)
{
	bool unlocked; /* meanwhile: who changed something there is noticed by the notifier */
	int error = frame_read(address, ret_pfn);

	if (error != -ENXIO)
		return error;
	error = fixup_user_fault(current->mm, address, FAULT_FLAG_WRITE, &unlocked);
	if (!error)
		error = frame_read(address, ret_pfn);
	return error == -ENXIO ? -EFAULT : error;
}

/* The first frame of what must be in one piece. */
static int frames_find(u64 address, u64 size, u64 *ret_pfn)
{
	struct mm_struct *mm = current->mm;
	u64 pfn;
	int error = 0;

	if (mmap_read_lock_killable(mm))
		return -EINTR;
	for (u64 at = 0; at < size && !error; at += PAGE_SIZE) {
		error = frame_find(address + at, &pfn);
		if (at == 0)
			*ret_pfn = pfn;
		if (!error && !HOLDS(142, pfn == *ret_pfn + (at >> PAGE_SHIFT)))
			error = -EINVAL;
		if (!error && fatal_signal_pending(current))
			error = -EINTR;
		cond_resched();
	}
	mmap_read_unlock(mm);
	return error;
}

/* --- The function ------------------------------------------------------------------------------
 */

static bool is_in_bar(struct pci_dev *f, u64 start, u64 end)
{
	for (unsigned int i = 0; i < PCI_STD_NUM_BARS; i++) {
		const struct resource *r = &f->resource[i];

		if (r->flags & IORESOURCE_MEM && !(r->flags & IORESOURCE_UNSET) &&
		    start >= r->start && end - 1 <= r->end)
			return true;
	}
	return false;
}

/* An entry is an address to write to, and a value, in the host. */
static bool has_msix_entry(struct pci_dev *f, u64 start, u64 end)
{
	u32 table;
	u16 control;
	u64 at;

	if (!f->msix_cap)
		return false;
	if (pci_read_config_word(f, f->msix_cap + PCI_MSIX_FLAGS, &control) ||
	    pci_read_config_dword(f, f->msix_cap + PCI_MSIX_TABLE, &table) ||
	    (table & PCI_MSIX_TABLE_BIR) >= PCI_STD_NUM_BARS)
		return true; /* who knows */
	at = pci_resource_start(f, table & PCI_MSIX_TABLE_BIR) + (table & PCI_MSIX_TABLE_OFFSET);
	return start < at + ((control & PCI_MSIX_FLAGS_QSIZE) + 1) * PCI_MSIX_ENTRY_SIZE &&
	       at < end;
}

static int registers_check(u64 start, u64 end)
{
	struct pci_dev *f = NULL;

	while ((f = pci_get_device(PCI_ANY_ID, PCI_ANY_ID, f))) {
		bool good;

		if (!is_in_bar(f, start, end))
			continue;
		good = HOLDS(141, !has_msix_entry(f, start, end));
		pci_dev_put(f);
		return good ? 0 : -EPERM;
	}
	return HOLDS(140, false) ? 0 : -EPERM;
}

/* --- Both --------------------------------------------------------------------------------------
 */

/* Whatever the process does meanwhile: if the range has changed since `seq`, it is given nothing;
 * later the notifier finds it given. */
static int give(struct caisson_lent *lent, u64 start, u64 end, unsigned long seq)
{
	struct caisson_sandbox *s = lent->sandbox;
	unsigned long flags;
	int error;

	flags = caisson_tables_lock(s);
	if (s->revoked)
		error = -ENODEV;
	else if (!HOLDS(147, !mmu_interval_read_retry(&lent->notifier, seq)))
		error = -EAGAIN;
	else
		error = caisson_window_add(s->tables, start, end, CAISSON_PTE_PCD);
	lent->given = !error;
	caisson_tables_unlock(s, flags);
	return error;
}

static int find_and_give(struct caisson_lent *lent, struct caisson_window_add *a)
{
	const unsigned long seq = mmu_interval_read_begin(&lent->notifier);
	u64 pfn;
	int error = frames_find(a->address, a->size, &pfn);

	if (error)
		return error;
	a->physical = pfn << PAGE_SHIFT;
	error = registers_check(a->physical, a->physical + a->size);
	return error ? error : give(lent, a->physical, a->physical + a->size, seq);
}

/* Under the sandbox's lock. */
int caisson_window_lend(struct caisson_sandbox *s, struct caisson_window_add __user *arg)
{
	struct caisson_lent *lent = &s->lent[s->lent_n];
	struct caisson_window_add a;
	int error;

	if (copy_from_user(&a, arg, sizeof(a)))
		return -EFAULT;
	if ((a.address | a.size) & ~PAGE_MASK || !a.size || a.address >= TASK_SIZE_MAX)
		return -EINVAL;
	if (s->lent_n == CAISSON_WINDOWS_MAX || a.size > WINDOW_MAX)
		return -E2BIG;
	if (a.size > TASK_SIZE_MAX - a.address)
		return -EINVAL;
	lent->sandbox = s;
	lent->given = false;
	error = mmu_interval_notifier_insert(&lent->notifier, current->mm, a.address, a.size,
					     &notifier_ops);
	if (error)
		return error;
	error = find_and_give(lent, &a);
	if (error) {
		mmu_interval_notifier_remove(&lent->notifier);
		return error;
	}
	s->lent_n++;
	/* Given it stays, as it has been seen. */
	return put_user(a.physical, &arg->physical) ? -EFAULT : 0;
}

/* At the sandbox's end; may sleep.  Nobody is in the notifier afterwards. */
void caisson_windows_done(struct caisson_sandbox *s)
{
	for (u32 i = 0; i < s->lent_n; i++)
		mmu_interval_notifier_remove(&s->lent[i].notifier);
}
