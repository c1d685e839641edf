// SPDX-License-Identifier: Apache-2.0
#include "vmm/kvm/vm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "lib/cleanup.h"

#define DEVICE "/dev/kvm"

/* Intel's KVM wants three pages for a task state segment of its own, where the guest has no RAM
 * and no device: below the local APIC's and the firmware's part of the hole. */
#define TSS_ADDRESS 0xfffbd000ul

static const struct {
	long cap;
	const char *what;
} needed[] = {
	{KVM_CAP_IRQCHIP, "interrupt controllers in the kernel (KVM_CAP_IRQCHIP)"},
	{KVM_CAP_IRQFD, "interrupts by eventfd (KVM_CAP_IRQFD)"},
	{KVM_CAP_IOEVENTFD, "doorbells by eventfd (KVM_CAP_IOEVENTFD)"},
	{KVM_CAP_USER_MEMORY, "memory of user space (KVM_CAP_USER_MEMORY)"},
	{KVM_CAP_EXT_CPUID, "CPUID (KVM_CAP_EXT_CPUID)"},
	{KVM_CAP_SET_TSS_ADDR, "KVM_CAP_SET_TSS_ADDR"},
	{KVM_CAP_IMMEDIATE_EXIT, "a way to stop a vCPU (KVM_CAP_IMMEDIATE_EXIT)"},
	{KVM_CAP_TSC_DEADLINE_TIMER, "the TSC deadline timer (KVM_CAP_TSC_DEADLINE_TIMER)"},
};

static int check(int kvm_fd, struct error *err)
{
	int version = ioctl(kvm_fd, KVM_GET_API_VERSION, 0);

	if (version != KVM_API_VERSION)
		return error_set(err, ENOTSUP, DEVICE " speaks version %d of its API, not %d",
				 version, KVM_API_VERSION);
	for (size_t i = 0; i < ARRAY_SIZE(needed); i++)
		if (ioctl(kvm_fd, KVM_CHECK_EXTENSION, needed[i].cap) <= 0)
			return error_set(err, ENOTSUP, DEVICE " lacks %s", needed[i].what);
	return 0;
}

static int device_open(struct error *err)
{
	int fd = open(DEVICE, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return error_errno(err, "open '" DEVICE "'");
	return fd;
}

int kvm_check(struct error *err)
{
	_cleanup_close_ int fd = device_open(err);

	return fd < 0 ? fd : check(fd, err);
}

bool kvm_hardware(void)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/cpuinfo", "re");
	char line[8192], *rest = NULL;

	while (f && fgets(line, sizeof(line), f)) {
		if (strncmp(line, "flags", 5) != 0)
			continue;
		for (char *w = strtok_r(line, " \t:\n", &rest); w;
		     w = strtok_r(NULL, " \t:\n", &rest))
			if (strcmp(w, "vmx") == 0 || strcmp(w, "svm") == 0)
				return true;
		return false;
	}
	return false;
}

static int vm_create(struct vm *vm, struct error *err)
{
	int size;

	vm->kvm_fd = device_open(err);
	if (vm->kvm_fd < 0 || check(vm->kvm_fd, err) < 0)
		return -err->code;
	/* A signal at the wrong moment makes it fail; nobody sends us that many. */
	do
		vm->fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, 0);
	while (vm->fd < 0 && errno == EINTR);
	if (vm->fd < 0)
		return error_errno(err, "create a virtual machine");
	size = ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (size < (int)sizeof(struct kvm_run))
		return error_set(err, ENOTSUP, DEVICE " gives vCPUs no shared page");
	vm->run_size = (uint32_t)size;
	if (ioctl(vm->fd, KVM_SET_TSS_ADDR, TSS_ADDRESS) < 0)
		return error_errno(err, "place the task state segment");
	if (ioctl(vm->fd, KVM_CREATE_IRQCHIP, 0) < 0)
		return error_errno(err, "create the interrupt controllers");
	return 0;
}

int vm_init(struct vm *vm, struct error *err)
{
	*vm = (struct vm){.kvm_fd = -1, .fd = -1, .vfio_fd = -1};
	if (vm_create(vm, err) < 0) {
		vm_done(vm);
		return error_wrap(err, "KVM");
	}
	return 0;
}

