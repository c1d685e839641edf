// SPDX-License-Identifier: GPL-2.0-only
/*
 * The reserved slot (layout.h): our area in the host's page tables, and the slot of each vCPU: our
 * IDT, GDT and TSS at the addresses where the host's CPUs have theirs, and the vCPU's own pages.
 *
 * The contents of IDT, GDT and TSS are the same for all vCPUs, since stacks are at the same
 * addresses in each vCPU's own view.  All three are read-only in the guest; accessed bits are set
 * in advance, since a CPU that wanted to set one would fault (the emulator does not).
 */
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <asm/page.h>

#include "gate.h"
#include "monitor.h"
#include "mutant.h"

#define TABLE_FLAGS (CAISSON_PTE_P | CAISSON_PTE_W | CAISSON_PTE_A)
#define CODE_FLAGS (CAISSON_PTE_P | CAISSON_PTE_A)
#define CONST_FLAGS (CAISSON_PTE_P | CAISSON_PTE_A | CAISSON_PTE_NX)
#define DATA_FLAGS (CAISSON_PTE_P | CAISSON_PTE_W | CAISSON_PTE_A | CAISSON_PTE_D | CAISSON_PTE_NX)
/* Entries of a table of the area's addresses: it is the last of everything. */
#define LAST 511

#define CR4_PGE (1ul << 7)
#define CODE_SIZE ((CODE_PAGES + GATE_CODE_PAGES) * PAGE_SIZE)
#define CONTEXTS_PER_PAGE (PAGE_SIZE / sizeof(struct caisson_host_context))
#define CONTEXT_PAGES_MAX (LAST + 1 - PAGE_HOST)

static u8 *code; /* CODE_PAGES, and those of the pks gate */
static void *idt, *gdt, *tss;

/* The area in the host's tables: which entry we filled in, and what with. */
static u64 *host_entry;
static u64 *host_pt, *host_pd;
static void *contexts[CONTEXT_PAGES_MAX];
static unsigned int contexts_n;

static void *page_new(void)
{
	return (void *)get_zeroed_page(GFP_KERNEL);
}

static void gate_set(unsigned int vector, unsigned int dpl, unsigned int ist)
{
	const u64 to = AREA + vector * 16;
	u64 *gate = (u64 *)idt + vector * 2;

	/* An interrupt gate: the entry code runs with interrupts off. */
	gate[0] = (to & 0xffff) | (u64)__KERNEL_CS << 16 | (u64)ist << 32 | (u64)0x8e << 40 |
		  (u64)dpl << 45 | (to >> 16 & 0xffff) << 48;
	gate[1] = to >> 32;
}

static void descriptors_fill(const struct caisson_host *host)
{
	u64 *d = gdt;
	u8 *t = tss;

	for (unsigned int vector = 0; vector < 256; vector++)
		gate_set(vector, DUTY(102) ? 0 : 3, 0);
	gate_set(1, 0, IST_DB);
	gate_set(2, 0, IST_NMI);
	gate_set(3, 3, 0);
	gate_set(4, 3, 0);
	gate_set(8, 0, IST_DF);
	gate_set(18, 0, IST_MC);

	d[__KERNEL_CS / 8] = 0x00af9b000000ffff;
	d[__KERNEL_DS / 8] = 0x00cf93000000ffff;
	d[CAISSON_CS / 8] = DUTY(202) ? 0x00afbb000000ffff : 0x00afba000000ffff;
	d[CAISSON_SS / 8] = 0x00cfb3000000ffff;
	d[CAISSON_USER_CS / 8] = 0x00affb000000ffff;
	d[CAISSON_USER_SS / 8] = 0x00cff3000000ffff;

	*(u64 *)(t + 4) = AREA + (PAGE_STACK + 1) * PAGE_SIZE;
	*(u64 *)(t + 36 + (IST_NMI - 1) * 8) = AREA + (PAGE_NMI + 1) * PAGE_SIZE;
	*(u64 *)(t + 36 + (IST_DF - 1) * 8) = AREA + (PAGE_DF + 1) * PAGE_SIZE;
	*(u64 *)(t + 36 + (IST_MC - 1) * 8) = AREA + (PAGE_MC + 1) * PAGE_SIZE;
	*(u64 *)(t + 36 + (IST_DB - 1) * 8) = AREA + (PAGE_DB + 1) * PAGE_SIZE;
	/* Beyond any limit: no I/O bitmap, whatever limit the host's TR has. */
	*(u16 *)(t + 102) = DUTY(103) ? 0xffff : 104;
}

