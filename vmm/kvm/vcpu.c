// SPDX-License-Identifier: Apache-2.0
#include "vmm/kvm/vcpu.h"

#include <errno.h>
#include <linux/kvm.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "lib/cleanup.h"
#include "lib/confine.h"
#include "vmm/kvm/cpuid.h"

#define CR0_PE (1u << 0)
#define CR0_ET (1u << 4)
#define RFLAGS_RESERVED (1u << 1)

#define MSR_IA32_MISC_ENABLE 0x1a0u
#define MISC_ENABLE_FAST_STRING 1u
#define MSR_MTRR_DEFAULT_TYPE 0x2ffu
#define MTRR_ENABLE (1u << 11)
#define MTRR_WRITE_BACK 6u

#define MSRS 2u

/* What a vCPU thread needs of the kernel, besides what its ops need. */
static const struct confine_call calls[] = {
	{SCMP_SYS(ioctl), CONFINE_ARG(1, KVM_RUN)},	 /* its life */
	{SCMP_SYS(ioctl), CONFINE_ARG(1, KVM_GET_REGS)}, /* where it ended, when it ended badly */
	{SCMP_SYS(write)},				 /* the eventfd that says so */
	{SCMP_SYS(ioctl), CONFINE_ARG(1, KVM_KVMCLOCK_CTRL)}, /* after a pause */
};

/*
 * 32-bit protected mode without paging, flat segments, as the PVH boot ABI wants it
 * (xen/docs/misc/pvh.pandoc, "x86/HVM direct boot ABI").
 */
static int enter_pvh(int fd, const struct pvh_entry *entry)
{
	struct kvm_segment data = {
		.limit = ~0u, .selector = 0x18, .type = 3, .present = 1, .db = 1, .s = 1, .g = 1};
	struct kvm_regs regs = {.rip = entry->rip,
				.rbx = entry->start_info.v,
				.rflags = RFLAGS_RESERVED};
	struct kvm_sregs s;

	if (ioctl(fd, KVM_GET_SREGS, &s) < 0)
		return -errno;
	s.ds = s.es = s.fs = s.gs = s.ss = data;
	s.cs = data;
	s.cs.selector = 0x10;
	s.cs.type = 0xb;
	s.tr = (struct kvm_segment){.limit = 0x67, .selector = 0x20, .type = 0xb, .present = 1};
	s.cr0 = CR0_PE | CR0_ET;
	s.cr4 = 0;
	s.efer = 0;
	return ioctl(fd, KVM_SET_SREGS, &s) < 0 || ioctl(fd, KVM_SET_REGS, &regs) < 0 ? -errno : 0;
}

/*
 * What firmware would have done: fast string operations on, and all memory write-back by default
 * (a guest with devices of the host would see it uncached).
 */
static int set_msrs(int fd)
{
	union {
		struct kvm_msrs head;
		uint8_t space[sizeof(struct kvm_msrs) + MSRS * sizeof(struct kvm_msr_entry)];
	} m = {.head.nmsrs = MSRS};

	m.head.entries[0] = (struct kvm_msr_entry){
		.index = MSR_IA32_MISC_ENABLE,
		.data = MISC_ENABLE_FAST_STRING,
	};
	m.head.entries[1] = (struct kvm_msr_entry){
		.index = MSR_MTRR_DEFAULT_TYPE,
		.data = MTRR_ENABLE | MTRR_WRITE_BACK,
	};
	return ioctl(fd, KVM_SET_MSRS, &m) == (int)MSRS ? 0 : errno ? -errno : -EIO;
}

static int vcpu_init(struct vcpu *c, struct kvm_cpuid2 *cpuid, struct error *err)
{
	void *at;

	c->fd = ioctl(c->all->vm->fd, KVM_CREATE_VCPU, (unsigned long)c->id);
	if (c->fd < 0)
		return error_errno(err, "KVM: create CPU %u", c->id);
	at = mmap(NULL, c->all->vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd, 0);
	if (at == MAP_FAILED)
		return error_errno(err, "KVM: map CPU %u", c->id);
	c->run = at;
	cpuid_set_cpu(cpuid, c->id);
	if (ioctl(c->fd, KVM_SET_CPUID2, cpuid) < 0)
		return error_errno(err, "KVM: set CPUID of CPU %u", c->id);
	errno = 0;
	if (set_msrs(c->fd) < 0)
		return error_errno(err, "KVM: set registers of CPU %u", c->id);
	return 0;
}

/* The next ones: true to go on, false when the machine has ended. */

static bool end_orderly(struct vcpu *c)
{
	cpus_end(&c->all->threads, NULL);
	return false;
}

static bool end_badly(struct vcpu *c, const char *what, uint64_t detail)
{
	struct kvm_regs regs;
	struct error err;

	if (ioctl(c->fd, KVM_GET_REGS, &regs) < 0)
		regs.rip = 0;
	error_set(&err, EIO, "CPU %u: %s (0x%llx) at 0x%llx", c->id, what,
		  (unsigned long long)detail, (unsigned long long)regs.rip);
	cpus_end(&c->all->threads, &err);
	return false;
}

