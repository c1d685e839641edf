// SPDX-License-Identifier: GPL-2.0-only
/*
 * A sandbox: an open of /dev/caisson.  Its memory, its page tables, its vCPUs, and their end.
 *
 * DATA blocks are pinned pages of the monitor process; TABLE blocks are ours alone, so that not
 * even a monitor process that has fallen can write a page table.
 */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/uaccess.h>
#include <asm/io.h>
#include <asm/tsc.h>

#include "gate.h"
#include "monitor.h"
#include "mutant.h"

#define BLOCK_ORDER (CAISSON_BLOCK_SHIFT - PAGE_SHIFT)
#define BLOCK_PAGES (1u << BLOCK_ORDER)
#define FRAMES_ORDER get_order(GATE_FRAMES_SIZE)
#define BLOCK_BYTES (1ul << CAISSON_BLOCK_SHIFT)
/* 64 GiB of DATA; 4 GiB of TABLE. */
#define BLOCKS_MAX 32768
#define TABLE_BLOCKS_MAX 2048

#define LOCK_HOST ~0u /* else a vCPU's number + 1: the pks gate */

/* Interrupts off; the state to go back to.  Nobody sleeps with it, and who has it in the gate is
 * let out of it before anything else runs on that CPU (run_irqs_off()). */
unsigned long caisson_tables_lock(struct caisson_sandbox *s)
{
	unsigned long flags;

	local_irq_save(flags);
	while (READ_ONCE(s->tables->lock) || cmpxchg_acquire(&s->tables->lock, 0, LOCK_HOST))
		cpu_relax();
	return flags;
}

void caisson_tables_unlock(struct caisson_sandbox *s, unsigned long flags)
{
	smp_store_release(&s->tables->lock, 0);
	local_irq_restore(flags);
}

static int block_compare(const void *a, const void *b)
{
	const struct caisson_block *x = a, *y = b;

	return x->number < y->number ? -1 : x->number > y->number;
}

/* Adds blocks to those that the rules know; all or none. */
static int blocks_add(struct caisson_sandbox *s, const struct caisson_block *more, u32 n)
{
	struct caisson_tables *t = s->tables;
	struct caisson_block *blocks, *old;
	unsigned long flags;
	u32 total = t->blocks_n + n;

	blocks = kvmalloc_array(total, sizeof(*blocks), GFP_KERNEL_ACCOUNT);
	if (!blocks)
		return -ENOMEM;
	if (t->blocks_n)
		memcpy(blocks, t->blocks, t->blocks_n * sizeof(*blocks));
	memcpy(blocks + t->blocks_n, more, n * sizeof(*blocks));
	sort(blocks, total, sizeof(*blocks), block_compare, NULL);
	for (u32 i = 1; i < total; i++)
		if (blocks[i - 1].number == blocks[i].number && DUTY(119)) {
			kvfree(blocks);
			return -EEXIST;
		}
	/* Memory and registers cannot be at one place; if they were, it would be neither. */
	for (u32 i = 0; i < n; i++)
		if (caisson_window_overlaps(t, more[i].number << CAISSON_BLOCK_SHIFT,
					    (more[i].number + 1) << CAISSON_BLOCK_SHIFT)) {
			kvfree(blocks);
			return -EEXIST;
		}
	flags = caisson_tables_lock(s);
	old = t->blocks;
	t->blocks = blocks;
	t->blocks_n = total;
	caisson_gate_moved(s);
	caisson_tables_unlock(s, flags);
	/* That one is still mapped. */
	if (old != s->gate.blocks)
		kvfree(old);
	return 0;
}

/* --- DATA --------------------------------------------------------------------------------------
 */

static void block_unpin(struct page *page)
{
	unpin_user_page_range_dirty_lock(page, BLOCK_PAGES, true);
}

/* Pins the 2 MiB at `address`, which must be 2 MiB of physical memory in one piece. */
static int block_pin(u64 address, struct page **scratch, struct page **ret)
{
	int n = pin_user_pages_fast(address, BLOCK_PAGES, FOLL_WRITE | FOLL_LONGTERM, scratch);
	bool whole = n == BLOCK_PAGES && HOLDS(117, page_to_pfn(scratch[0]) % BLOCK_PAGES == 0);

	for (int i = 1; whole && i < n; i++)
		whole = HOLDS(117, page_to_pfn(scratch[i]) == page_to_pfn(scratch[0]) + i);
	if (!whole) {
		if (n > 0)
			unpin_user_pages(scratch, n);
		return n < 0 ? n : n == BLOCK_PAGES ? -EINVAL : -EFAULT;
	}
	*ret = scratch[0];
	return 0;
}

