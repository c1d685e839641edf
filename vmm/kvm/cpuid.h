/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the guest's CPUs say they are: the host's, as far as KVM supports it, less
 * what nothing behind it would handle, with the identity and topology of each.
 *
 * Leaves: Intel SDM volume 2, CPUID; AMD APM volume 3, appendix E; KVM's own
 * (0x40000000..): the kernel's Documentation/virt/kvm/x86/cpuid.rst.
 */
#ifndef CAISSON_KVM_CPUID_H
#define CAISSON_KVM_CPUID_H

#include <stdint.h>

#include "lib/error.h"

#define CPUID_ENTRIES_MAX 256u /* what a kvm_cpuid2 of ours has room for */

struct kvm_cpuid2;

/* What this host's KVM supports; free() it. */
int cpuid_get(int kvm_fd, struct kvm_cpuid2 **ret, struct error *err);
/*
 * Makes it what a guest of `cpus` CPUs, cores of one package without threads, may see; then, for
 * each, what CPU number `id` (its APIC id, too) sees.
 */
void cpuid_adjust(struct kvm_cpuid2 *c, uint32_t cpus);
void cpuid_set_cpu(struct kvm_cpuid2 *c, uint32_t id);

#endif
