// SPDX-License-Identifier: Apache-2.0
#include "vmm/kvm/cpuid.h"

#include <errno.h>
#include <linux/kvm.h>
#include <linux/kvm_para.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

/* Leaf 1 */
#define ECX_VMX (1u << 5)
#define ECX_TSC_DEADLINE (1u << 24)
#define ECX_HYPERVISOR (1u << 31)
#define EDX_HTT (1u << 28)
/* Leaf 6 */
#define EAX_ARAT (1u << 2)
/* Leaf 7: user-mode tile registers, whose state KVM takes only after a request to the host */
#define EDX_AMX (1u << 22 | 1u << 24 | 1u << 25)
#define EAX1_AMX_FP16 (1u << 21)
#define XCR0_TILES (3u << 17)
/* Leaf 0x80000001 */
#define ECX_CMP_LEGACY (1u << 1)
#define ECX_SVM (1u << 2)
#define ECX_TOPOEXT (1u << 22)

#define TOPOLOGY_SMT 1u
#define TOPOLOGY_CORE 2u

int cpuid_get(int kvm_fd, struct kvm_cpuid2 **ret, struct error *err)
{
	struct kvm_cpuid2 *c =
		calloc(1, sizeof(*c) + CPUID_ENTRIES_MAX * sizeof(struct kvm_cpuid_entry2));

	if (!c)
		return error_set(err, ENOMEM, "out of memory");
	c->nent = CPUID_ENTRIES_MAX;
	if (ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, c) < 0) {
		error_errno(err, "KVM: ask for CPUID");
		free(c);
		return -err->code;
	}
	*ret = c;
	return 0;
}

static struct kvm_cpuid_entry2 *find(struct kvm_cpuid2 *c, uint32_t function, uint32_t index)
{
	for (uint32_t i = 0; i < c->nent; i++)
		if (c->entries[i].function == function && c->entries[i].index == index)
			return &c->entries[i];
	return NULL;
}

/* Bits that hold `n` numbers. */
static uint32_t bits_for(uint32_t n)
{
	uint32_t bits = 0;

	while (bits < 31 && 1u << bits < n)
		bits++;
	return bits;
}

static void zero(struct kvm_cpuid_entry2 *e)
{
	e->eax = e->ebx = e->ecx = e->edx = 0;
}

/* Leaf 0xB (and 0x1F): level 0 are threads, one per core; level 1 cores, `cpus` of them. */
static void topology(struct kvm_cpuid_entry2 *e, uint32_t cpus)
{
	zero(e);
	e->ecx = e->index;
	if (e->index == 0) {
		e->ebx = 1;
		e->ecx |= TOPOLOGY_SMT << 8;
	} else if (e->index == 1) {
		e->eax = bits_for(cpus);
		e->ebx = cpus;
		e->ecx |= TOPOLOGY_CORE << 8;
	}
}

/* Leaf 4 (Intel) and 0x8000001D (AMD): up to the second level a cache is one CPU's, from there on
 * all share it. */
static void cache(struct kvm_cpuid_entry2 *e, uint32_t cpus, bool intel)
{
	uint32_t level = e->eax >> 5 & 7, sharing = level > 2 ? cpus - 1 : 0;

	if (!(e->eax & 0x1f))
		return;
	e->eax &= intel ? ~(0xfffu << 14 | 0x3fu << 26) : ~(0xfffu << 14);
	e->eax |= (sharing & 0xfff) << 14;
	if (intel)
		e->eax |= (cpus - 1 > 0x3f ? 0x3fu : cpus - 1) << 26;
}

/* Leaf 1, and what a guest of ours has no use for. */
static void features(struct kvm_cpuid_entry2 *e, uint32_t cpus)
{
	e->ecx &= ~ECX_VMX; /* no guests in the guest */
	/* KVM has it whether or not the CPU does, but does not say so here. */
	e->ecx |= ECX_TSC_DEADLINE | ECX_HYPERVISOR;
	e->edx &= ~EDX_HTT;
	e->edx |= cpus > 1 ? EDX_HTT : 0;
	e->ebx &= 0x0000ff00;
	e->ebx |= cpus << 16;
}

