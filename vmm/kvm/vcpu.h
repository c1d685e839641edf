/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CPUs of a machine: one thread each, which is in ioctl(KVM_RUN) all its life.
 *
 * A thread comes out of the guest only for what KVM does not do itself: a port, a
 * register of a device, the end.  It runs under a seccomp filter of its own
 * (vcpu.c), and believes nothing it finds in the shared page but what the kernel
 * put there: which exit, where the data are; the data are the guest's.
 *
 * Life: vcpus_init() makes them with the first at its entry point and the others
 * waiting for it to start them (INIT, SIPI: KVM does that); the rest is that of
 * `threads` (vmm/cpus.h).
 */
#ifndef CAISSON_KVM_VCPU_H
#define CAISSON_KVM_VCPU_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/confine.h"
#include "lib/error.h"
#include "vmm/boot/pvh.h"
#include "vmm/cpus.h"
#include "vmm/kvm/vm.h"

struct kvm_run;
struct vcpus;

/* What the guest's accesses mean.  Called by any vCPU thread, several at once.  size: 1, 2, 4, 8;
 * reads find `data` filled with ones, which is what nobody answers. */
struct vcpu_ops {
	void (*mmio)(void *arg, gpa_t at, void *data, uint32_t size, bool write);
	/* NULL: there are no ports.  false: this access is the machine's orderly end. */
	bool (*port)(void *arg, uint16_t port, void *data, uint32_t size, bool write);
	/* System calls these two make. */
	const struct confine_call *calls;
	size_t calls_n;
};

struct vcpu {
	struct vcpus *all;
	uint32_t id;
	int fd;
	struct kvm_run *run; /* shared with the kernel */
};

struct vcpus {
	struct vm *vm;
	const struct vcpu_ops *ops;
	void *arg;
	uint32_t n;
	struct vcpu *cpu;
	struct cpus threads;
};

/* `n` CPUs (1 to CPUS_MAX), the first of which enters the guest as `entry` says.  On error nothing
 * is left behind. */
int vcpus_init(struct vcpus *v, struct vm *vm, uint32_t n, const struct pvh_entry *entry,
	       const struct vcpu_ops *ops, void *arg, struct error *err);
/* After cpus_stop(). */
void vcpus_done(struct vcpus *v);

#endif
