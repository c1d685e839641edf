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
 * waiting for it to start them (INIT, SIPI: KVM does that); vcpus_start() makes the
 * threads; whoever sees the end first, a thread or vcpus_end()'s caller, writes it
 * down once and end_fd becomes readable; vcpus_stop() ends the threads.  In between vcpus_pause()
 * keeps them out of the guest, and vcpus_resume() lets them go on.
 */
#ifndef CAISSON_KVM_VCPU_H
#define CAISSON_KVM_VCPU_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/confine.h"
#include "lib/error.h"
#include "vmm/boot/pvh.h"
#include "vmm/kvm/vm.h"

#define VCPUS_MAX 64u /* as many as the guest kernel is built for */

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
	pthread_t thread;
	bool started;
};

struct vcpus {
	struct vm *vm;
	const struct vcpu_ops *ops;
	void *arg;
	int end_fd; /* an eventfd; readable: the machine has ended */
	uint32_t n;
	struct vcpu *cpu;
	atomic_bool stopping, paused;
	/* For `parked`, and the first end counts. */
	pthread_mutex_t lock;
	pthread_cond_t changed; /* parked, paused, stopping */
	uint32_t parked;	/* threads that wait outside of the guest */
	bool ended;
	struct error end; /* code 0: an orderly one */
};

/* `n` CPUs (1..VCPUS_MAX), the first of which enters the guest as `entry` says.  On error nothing
 * is left behind. */
int vcpus_init(struct vcpus *v, struct vm *vm, uint32_t n, const struct pvh_entry *entry,
	       const struct vcpu_ops *ops, void *arg, struct error *err);
/* After vcpus_stop(). */
void vcpus_done(struct vcpus *v);

/* Makes the threads; each confines itself before it enters the guest, and ends the machine if it
 * cannot.  On error those that were made still run: vcpus_stop(). */
int vcpus_start(struct vcpus *v, struct error *err);
/* Ends the machine for the reason given; the first end counts.  Any thread. */
void vcpus_end(struct vcpus *v, const struct error *reason);
/*
 * Takes all threads out of the guest and keeps them out; on 0 none is in it, or at work for it, any
 * more.  -ETIMEDOUT: one did not come within timeout_ms, and all go on.  Harmless when paused.  Not
 * from a vCPU thread; not together with vcpus_stop().
 */
int vcpus_pause(struct vcpus *v, int timeout_ms, struct error *err);
void vcpus_resume(struct vcpus *v);
/* Takes all threads out of the guest, for good, and waits for them.  Not from a vCPU thread; may be
 * called again. */
void vcpus_stop(struct vcpus *v);

#endif
