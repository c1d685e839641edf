// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a machine must be for guests in ring 1, and where its CPUs keep their tables.
 *
 * All is read from the CPU, not from the kernel's private variables.
 */
#include <linux/cc_platform.h>
#include <linux/cpu.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/security.h>
#include <linux/slab.h>
#include <asm/cpufeature.h>
#include <asm/processor.h>
#include <asm/desc_defs.h>
#include <asm/kvm_para.h>
#include <asm/msr.h>
#include <asm/processor-flags.h>

#include "compat.h"
#include "gate.h"
#include "monitor.h"
#include "mutant.h"

#define CR4_FRED (1ul << 32)

/* For tests: behave as if the precondition of that number failed. */
static int fail_check;
module_param(fail_check, int, 0400);
MODULE_PARM_DESC(fail_check,
		 "for tests: refuse to load as if the precondition of this number failed");

static char gate[8] = "auto";
module_param_string(gate, gate, sizeof(gate), 0444);
MODULE_PARM_DESC(gate,
		 "how page-table calls of guests are answered: cr3, pks (protection keys for "
		 "supervisor pages), auto (pks where the CPU has it); afterwards, which it is");

#define CR4_PKS (1ul << 24)
#define CPUID_7_ECX_PKS (1u << 31)

static u64 read_cr4(void)
{
	u64 value;

	asm volatile("mov %%cr4, %0" : "=r"(value));
	return value;
}

/* Whether the CPU has protection keys for supervisor pages, and the kernel leaves them to us. */
static bool has_pks(void)
{
	u32 a, b, c, d;

	if (boot_cpu_data.cpuid_level < 7)
		return false;
	cpuid_count(7, 0, &a, &b, &c, &d);
	return c & CPUID_7_ECX_PKS && !(read_cr4() & CR4_PKS);
}

/* Whether a hypervisor may raise page faults of its own: they would be taken for the guest's. */
static bool has_async_faults(void)
{
	u64 value = 0;

	if (!kvm_para_available())
		return false;
	return rdmsrq_safe(MSR_KVM_ASYNC_PF_EN, &value) == 0 && value & KVM_ASYNC_PF_ENABLED;
}

/*
 * An L1TF CPU that comes upon an entry which is not present reads its first-level cache at the
 * entry's address for a moment, and compares no more bits of it than x86_cache_bits.  With the
 * upper half of these set, that is beyond all memory: the kernel has seen to that, or it does not
 * have PTEINV.
 */
static u64 absent_bits(void)
{
	if (!boot_cpu_has_bug(X86_BUG_L1TF))
		return 0;
	return CAISSON_PTE_ADDRESS & ~(BIT_ULL(boot_cpu_data.x86_cache_bits - 1) - 1);
}

/* Says why the module cannot work here, in one sentence, and refuses. */
int caisson_host_check(void)
{
	const u64 cr4 = read_cr4();
	const struct {
		bool bad;
		const char *why;
	} checks[] = {
		{cr4 & CR4_FRED,
		 "the kernel runs with FRED, which does away with ring 1 (boot with fred=off)"},
		{!(cr4 & X86_CR4_FSGSBASE),
		 "the CPU or the kernel has no FSGSBASE: ring 1 could not switch GS"},
		{!boot_cpu_has(X86_FEATURE_NX), "the CPU has no NX bit"},
		{boot_cpu_has(X86_FEATURE_XENPV),
		 "the kernel is a Xen PV guest, and in ring 3 itself"},
		{cc_platform_has(CC_ATTR_MEM_ENCRYPT) ||
			 cc_platform_has(CC_ATTR_GUEST_STATE_ENCRYPT),
		 "memory encryption (SME, SEV, TDX) is on, which is not supported yet"},
		{has_async_faults(),
		 "the kernel takes asynchronous page faults from KVM (boot with no-kvmapf)"},
		{security_locked_down(LOCKDOWN_DEV_MEM) != 0,
		 "the kernel is locked down, and this module writes page tables"},
		/* Could be lived with: large pages of a guest's without the right to execute. */
		{boot_cpu_has_bug(X86_BUG_ITLB_MULTIHIT),
		 "the CPU stops when a guest changes the size of a page that it executes (iTLB "
		 "multihit)"},
		{boot_cpu_has_bug(X86_BUG_L1TF) && !boot_cpu_has(X86_FEATURE_L1TF_PTEINV),
		 "the CPU has L1TF, and memory in the upper half of its addresses, where entries "
		 "that are not present point to"},
		{IS_ENABLED(CONFIG_PREEMPT_RT),
		 "the kernel is a real-time one, whose locks sleep where this module may not"},
		{strcmp(gate, "pks") == 0 && !has_pks(),
		 "gate=pks, but the CPU has no protection keys for supervisor pages, or the kernel "
		 "uses them"},
		{strcmp(gate, "auto") && strcmp(gate, "cr3") && strcmp(gate, "pks"),
		 "gate is to be auto, cr3 or pks"},
	};

	for (int i = 0; i < ARRAY_SIZE(checks); i++)
		if (checks[i].bad || fail_check == i + 1) {
			pr_err("caisson: not on this machine: %s\n", checks[i].why);
			return -ENODEV;
		}
	return 0;
}

