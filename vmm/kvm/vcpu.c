// SPDX-License-Identifier: Apache-2.0
#include "vmm/kvm/vcpu.h"

#include <errno.h>
#include <limits.h>
#include <linux/kvm.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "lib/cleanup.h"
#include "lib/condition.h"
#include "lib/confine.h"
#include "vmm/kvm/cpuid.h"

/* Takes a thread out of the guest; its handler does nothing. */
#define SIGNAL_KICK SIGUSR1
/* A thread needs little more than a device's error path does. */
#define STACK_SIZE (128u << 10)

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

static int vcpus_make(struct vcpus *v, const struct pvh_entry *entry, struct error *err)
{
	_cleanup_free_ struct kvm_cpuid2 *cpuid = NULL;

	v->end_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (v->end_fd < 0)
		return error_errno(err, "eventfd");
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
	*v = (struct vcpus){.vm = vm, .ops = ops, .arg = arg, .end_fd = -1, .n = n};
	pthread_mutex_init(&v->lock, NULL);
	condition_init(&v->changed);
	if (n == 0 || n > VCPUS_MAX)
		return error_set(err, EINVAL, "%u CPUs: 1 to %u can be had", n, VCPUS_MAX);
	v->cpu = calloc(n, sizeof(*v->cpu));
	if (!v->cpu)
		return error_set(err, ENOMEM, "out of memory");
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
	cleanup_close(&v->end_fd);
	*v = (struct vcpus){.end_fd = -1};
}

void vcpus_end(struct vcpus *v, const struct error *reason)
{
	uint64_t one = 1;

	pthread_mutex_lock(&v->lock);
	if (!v->ended) {
		v->ended = true;
		v->end = *reason;
		if (write(v->end_fd, &one, sizeof(one)) < 0)
			abort(); /* an eventfd of ours, written once */
		pthread_cond_broadcast(&v->changed);
	}
	pthread_mutex_unlock(&v->lock);
}

/* The next ones: true to go on, false when the machine has ended. */

static bool end_orderly(struct vcpu *c)
{
	struct error none = {0};

	vcpus_end(c->all, &none);
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
	vcpus_end(c->all, &err);
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

/* Waits, outside of the guest, for the end of a pause. */
static void park(struct vcpu *c)
{
	struct vcpus *v = c->all;

	pthread_mutex_lock(&v->lock);
	v->parked++;
	pthread_cond_broadcast(&v->changed);
	while (atomic_load(&v->paused) && !atomic_load(&v->stopping))
		pthread_cond_wait(&v->changed, &v->lock);
	v->parked--;
	pthread_mutex_unlock(&v->lock);
	/* Its watchdogs forgive the time; a guest without kvmclock cannot be told. */
	ioctl(c->fd, KVM_KVMCLOCK_CTRL, 0);
}

static void *vcpu_main(void *arg)
{
	struct vcpu *c = arg;
	struct error err = {0};
	char name[16];

	snprintf(name, sizeof(name), "vcpu%u", c->id);
	prctl(PR_SET_NAME, name);
	if (confine_calls(calls, ARRAY_SIZE(calls), c->all->ops->calls, c->all->ops->calls_n,
			  &err) < 0) {
		vcpus_end(c->all, &err);
		return NULL;
	}
	while (!atomic_load(&c->all->stopping)) {
		int rc;

		if (atomic_load(&c->all->paused)) {
			park(c);
			continue;
		}
		rc = ioctl(c->fd, KVM_RUN, 0);
		if (rc == 0 ? !take_exit(c) : errno != EINTR && errno != EAGAIN) {
			if (rc < 0) {
				error_errno(&err, "CPU %u: KVM_RUN", c->id);
				vcpus_end(c->all, &err);
			}
			break;
		}
	}
	return NULL;
}

static void on_kick(int sig)
{
	(void)sig;
}

int vcpus_start(struct vcpus *v, struct error *err)
{
	struct sigaction kick = {.sa_handler = on_kick};
	pthread_attr_t attr;
	int rc = 0;

	if (sigaction(SIGNAL_KICK, &kick, NULL) < 0)
		return error_errno(err, "catch a signal");
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	for (uint32_t i = 0; i < v->n && rc == 0; i++) {
		rc = pthread_create(&v->cpu[i].thread, &attr, vcpu_main, &v->cpu[i]);
		v->cpu[i].started = rc == 0;
	}
	pthread_attr_destroy(&attr);
	return rc ? error_set(err, rc, "start a CPU's thread: %s", strerror(rc)) : 0;
}

/* Takes a thread out of the guest; if it is not in it, it does not get in any more. */
static void kick(struct vcpu *c)
{
	c->run->immediate_exit = 1;
	pthread_kill(c->thread, SIGNAL_KICK);
}

/* With the lock held. */
static void let_go(struct vcpus *v)
{
	for (uint32_t i = 0; i < v->n; i++)
		v->cpu[i].run->immediate_exit = 0;
	atomic_store(&v->paused, false);
	pthread_cond_broadcast(&v->changed);
}

int vcpus_pause(struct vcpus *v, int timeout_ms, struct error *err)
{
	struct timespec until = condition_deadline(timeout_ms);
	int rc = 0;

	pthread_mutex_lock(&v->lock);
	atomic_store(&v->paused, true);
	for (uint32_t i = 0; i < v->n; i++)
		kick(&v->cpu[i]);
	/* A thread that has ended, has ended the machine. */
	while (v->parked < v->n && !v->ended && rc == 0)
		rc = pthread_cond_timedwait(&v->changed, &v->lock, &until);
	if (rc)
		let_go(v);
	pthread_mutex_unlock(&v->lock);
	return rc ? error_set(err, rc, "a CPU did not stop within %d ms", timeout_ms) : 0;
}

void vcpus_resume(struct vcpus *v)
{
	pthread_mutex_lock(&v->lock);
	let_go(v);
	pthread_mutex_unlock(&v->lock);
}

void vcpus_stop(struct vcpus *v)
{
	pthread_mutex_lock(&v->lock);
	atomic_store(&v->stopping, true);
	pthread_cond_broadcast(&v->changed);
	pthread_mutex_unlock(&v->lock);
	for (uint32_t i = 0; i < v->n; i++)
		if (v->cpu[i].started)
			kick(&v->cpu[i]);
	for (uint32_t i = 0; i < v->n; i++)
		if (v->cpu[i].started) {
			pthread_join(v->cpu[i].thread, NULL);
			v->cpu[i].started = false;
		}
}
