/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtual machine of the host's KVM: memory, interrupt controllers, doorbells.
 * The calls follow the kernel's Documentation/virt/kvm/api.rst.
 *
 * Interrupts: KVM's own local APICs, I/O APIC and PICs (KVM_CREATE_IRQCHIP).  With
 * the split irqchip the I/O APIC would be ours, a few hundred lines that the guest
 * writes to, for nothing gained: a device's interrupt goes from its eventfd through
 * KVM_IRQFD to an I/O APIC pin inside the kernel either way.  There is no PIT: the
 * kernel is told the TSC's rate by kvmclock and ticks by the TSC deadline timer.
 */
#ifndef CAISSON_KVM_VM_H
#define CAISSON_KVM_VM_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/error.h"
#include "vmm/devices.h"
#include "vmm/mem/mem.h"
#include "vmm/pci/bus.h"

#define VM_PINS 24u /* of the I/O APIC: the lines there are */

struct vm {
	int kvm_fd, fd;
	int vfio_fd;	   /* KVM's knowledge of functions; -1: none */
	uint32_t run_size; /* bytes of a vCPU's shared page(s) */
	uint32_t slots;	   /* of memory in use */
};

/*
 * Whether /dev/kvm can be opened and can what vm_init() and vcpu_init() ask of it, and the sentence
 * that says what is missing.  It does not look at the CPU: some clouds offer a KVM without VT-x or
 * SVM behind it, on which a micro guest runs but an ordinary kernel does not (kvm_hardware()).
 */
int kvm_check(struct error *err);
/* Whether /proc/cpuinfo shows vmx or svm. */
bool kvm_hardware(void);

/* An empty machine with interrupt controllers.  On error nothing is left behind. */
int vm_init(struct vm *vm, struct error *err);
/* Also gives back what the kernel holds for the machine, once its vCPUs are closed. */
void vm_done(struct vm *vm);
/* Closes /dev/kvm itself: from here on there is this one machine, with the vCPUs it has. */
void vm_seal(struct vm *vm);

/* Makes all of `mem` the machine's RAM; mem outlives vm. */
int vm_add_memory(struct vm *vm, const struct mem *mem, struct error *err);

/*
 * Connects the devices past the monitor's user space: a write to a device's interrupt eventfd is an
 * edge on its I/O APIC pin (KVM_IRQFD), and a guest's write of 4 bytes of n to its QueueNotify is a
 * write to the eventfd of queue n (KVM_IOEVENTFD).  Every other access to a device is an exit.
 */
int vm_add_devices(struct vm *vm, const struct devices *d, struct error *err);

/* Makes what functions give of their windows (struct pci_direct) the machine's memory. */
int vm_add_windows(struct vm *vm, const struct pci_bus *bus, struct error *err);
/*
 * Tells KVM of a function of the host's (its VFIO descriptor; kernels from 6.6), which then keeps
 * the caches coherent where the IOMMU does not (Documentation/virt/kvm/devices/vfio.rst).  An older
 * kernel is not told.
 */
void vm_add_vfio(struct vm *vm, int device_fd);

#endif
