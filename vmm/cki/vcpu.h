/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CPUs of a sandbox: one thread each, which is in ioctl(CAISSON_RUN) all its life.
 *
 * A thread comes out for a call to the monitor that no doorbell answers: a register of a
 * device, the early console, the end.  Its arguments are the guest's.  It runs under a
 * seccomp filter of its own (vcpu.c).
 *
 * The registers of FPU, SSE and AVX are the thread's own while the guest runs, so they are
 * exchanged around the call (run.S).
 */
#ifndef CAISSON_CKI_VCPU_H
#define CAISSON_CKI_VCPU_H

#include <stdint.h>

#include "lib/error.h"
#include "vmm/boot/cki.h"
#include "vmm/cki/functions.h"
#include "vmm/cki/sandbox.h"
#include "vmm/cpus.h"
#include "vmm/devices.h"

struct cki_vcpu {
	int fd;
	struct caisson_run *run; /* shared with the module */
	void *fpu;		 /* the guest's, an XSAVE area */
};

struct cki_vcpus {
	struct devices *devices;
	struct cki_functions *functions; /* NULL: there is no bus */
	const struct mem *mem;
	int console_fd; /* what the guest says before it has a driver for its console */
	uint32_t n;
	struct cki_vcpu *cpu;
	void *fpu; /* as a thread of ours has it at the start */
	uint64_t fpu_mask;
	struct cpus threads;
};

/* `n` CPUs (1 to CPUS_MAX), numbered as in the sandbox, which has none yet.  On error nothing is
 * left behind but what closing the sandbox ends. */
int cki_vcpus_init(struct cki_vcpus *v, const struct cki_sandbox *s, uint32_t n, struct error *err);
/* The first begins as `entry` says; the others wait for it to start them. */
int cki_vcpus_enter(struct cki_vcpus *v, const struct cki_entry *entry, struct error *err);
/* After cpus_stop(). */
void cki_vcpus_done(struct cki_vcpus *v);

/* run.S: CAISSON_RUN with `fpu` loaded, and `own` afterwards; 0 or -errno. */
long cki_run(int fd, void *fpu, const void *own, uint64_t mask);

#endif