/* --- The host's side -------------------------------------------------------------------------- */

static u64 *table_at(u64 entry)
{
	return __va(entry & CAISSON_PTE_ADDRESS);
}

/* All of this CPU's TLB, global entries and all PCIDs included. */
static void flush_cpu(void *unused)
{
	u64 cr4;

	asm volatile("mov %%cr4, %0" : "=r"(cr4));
	asm volatile("mov %0, %%cr4" : : "r"(cr4 ^ CR4_PGE) : "memory");
	asm volatile("mov %0, %%cr4" : : "r"(cr4) : "memory");
}

/*
 * Puts the area into the host's tables.  Entry 508 of all its tables of level 4 for these addresses
 * leads to the same table of level 3 (so it does with page-table isolation), which is written once.
 */
static int host_map(void)
{
	u64 cr3, *pud, *entry, *top;

	asm volatile("mov %%cr3, %0" : "=r"(cr3));
	top = table_at(cr3);
	if (caisson_host.five_levels)
		top = table_at(top[LAST]);
	entry = top + CAISSON_SLOT_INDEX;
	if (!(*entry & CAISSON_PTE_P))
		return -ENODEV;
	pud = table_at(*entry);
	for (unsigned int i = 0; i < CODE_PAGES; i++)
		host_pt[PAGE_CODE + i] = __pa(code + i * PAGE_SIZE) | CODE_FLAGS;
	for (unsigned int i = 0; i < contexts_n; i++)
		host_pt[PAGE_HOST + i] = __pa(contexts[i]) | DATA_FLAGS;
	if (pud[LAST] & CAISSON_PTE_P) {
		/* The entry area of some CPU lies in the same gigabyte. */
		host_entry = table_at(pud[LAST]) + LAST;
		if (pud[LAST] & CAISSON_PTE_PS || *host_entry & CAISSON_PTE_P) {
			host_entry = NULL;
			pr_err("caisson: the last 2 MiB of the CPU entry area are in use; they are "
			       "placed by chance at boot: boot again\n");
			return -EBUSY;
		}
		WRITE_ONCE(*host_entry, __pa(host_pt) | TABLE_FLAGS);
	} else {
		host_pd[LAST] = __pa(host_pt) | TABLE_FLAGS;
		host_entry = &pud[LAST];
		WRITE_ONCE(*host_entry, __pa(host_pd) | TABLE_FLAGS);
	}
	return 0;
}

static void host_unmap(void)
{
	if (!host_entry)
		return;
	WRITE_ONCE(*host_entry, 0);
	on_each_cpu(flush_cpu, NULL, 1);
	host_entry = NULL;
}

int caisson_area_init(const struct caisson_host *host)
{
	int error = -ENOMEM;

	BUILD_BUG_ON(sizeof(struct caisson_host_context) != 64);
	contexts_n = DIV_ROUND_UP(nr_cpu_ids, CONTEXTS_PER_PAGE);
	if (contexts_n > CONTEXT_PAGES_MAX)
		return -E2BIG;
	code = (u8 *)__get_free_pages(GFP_KERNEL, get_order(CODE_SIZE));
	idt = page_new();
	gdt = page_new();
	tss = page_new();
	host_pt = page_new();
	host_pd = page_new();
	if (!code || !idt || !gdt || !tss || !host_pt || !host_pd)
		goto err;
	for (unsigned int i = 0; i < contexts_n; i++) {
		contexts[i] = page_new();
		if (!contexts[i])
			goto err;
	}
	memcpy(code, caisson_stub, CODE_PAGES * PAGE_SIZE);
	memcpy(code + CODE_PAGES * PAGE_SIZE, caisson_gate_code, GATE_CODE_PAGES * PAGE_SIZE);
	descriptors_fill(host);
	error = host_map();
	if (error)
		goto err;
	return 0;
err:
	caisson_area_done();
	return error;
}

void caisson_area_done(void)
{
	host_unmap();
	for (unsigned int i = 0; i < contexts_n; i++) {
		free_page((unsigned long)contexts[i]);
		contexts[i] = NULL;
	}
	free_page((unsigned long)host_pd);
	free_page((unsigned long)host_pt);
	free_page((unsigned long)tss);
	free_page((unsigned long)gdt);
	free_page((unsigned long)idt);
	free_pages((unsigned long)code, get_order(CODE_SIZE));
}