static void amd_size(struct kvm_cpuid_entry2 *e, uint32_t cpus)
{
	e->ecx &= ~(0xffu | 0xfu << 12);
	e->ecx |= (cpus - 1) | bits_for(cpus) << 12;
}

/*
 * KVM's own leaf of features: those whose other half is here.  Not: migration (ours never move),
 * MSIs with more than 8 bits of destination (no CPU of ours has such an id).
 */
static void paravirtual(struct kvm_cpuid_entry2 *e)
{
	e->eax &= 1u << KVM_FEATURE_CLOCKSOURCE | 1u << KVM_FEATURE_CLOCKSOURCE2 |
		  1u << KVM_FEATURE_CLOCKSOURCE_STABLE_BIT | 1u << KVM_FEATURE_ASYNC_PF |
		  1u << KVM_FEATURE_ASYNC_PF_INT | 1u << KVM_FEATURE_STEAL_TIME |
		  1u << KVM_FEATURE_PV_EOI | 1u << KVM_FEATURE_PV_UNHALT |
		  1u << KVM_FEATURE_PV_TLB_FLUSH | 1u << KVM_FEATURE_PV_SEND_IPI |
		  1u << KVM_FEATURE_PV_SCHED_YIELD | 1u << KVM_FEATURE_POLL_CONTROL;
}

static void adjust(struct kvm_cpuid_entry2 *e, uint32_t cpus)
{
	switch (e->function) {
	case 1:
		features(e, cpus);
		break;
	case 4:
		cache(e, cpus, true);
		break;
	case 6: /* power: only that the local timer never stops */
		zero(e);
		e->eax = EAX_ARAT;
		break;
	case 7:
		if (e->index == 0)
			e->edx &= ~EDX_AMX;
		else if (e->index == 1)
			e->eax &= ~EAX1_AMX_FP16;
		break;
	case 0xa:  /* performance counters: a channel from the host, and for nobody here */
	case 0x12: /* enclaves */
	case 0x14: /* processor trace */
	case 0x1d: /* tiles */
	case 0x1e:
	case 0x80000022: /* performance counters, AMD's */
		zero(e);
		break;
	case 0xd:
		if (e->index == 0)
			e->eax &= ~XCR0_TILES;
		else if (e->index == 17 || e->index == 18)
			zero(e);
		break;
	case 0xb:
	case 0x1f:
		topology(e, cpus);
		break;
	case 0x80000001:
		e->ecx &= ~(ECX_SVM | ECX_CMP_LEGACY);
		e->ecx |= cpus > 1 && e->ecx & ECX_TOPOEXT ? ECX_CMP_LEGACY : 0;
		break;
	case 0x80000008:
		amd_size(e, cpus);
		break;
	case 0x8000000a: /* SVM's own */
	case 0x8000001f: /* memory encryption */
		zero(e);
		break;
	case 0x8000001d:
		cache(e, cpus, false);
		break;
	case KVM_CPUID_FEATURES:
		paravirtual(e);
		break;
	}
}

/* A level of leaf 0xB that KVM does not list would read as the last one: have both. */
static void complete_topology(struct kvm_cpuid2 *c)
{
	struct kvm_cpuid_entry2 *first = find(c, 0xb, 0);

	if (!first || find(c, 0xb, 1) || c->nent >= CPUID_ENTRIES_MAX)
		return;
	first->flags |= KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
	c->entries[c->nent] = *first;
	c->entries[c->nent++].index = 1;
}

void cpuid_adjust(struct kvm_cpuid2 *c, uint32_t cpus)
{
	complete_topology(c);
	for (uint32_t i = 0; i < c->nent; i++)
		adjust(&c->entries[i], cpus);
}

void cpuid_set_cpu(struct kvm_cpuid2 *c, uint32_t id)
{
	for (uint32_t i = 0; i < c->nent; i++) {
		struct kvm_cpuid_entry2 *e = &c->entries[i];

		switch (e->function) {
		case 1:
			e->ebx &= 0x00ffffff;
			e->ebx |= id << 24;
			break;
		case 0xb:
		case 0x1f:
			e->edx = id;
			break;
		case 0x8000001e: /* extended APIC id; a core of its own, in node 0 */
			e->eax = id;
			e->ebx = id & 0xff;
			e->ecx = 0;
			break;
		}
	}
}