void vm_done(struct vm *vm)
{
	cleanup_close(&vm->vfio_fd);
	cleanup_close(&vm->fd);
	cleanup_close(&vm->kvm_fd);
	vm->fd = vm->kvm_fd = vm->vfio_fd = -1;
}

void vm_seal(struct vm *vm)
{
	close(steal_fd(&vm->kvm_fd));
}

static int add_slot(struct vm *vm, gpa_t base, uint64_t size, const void *at, struct error *err)
{
	struct kvm_userspace_memory_region slot = {
		.slot = vm->slots,
		.guest_phys_addr = base.v,
		.memory_size = size,
		.userspace_addr = (uint64_t)(uintptr_t)at,
	};

	if (ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
		return error_errno(err, "KVM: add memory");
	vm->slots++;
	return 0;
}

int vm_add_memory(struct vm *vm, const struct mem *mem, struct error *err)
{
	for (unsigned int i = 0; i < mem->regions_n; i++) {
		const struct mem_region *r = &mem->regions[i];

		if (add_slot(vm, r->base, r->size, r->at, err) < 0)
			return -err->code;
	}
	return 0;
}

int vm_add_windows(struct vm *vm, const struct pci_bus *bus, struct error *err)
{
	for (unsigned int i = 0; i < bus->n; i++) {
		const struct pci_function *f = bus->functions[i];

		for (unsigned int n = 0; n < f->direct_n; n++) {
			const struct pci_direct *d = &f->direct[n];
			const uint64_t base = f->config.bars[d->place.bar].at.v + d->place.offset;

			if (add_slot(vm, GPA(base), d->size, d->at, err) < 0)
				return -err->code;
		}
	}
	return 0;
}

void vm_add_vfio(struct vm *vm, int device_fd)
{
	const int32_t fd = device_fd;
	struct kvm_device_attr attr = {
		/* KVM_DEV_VFIO_FILE and KVM_DEV_VFIO_FILE_ADD: the same numbers, in newer headers.
		 */
		.group = KVM_DEV_VFIO_GROUP,
		.attr = KVM_DEV_VFIO_GROUP_ADD,
		.addr = (uint64_t)(uintptr_t)&fd,
	};

	if (vm->vfio_fd < 0) {
		struct kvm_create_device create = {.type = KVM_DEV_TYPE_VFIO};

		if (ioctl(vm->fd, KVM_CREATE_DEVICE, &create) < 0)
			return;
		vm->vfio_fd = (int)create.fd;
	}
	ioctl(vm->vfio_fd, KVM_SET_DEVICE_ATTR, &attr);
}

/* A write to eventfd `fd` becomes an edge on the pin. */
static int add_irqfd(struct vm *vm, int fd, uint32_t pin, struct error *err)
{
	/* The numbers of KVM's default routing are those of the I/O APIC's pins. */
	struct kvm_irqfd irqfd = {.fd = (uint32_t)fd, .gsi = pin};

	if (pin >= VM_PINS)
		return error_set(err, EINVAL, "KVM: no interrupt line %u", pin);
	if (ioctl(vm->fd, KVM_IRQFD, &irqfd) < 0)
		return error_errno(err, "KVM: connect interrupt line %u", pin);
	return 0;
}

static int add_doorbell(struct vm *vm, int fd, gpa_t at, uint32_t value, struct error *err)
{
	struct kvm_ioeventfd bell = {
		.datamatch = value,
		.addr = at.v,
		.len = 4,
		.fd = fd,
		.flags = KVM_IOEVENTFD_FLAG_DATAMATCH,
	};

	if (ioctl(vm->fd, KVM_IOEVENTFD, &bell) < 0)
		return error_errno(err, "KVM: connect a doorbell");
	return 0;
}

int vm_add_devices(struct vm *vm, const struct devices *d, struct error *err)
{
	for (unsigned int i = 0; i < d->n; i++) {
		const struct device_slot *s = &d->slots[i];
		const gpa_t notify = GPA(s->at.v + VIRTIO_MMIO_KICK_OFFSET);

		if (add_irqfd(vm, virtio_mmio_irq_fd(&s->mmio), s->line, err) < 0)
			return -err->code;
		for (unsigned int q = 0; q < virtio_mmio_queues(&s->mmio); q++)
			if (add_doorbell(vm, virtio_mmio_kick_fd(&s->mmio, q), notify, q, err) < 0)
				return -err->code;
	}
	return 0;
}
