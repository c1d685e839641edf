// SPDX-License-Identifier: GPL-2.0-only
/*
 * The host's side of the pks gate: what gate.h says is mapped in the guests, for one sandbox.
 *
 * It is made when the first of its vCPUs runs, of what there is by then.  What is added later is
 * not in it, and has all vCPUs use the cr3 gate from then on (`moved`).  Nothing that is mapped
 * there is freed, or used for something else, before the sandbox ends.
 */
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/vmalloc.h>

#include "gate.h"
#include "monitor.h"
#include "mutant.h"

#define TABLE_FLAGS (CAISSON_PTE_P | CAISSON_PTE_W | CAISSON_PTE_A)

static void map(u64 *table, unsigned int index, u64 physical, u64 size_bit)
{
	table[index] = physical | CAISSON_GATE_FLAGS | size_bit;
}

static void blocks_map(u64 *pt, const struct caisson_block *blocks, size_t size)
{
	for (size_t at = 0; at < size; at += PAGE_SIZE)
		map(pt, (GATE_BLOCKS + at) >> PAGE_SHIFT,
		    (u64)vmalloc_to_pfn((const u8 *)blocks + at) << PAGE_SHIFT, 0);
}

static void frames_map(u64 *const *pts, const struct caisson_table_frame *frames, u32 table)
{
	for (u32 i = 0; i < GATE_FRAMES_SIZE / PAGE_SIZE; i++) {
		const u32 page = table * (GATE_FRAMES_SIZE / PAGE_SIZE) + i;

		map(pts[page / 512], page % 512, __pa(frames) + i * PAGE_SIZE, 0);
	}
}

static void root_map(u64 *pt, u32 vcpu, const u64 *root)
{
	const u32 first = (GATE_ROOTS + vcpu * GATE_ROOT_SIZE) >> PAGE_SHIFT;

	map(pt, first, __pa(root), 0);
	if (caisson_host.split)
		map(pt, first + 1, __pa(root + caisson_host.split), 0);
}

static void link(const struct caisson_gate *g, struct caisson_vcpu *v)
{
	caisson_view_link(&v->view, caisson_host.gate, __pa(g->pages[0]) | TABLE_FLAGS);
}

/* Under the sandbox's lock. */
static int build(struct caisson_sandbox *s, struct caisson_gate *g)
{
	struct caisson_tables *t = s->tables;
	const size_t size = PAGE_ALIGN(t->blocks_n * sizeof(*t->blocks));
	struct caisson_block *old;
	unsigned long flags;

	if (s->table_blocks > GATE_TABLE_BLOCKS_MAX || size > GATE_BLOCKS_SIZE || !size)
		return -E2BIG;
	for (unsigned int i = 0; i < ARRAY_SIZE(g->pages); i++) {
		g->pages[i] = (u64 *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
		if (!g->pages[i])
			return -ENOMEM;
	}
	/* Pages of its own. */
	g->blocks = __vmalloc(size, GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	if (!g->blocks)
		return -ENOMEM;
	memcpy(g->blocks, t->blocks, t->blocks_n * sizeof(*t->blocks));
	for (unsigned int i = 1; i < ARRAY_SIZE(g->pages); i++)
		g->pages[0][i - 1] = __pa(g->pages[i]) | TABLE_FLAGS;
	map(g->pages[1], 0, __pa(t), 0);
	for (u32 i = 0; i < s->vcpus_n; i++)
		root_map(g->pages[1], i, s->vcpus[i]->root);
	blocks_map(g->pages[1], g->blocks, size);
	for (u32 i = 0; i < t->blocks_n; i++) {
		const struct caisson_block *block = &g->blocks[i];

		if (!block->frames)
			continue;
		frames_map(&g->pages[2], block->frames, block->table);
		map(g->pages[0], (GATE_ENTRIES >> CAISSON_BLOCK_SHIFT) + block->table,
		    __pa(block->entries), CAISSON_PTE_PS);
	}
	flags = caisson_tables_lock(s);
	old = t->blocks;
	t->blocks = g->blocks;
	caisson_tables_unlock(s, flags);
	kvfree(old);
	for (u32 i = 0; i < s->vcpus_n; i++)
		link(g, s->vcpus[i]);
	return 0;
}

/* Before any vCPU of the sandbox runs; by whichever comes first.  Without it there is the cr3 gate.
 */
void caisson_gate_open(struct caisson_sandbox *s)
{
	struct caisson_gate *g = &s->gate;

	if (!caisson_host.gate || smp_load_acquire(&g->state) != GATE_UNKNOWN)
		return;
	mutex_lock(&s->lock);
	if (g->state == GATE_UNKNOWN)
		smp_store_release(&g->state, build(s, g) ? GATE_NONE : GATE_OPEN);
	mutex_unlock(&s->lock);
}

/* A vCPU that comes late finds what there is, `moved` among it; under the sandbox's lock, before it
 * is known to anybody. */
void caisson_gate_late(struct caisson_sandbox *s, struct caisson_vcpu *v)
{
	if (s->gate.state == GATE_OPEN)
		link(&s->gate, v);
}

/* Something is there that is not mapped; under the tables' lock. */
void caisson_gate_moved(struct caisson_sandbox *s)
{
	s->tables->moved = s->gate.state != GATE_UNKNOWN;
}

/* At the sandbox's end. */
void caisson_gate_done(struct caisson_sandbox *s)
{
	struct caisson_gate *g = &s->gate;

	for (unsigned int i = 0; i < ARRAY_SIZE(g->pages); i++)
		free_page((unsigned long)g->pages[i]);
	if (s->tables->blocks != g->blocks)
		vfree(g->blocks);
}