struct survey {
	struct caisson_host *host;
	const char *why;
	bool no_pks;
};

static void survey_cpu(void *data)
{
	struct survey *s = data;
	struct caisson_cpu *cpu = &s->host->cpus[smp_processor_id()];
	const struct ldttss_desc *tss;
	struct desc_ptr gdt, idt;
	u16 tr;

	asm volatile("sgdt %0" : "=m"(gdt));
	asm volatile("sidt %0" : "=m"(idt));
	asm volatile("str %0" : "=r"(tr));
	if (gdt.size < (CAISSON_SS | 7) || tr + 15 > gdt.size) {
		WRITE_ONCE(s->why, "the GDT is too small");
		return;
	}
	tss = (const void *)(gdt.address + (tr & ~7));
	cpu->gdt = gdt.address;
	cpu->tss = tss->base0 | (u64)tss->base1 << 16 | (u64)tss->base2 << 24 |
		   (u64)tss->base3 << 32;
	if (cpu->gdt >> 39 != CAISSON_SLOT >> 39 || cpu->tss >> 39 != CAISSON_SLOT >> 39 ||
	    idt.address >> 39 != CAISSON_SLOT >> 39)
		WRITE_ONCE(s->why, "GDT, IDT and TSS are not in the CPU entry area");
	else if ((cpu->tss | cpu->gdt | idt.address) & 4095 || idt.size < 4095)
		WRITE_ONCE(s->why, "GDT, IDT or TSS are not laid out as expected");
	s->host->idt = idt.address;
	if (!has_pks())
		WRITE_ONCE(s->no_pks, true);
}

/* The last gigabyte of the slot, but that of the area, in which no CPU's tables are; 0: none. */
static u64 gate_place(const struct caisson_host *host)
{
	for (u64 at = CAISSON_SLOT + 510ul * GATE_SIZE; at > CAISSON_SLOT; at -= GATE_SIZE) {
		unsigned int cpu = 0;

		while (cpu < nr_cpu_ids && host->cpus[cpu].gdt / GATE_SIZE != at / GATE_SIZE &&
		       host->cpus[cpu].tss / GATE_SIZE != at / GATE_SIZE)
			cpu++;
		if (cpu == nr_cpu_ids)
			return at;
	}
	return 0;
}

/* Which gate it is, and that `gate` says so; or why not. */
static const char *gate_choose(struct caisson_host *host, bool no_pks)
{
	if (strcmp(gate, "cr3") != 0 && !no_pks)
		host->gate = gate_place(host);
	if (strcmp(gate, "pks") == 0 && !host->gate)
		return "gate=pks, but not all CPUs have protection keys for supervisor pages, or "
		       "their tables leave no place for it";
	strscpy(gate, host->gate ? "pks" : "cr3", sizeof(gate));
	return NULL;
}

/* Where the tables of all CPUs are that are there now. */
int caisson_host_survey(struct caisson_host *host)
{
	struct survey s = {.host = host};

	host->absent = absent_bits();
	host->five_levels = read_cr4() & X86_CR4_LA57;
	host->split = host->five_levels && DUTY(149) ? CAISSON_ENTRIES : 0;
	host->cpus = kcalloc(nr_cpu_ids, sizeof(*host->cpus), GFP_KERNEL);
	if (!host->cpus)
		return -ENOMEM;
	cpus_read_lock();
	on_each_cpu(survey_cpu, &s, 1);
	cpus_read_unlock();
	if (!s.why)
		s.why = gate_choose(host, s.no_pks);
	if (s.why) {
		pr_err("caisson: not on this machine: %s\n", s.why);
		caisson_host_done(host);
		return -ENODEV;
	}
	return 0;
}

void caisson_host_done(struct caisson_host *host)
{
	kfree(host->cpus);
	host->cpus = NULL;
}