static bool do_port(struct vcpu *c)
{
	uint8_t *data = (uint8_t *)c->run + c->run->io.data_offset;
	const uint32_t size = c->run->io.size;
	const bool write = c->run->io.direction == KVM_EXIT_IO_OUT;

	for (uint32_t i = 0; i < c->run->io.count; i++, data += size) {
		if (!write)
			memset(data, 0xff, size);
		if (c->all->ops->port &&
		    !c->all->ops->port(c->all->arg, c->run->io.port, data, size, write))
			return end_orderly(c);
	}
	return true;
}

static bool do_mmio(struct vcpu *c)
{
	uint8_t *data = c->run->mmio.data;
	uint32_t size = c->run->mmio.len;

	if (size > sizeof(c->run->mmio.data))
		return end_badly(c, "an access of odd size", size);
	if (!c->run->mmio.is_write)
		memset(data, 0xff, size);
	c->all->ops->mmio(c->all->arg, GPA(c->run->mmio.phys_addr), data, size,
			  c->run->mmio.is_write);
	return true;
}

static bool take_exit(struct vcpu *c)
{
	switch (c->run->exit_reason) {
	case KVM_EXIT_IO:
		return do_port(c);
	case KVM_EXIT_MMIO:
		return do_mmio(c);
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN:
		return true;
	case KVM_EXIT_SHUTDOWN: /* a triple fault: how our kernel ends (reboot=t) */
	case KVM_EXIT_SYSTEM_EVENT:
		return end_orderly(c);
	case KVM_EXIT_FAIL_ENTRY:
		return end_badly(c, "the host's CPU does not enter the guest",
				 c->run->fail_entry.hardware_entry_failure_reason);
	case KVM_EXIT_INTERNAL_ERROR:
		return end_badly(c, "KVM cannot go on", c->run->internal.suberror);
	default:
		return end_badly(c, "KVM came back for an unknown reason", c->run->exit_reason);
	}
}

static int vcpu_enter(void *arg, uint32_t id, struct error *err)
{
	struct vcpus *v = arg;

	(void)id;
	return confine_calls(calls, ARRAY_SIZE(calls), v->ops->calls, v->ops->calls_n, err);
}

static bool vcpu_run(void *arg, uint32_t id)
{
	struct vcpus *v = arg;
	struct error err = {0};

	if (ioctl(v->cpu[id].fd, KVM_RUN, 0) == 0)
		return take_exit(&v->cpu[id]);
	if (errno == EINTR || errno == EAGAIN)
		return true;
	error_errno(&err, "CPU %u: KVM_RUN", id);
	cpus_end(&v->threads, &err);
	return false;
}

static void vcpu_hold(void *arg, uint32_t id, bool hold)
{
	struct vcpus *v = arg;

	v->cpu[id].run->immediate_exit = hold;
}

/* Its watchdogs forgive the time; a guest without kvmclock cannot be told. */
static void vcpu_resumed(void *arg, uint32_t id)
{
	struct vcpus *v = arg;

	ioctl(v->cpu[id].fd, KVM_KVMCLOCK_CTRL, 0);
}

static const struct cpus_ops thread_ops = {
	.enter = vcpu_enter,
	.run = vcpu_run,
	.hold = vcpu_hold,
	.resumed = vcpu_resumed,
};

static int vcpus_make(struct vcpus *v, const struct pvh_entry *entry, struct error *err)
{
	_cleanup_free_ struct kvm_cpuid2 *cpuid = NULL;

	if (cpuid_get(v->vm->kvm_fd, &cpuid, err) < 0)
		return -err->code;
	cpuid_adjust(cpuid, v->n);
	for (uint32_t i = 0; i < v->n; i++)
		if (vcpu_init(&v->cpu[i], cpuid, err) < 0)
			return -err->code;
	if (enter_pvh(v->cpu[0].fd, entry) < 0)
		return error_errno(err, "KVM: set the entry point");
	return 0;
}

int vcpus_init(struct vcpus *v, struct vm *vm, uint32_t n, const struct pvh_entry *entry,
	       const struct vcpu_ops *ops, void *arg, struct error *err)
{
	*v = (struct vcpus){.vm = vm, .ops = ops, .arg = arg, .n = n};
	if (cpus_init(&v->threads, n, &thread_ops, v, err) < 0)
		return -err->code;
	v->cpu = calloc(n, sizeof(*v->cpu));
	if (!v->cpu) {
		cpus_done(&v->threads);
		return error_set(err, ENOMEM, "out of memory");
	}
	for (uint32_t i = 0; i < n; i++)
		v->cpu[i] = (struct vcpu){.all = v, .id = i, .fd = -1};
	if (vcpus_make(v, entry, err) < 0) {
		vcpus_done(v);
		return -err->code;
	}
	return 0;
}

void vcpus_done(struct vcpus *v)
{
	for (uint32_t i = 0; v->cpu && i < v->n; i++) {
		if (v->cpu[i].run)
			munmap(v->cpu[i].run, v->vm->run_size);
		cleanup_close(&v->cpu[i].fd);
	}
	free(v->cpu);
	v->cpu = NULL;
	cpus_done(&v->threads);
}