static long memory_add(struct caisson_sandbox *s, struct caisson_memory __user *arg)
{
	struct page **scratch, **pages;
	struct caisson_block *blocks;
	struct caisson_memory m;
	u64 __user *runs;
	u32 n, done = 0;
	int error;

	if (copy_from_user(&m, arg, sizeof(m)))
		return -EFAULT;
	if ((m.address | m.size) & (BLOCK_BYTES - 1) || !m.size)
		return -EINVAL;
	if (m.size > (u64)(BLOCKS_MAX - s->pages_n) << CAISSON_BLOCK_SHIFT)
		return -E2BIG;
	n = m.size >> CAISSON_BLOCK_SHIFT;
	runs = u64_to_user_ptr(m.runs);
	scratch = kvmalloc_array(BLOCK_PAGES, sizeof(*scratch), GFP_KERNEL_ACCOUNT);
	blocks = kvcalloc(n, sizeof(*blocks), GFP_KERNEL_ACCOUNT);
	pages = kvmalloc_array(s->pages_n + n, sizeof(*pages), GFP_KERNEL_ACCOUNT);
	error = -ENOMEM;
	if (!scratch || !blocks || !pages)
		goto out;
	error = account_locked_vm(s->mm, (u64)n * BLOCK_PAGES, true);
	if (error)
		goto out;
	if (s->pages_n)
		memcpy(pages, s->pages, s->pages_n * sizeof(*pages));
	for (; done < n; done++) {
		struct page **page = &pages[s->pages_n + done];

		error = block_pin(m.address + done * BLOCK_BYTES, scratch, page);
		if (error)
			goto err;
		blocks[done].number = page_to_phys(*page) >> CAISSON_BLOCK_SHIFT;
		error = put_user((u64)page_to_phys(*page), runs + done);
		if (error) {
			done++;
			goto err;
		}
		cond_resched();
	}
	error = blocks_add(s, blocks, n);
	if (error)
		goto err;
	swap(s->pages, pages);
	s->pages_n += n;
	goto out;
err:
	while (done--)
		block_unpin(pages[s->pages_n + done]);
	account_locked_vm(s->mm, (u64)n * BLOCK_PAGES, false);
out:
	kvfree(pages);
	kvfree(blocks);
	kvfree(scratch);
	return error;
}

/* --- TABLE -------------------------------------------------------------------------------------
 */

static long tables_add(struct caisson_sandbox *s, struct caisson_tables_add __user *arg)
{
	struct caisson_tables_add a;
	struct caisson_block block = {};
	struct page *page;
	int error;

	if (s->table_blocks >= TABLE_BLOCKS_MAX)
		return -E2BIG;
	page = alloc_pages(GFP_KERNEL_ACCOUNT | __GFP_ZERO | __GFP_COMP | __GFP_NOWARN,
			   BLOCK_ORDER);
	/* Whole pages, for the pks gate. */
	block.frames = (void *)__get_free_pages(GFP_KERNEL_ACCOUNT | __GFP_ZERO, FRAMES_ORDER);
	block.table = s->table_blocks;
	error = -ENOMEM;
	if (!page || !block.frames)
		goto err;
	block.entries = page_address(page);
	block.number = page_to_phys(page) >> CAISSON_BLOCK_SHIFT;
	a.physical = page_to_phys(page);
	error = -EFAULT;
	if (copy_to_user(arg, &a, sizeof(a)))
		goto err;
	error = blocks_add(s, &block, 1);
	if (error)
		goto err;
	s->table_blocks++;
	return 0;
err:
	free_pages((unsigned long)block.frames, FRAMES_ORDER);
	if (page)
		__free_pages(page, BLOCK_ORDER);
	return error;
}

/* One operation, under the tables' lock; EAGAIN: vCPUs have to leave the guest first. */
static long operate(struct caisson_tables *t, struct caisson_operation *op)
{
	switch (op->call) {
	case CAISSON_CALL_TABLE_NEW:
		return caisson_table_new(t, op->a, op->b);
	case CAISSON_CALL_TABLE_FREE:
		return caisson_table_free(t, op->a);
	case CAISSON_CALL_ENTRY_SET:
		return caisson_entry_set(t, op->a, op->b, &op->old);
	default:
		return -ENOSYS;
	}
}

/* After EAGAIN: once more, unless a sibling has used the frame and given it up meanwhile. */
static long again(struct caisson_sandbox *s)
{
	const long error = caisson_vcpus_leave(s, ~0ull);

	if (error)
		return error;
	if (fatal_signal_pending(current))
		return -EINTR;
	cond_resched();
	return 0;
}

/* A page-table operation; with interrupts off it may return EAGAIN. */
long caisson_operation(struct caisson_sandbox *s, struct caisson_operation *op)
{
	unsigned long flags;
	long error;

	for (;;) {
		flags = caisson_tables_lock(s);
		error = operate(s->tables, op);
		caisson_tables_unlock(s, flags);
		if (error != -EAGAIN || irqs_disabled())
			return error;
		error = again(s);
		if (error)
			return error;
	}
}