/* What a CPU comes back to; ret_address is where the entry code finds it. */
struct caisson_host_context *caisson_area_context(unsigned int cpu, u64 *ret_address)
{
	const unsigned int page = cpu / CONTEXTS_PER_PAGE, at = cpu % CONTEXTS_PER_PAGE;
	struct caisson_host_context *context = contexts[page];

	*ret_address = AREA + (PAGE_HOST + page) * PAGE_SIZE + at * sizeof(*context);
	return &context[at];
}

/* --- A vCPU's side ---------------------------------------------------------------------------- */

static void *view_table(struct caisson_view *view)
{
	void **more, *table;

	more = krealloc_array(view->tables, view->tables_n + 1, sizeof(*more), GFP_KERNEL_ACCOUNT);
	if (!more)
		return NULL;
	view->tables = more;
	table = (void *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	if (table)
		view->tables[view->tables_n++] = table;
	return table;
}

/* Maps a page of ours at an address in the slot. */
static int view_map(struct caisson_view *view, u64 address, const void *page, u64 flags)
{
	u64 *table = table_at(view->slot);

	for (int shift = 30; shift > 12; shift -= 9) {
		u64 *entry = &table[address >> shift & LAST];

		if (!*entry) {
			void *next = view_table(view);

			if (!next)
				return -ENOMEM;
			*entry = __pa(next) | TABLE_FLAGS;
		}
		table = table_at(*entry);
	}
	table[address >> 12 & LAST] = __pa(page) | flags;
	return 0;
}

static int view_page(struct caisson_view *view, unsigned int page, u64 flags)
{
	view->page[page] = view_table(view);
	if (!view->page[page])
		return -ENOMEM;
	return view_map(view, AREA + page * PAGE_SIZE, view->page[page], flags);
}

int caisson_view_init(struct caisson_view *view, const struct caisson_host *host)
{
	static const u8 writable[] = {PAGE_VCPU, PAGE_ENTER, PAGE_STACK, PAGE_NMI,
				      PAGE_DF,	 PAGE_MC,    PAGE_DB};
	void *slot = view_table(view);
	int error = slot ? 0 : -ENOMEM;

	if (error)
		goto err;
	view->slot = __pa(slot) | TABLE_FLAGS;
	error = view_map(view, host->idt, idt, DUTY(104) ? CONST_FLAGS : DATA_FLAGS);
	for (unsigned int cpu = 0; cpu < nr_cpu_ids && !error; cpu++) {
		if (!host->cpus[cpu].gdt)
			continue;
		error = view_map(view, host->cpus[cpu].gdt, gdt, CONST_FLAGS);
		if (!error)
			error = view_map(view, host->cpus[cpu].tss, tss, CONST_FLAGS);
	}
	for (unsigned int i = 0; i < CODE_PAGES && !error; i++)
		error = view_map(view, AREA + i * PAGE_SIZE, code + i * PAGE_SIZE,
				 DUTY(105) ? CODE_FLAGS : CODE_FLAGS | CAISSON_PTE_W);
	for (unsigned int i = 0; i < GATE_CODE_PAGES && !error && host->gate; i++)
		error = view_map(view, AREA + (PAGE_GATE_CODE + i) * PAGE_SIZE,
				 code + (CODE_PAGES + i) * PAGE_SIZE, CODE_FLAGS);
	if (!error && host->gate)
		error = view_page(view, PAGE_GATE, CAISSON_GATE_FLAGS);
	if (!error && host->gate)
		error = view_page(view, PAGE_GATE_STACK, CAISSON_GATE_FLAGS);
	if (!error)
		error = view_page(view, PAGE_CONST, DUTY(106) ? CONST_FLAGS : DATA_FLAGS);
	for (unsigned int i = 0; i < ARRAY_SIZE(writable) && !error; i++)
		error = view_page(view, writable[i], DATA_FLAGS);
	if (error)
		goto err;
	return 0;
err:
	caisson_view_done(view);
	return error;
}

/* What a gigabyte of the slot leads to, which is nothing yet. */
void caisson_view_link(struct caisson_view *view, u64 address, u64 entry)
{
	WRITE_ONCE(table_at(view->slot)[address >> 30 & LAST], entry);
}

void caisson_view_done(struct caisson_view *view)
{
	for (unsigned int i = 0; i < view->tables_n; i++)
		free_page((unsigned long)view->tables[i]);
	kfree(view->tables);
	memset(view, 0, sizeof(*view));
}