/* The changes from *at on of a vCPU's list; EAGAIN as above. */
long caisson_changes(struct caisson_sandbox *s, const struct caisson_vcpu_page *page, u32 *at,
		     u32 end)
{
	unsigned long flags;
	long error;

	for (;;) {
		flags = caisson_tables_lock(s);
		error = caisson_changes_make(s->tables, page->changes, at, end);
		caisson_tables_unlock(s, flags);
		if (error != -EAGAIN || irqs_disabled())
			return error;
		error = again(s);
		if (error)
			return error;
	}
}

static long operation(struct caisson_sandbox *s, struct caisson_operation __user *arg)
{
	struct caisson_operation op;
	long error;

	if (copy_from_user(&op, arg, sizeof(op)))
		return -EFAULT;
	op.old = 0;
	error = caisson_operation(s, &op);
	if (!error && put_user(op.old, &arg->old))
		return -EFAULT;
	return error;
}

/* --- Life --------------------------------------------------------------------------------------
 */

static int sandbox_open(struct inode *inode, struct file *file)
{
	struct caisson_sandbox *s = kvzalloc(sizeof(*s), GFP_KERNEL_ACCOUNT);

	if (!s)
		return -ENOMEM;
	s->tables = (void *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	if (!s->tables) {
		kvfree(s);
		return -ENOMEM;
	}
	kref_init(&s->ref);
	mutex_init(&s->lock);
	s->tables->absent = caisson_host.absent;
	s->tables->split = caisson_host.split;
	s->mm = current->mm;
	mmgrab(s->mm);
	file->private_data = s;
	caisson_count(COUNT_SANDBOX);
	caisson_count(COUNT_SANDBOX_LIVE);
	return 0;
}

static void sandbox_free(struct kref *ref)
{
	struct caisson_sandbox *s = container_of(ref, struct caisson_sandbox, ref);

	/* Who raises events or ends vCPUs first, then what they do that to. */
	caisson_windows_done(s);
	caisson_eventfds_done(s);
	for (u32 i = 0; i < s->vcpus_n; i++)
		caisson_vcpu_free(s->vcpus[i]);
	for (u32 i = 0; i < s->tables->blocks_n; i++) {
		struct caisson_block *block = &s->tables->blocks[i];

		if (!block->frames)
			continue;
		__free_pages(virt_to_page(block->entries), BLOCK_ORDER);
		free_pages((unsigned long)block->frames, FRAMES_ORDER);
	}
	for (u32 i = 0; i < s->pages_n; i++)
		block_unpin(s->pages[i]);
	account_locked_vm(s->mm, (u64)s->pages_n * BLOCK_PAGES, false);
	mmdrop(s->mm);
	caisson_gate_done(s);
	kvfree(s->tables->blocks);
	free_page((unsigned long)s->tables);
	kvfree(s->pages);
	kvfree(s);
	caisson_uncount(COUNT_SANDBOX_LIVE);
}

void caisson_sandbox_put(struct caisson_sandbox *s)
{
	kref_put(&s->ref, sandbox_free);
}

static int sandbox_release(struct inode *inode, struct file *file)
{
	caisson_sandbox_put(file->private_data);
	return 0;
}

static long sandbox_ioctl(struct file *file, unsigned int request, unsigned long argument)
{
	struct caisson_sandbox *s = file->private_data;
	void __user *arg = (void __user *)argument;
	long result;

	if (request == CAISSON_GET_VERSION)
		return CAISSON_API;
	if (request == CAISSON_GET_TSC_KHZ)
		return tsc_khz;
	if (current->mm != s->mm && DUTY(118))
		return -EIO;
	if (request == CAISSON_OPERATE)
		return operation(s, arg);
	if (mutex_lock_killable(&s->lock))
		return -EINTR;
	switch (request) {
	case CAISSON_ADD_MEMORY:
		result = memory_add(s, arg);
		break;
	case CAISSON_ADD_TABLES:
		result = tables_add(s, arg);
		break;
	case CAISSON_ADD_WINDOW:
		result = caisson_window_lend(s, arg);
		break;
	case CAISSON_ADD_VCPU:
		result = caisson_vcpu_open(s);
		break;
	case CAISSON_IRQFD:
		result = caisson_irq_add(s, arg);
		break;
	case CAISSON_IOEVENTFD:
		result = caisson_doorbell_add(s, arg);
		break;
	default:
		result = -ENOTTY;
	}
	mutex_unlock(&s->lock);
	return result;
}

const struct file_operations caisson_sandbox_fops = {
	.owner = THIS_MODULE,
	.open = sandbox_open,
	.release = sandbox_release,
	.unlocked_ioctl = sandbox_ioctl,
	.llseek = noop_llseek,
};
