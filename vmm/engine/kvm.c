// SPDX-License-Identifier: Apache-2.0
#include "vmm/engine/kvm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/timeline.h"
#include "vmm/boot/mptable.h"
#include "vmm/boot/pvh.h"
#include "vmm/devices.h"
#include "vmm/engine/engine.h"
#include "vmm/engine/inside.h"
#include "vmm/growth.h"
#include "vmm/kvm/msi.h"
#include "vmm/kvm/vcpu.h"
#include "vmm/kvm/vm.h"
#include "vmm/pci/bus.h"
#include "vmm/vfio/function.h"

/*
 * The kernel's command line on this machine.
 * reboot=t     a triple fault is the quickest way out; KVM tells us of it
 * panic=-1     a panic is one too, at once
 * oops=panic   a kernel that faulted holds locks and broken structures: it does not go on
 * 8250.nr_uarts=0  nor for a UART
 * rcupdate.rcu_expedited=1   mounting and making namespaces waits for RCU again and again
 */
#define KERNEL_CMDLINE                                                                             \
	"quiet console=hvc0 reboot=t panic=-1 oops=panic 8250.nr_uarts=0 "                         \
	"rcupdate.rcu_expedited=1 random.trust_cpu=on cgroup_no_v1=all"
/* Without functions: there is no PCI, no need to look for it. */
#define CMDLINE_NO_PCI " pci=off"
/* Memory that comes while it runs is used at once: there is no udev. */
#define CMDLINE_GROWS " memhp_default_state=online"
/* With: their drivers come up while the container does. */
#define CMDLINE_PCI " driver_async_probe=igbvf,ixgbevf,iavf"

/* Of a vCPU thread: those of devices, of MSI-X, and of every function. */
#define CALLS_MAX 128u

struct guest {
	struct mem mem;
	struct vm vm;
	struct devices devices;
	struct growth growth;
	struct vcpus vcpus;
	struct vcpu_ops ops;
	struct confine_call calls[CALLS_MAX];
	struct msi msi;
	struct pci_bus pci;
	bool has_mem, has_vm, has_devices, has_vcpus, has_pci;
	int agent_fd, console_fd;	  /* the monitor's ends of the channels */
	int agent_device, console_device; /* the console device's ends */
};

static int kvm_probe(struct error *err)
{
	bool device = access("/dev/kvm", F_OK) == 0, hardware = kvm_hardware();

	if (device && !hardware)
		return error_set(err, ENODEV,
				 "/dev/kvm is there, but the CPU shows neither vmx nor svm: an "
				 "ordinary kernel does not boot on such a KVM");
	if (!hardware)
		return error_set(err, ENODEV,
				 "the CPU shows neither vmx nor svm (in a virtual machine: nested "
				 "virtualization is off)");
	if (!device)
		return error_set(err, ENODEV,
				 "the CPU could, but /dev/kvm is missing: load "
				 "kvm_intel or kvm_amd");
	return kvm_check(err);
}

static void on_mmio(void *arg, gpa_t at, void *data, uint32_t size, bool write)
{
	struct guest *g = arg;

	if (!g->has_pci || !pci_bus_mmio(&g->pci, at, data, size, write))
		devices_mmio(&g->devices, at, data, size, write);
}

static bool on_port(void *arg, uint16_t port, void *data, uint32_t size, bool write)
{
	struct guest *g = arg;

	pci_bus_port(&g->pci, port, data, size, write);
	return true;
}

static void on_function_gone(void *arg, const struct error *reason)
{
	struct guest *g = arg;

	cpus_end(&g->vcpus.threads, reason);
}

static int make_channels(struct guest *g, struct error *err)
{
	return engine_channel(&g->agent_fd, &g->agent_device, err) < 0 ||
			       engine_channel(&g->console_fd, &g->console_device, err) < 0
		       ? -err->code
		       : 0;
}

static int load(struct guest *g, const struct machine *m, struct pvh_entry *ret, struct error *err)
{
	char cmdline[PVH_CMDLINE_MAX], devices[PVH_CMDLINE_MAX];
	int n;

	if (devices_cmdline(&g->devices, devices, sizeof(devices)) < 0)
		return error_set(err, E2BIG, "too many devices for the kernel's command line");
	n = snprintf(cmdline, sizeof(cmdline), KERNEL_CMDLINE "%s%s%s%s%s",
		     m->functions_n ? CMDLINE_PCI : CMDLINE_NO_PCI,
		     g->mem.grows ? CMDLINE_GROWS : "", devices, *m->cmdline ? " " : "",
		     m->cmdline);
	if (n < 0 || (size_t)n >= sizeof(cmdline))
		return error_set(err, E2BIG, "the kernel's command line is longer than %zu bytes",
				 sizeof(cmdline) - 1);
	if (mptable_write(&g->mem, m->vcpus, DEVICES_FIRST_LINE, DEVICES_LINES, err) < 0)
		return -err->code;
	return pvh_load(&g->mem, m->kernel, m->initrd, cmdline, ret, err);
}

static int add_functions(struct guest *g, const struct machine *m, struct error *err)
{
	if (m->functions_n == 0)
		return 0;
	if (!g->mem.lent)
		return error_set(err, EINVAL,
				 "functions without lent memory: nothing of it is mapped for them");
	if (msi_init(&g->msi, &g->vm, PCI_LINES_MAX, err) < 0)
		return -err->code;
	pci_bus_init(&g->pci, &g->msi.sink);
	g->has_pci = true;
	for (uint32_t i = 0; i < m->functions_n; i++) {
		struct pci_function *f;

		if (vfio_function_new(&m->functions[i], &f, err) < 0)
			return -err->code;
		if (pci_bus_add(&g->pci, f, err) < 0)
			return error_wrap(err, "function %s", m->functions[i].name);
		if (vfio_function_watch(f, &g->devices.io, on_function_gone, g, err) < 0)
			return -err->code;
		vm_add_vfio(&g->vm, m->functions[i].device_fd);
	}
	if (vm_add_windows(&g->vm, &g->pci, err) < 0)
		return -err->code;
	timeline_mark("functions");
	return 0;
}

static void add_calls(struct guest *g, const struct confine_call *calls, size_t n)
{
	memcpy(g->calls + g->ops.calls_n, calls, n * sizeof(*calls));
	g->ops.calls_n += n;
}

/* What the vCPU threads do with the guest's accesses, and what they need for it. */
static void make_ops(struct guest *g)
{
	_Static_assert(CALLS_MAX >= 48 + VFIO_FUNCTION_CALLS * PCI_FUNCTIONS_MAX, "too few calls");
	g->ops = (struct vcpu_ops){.mmio = on_mmio, .calls = g->calls};
	add_calls(g, devices_vcpu_calls, devices_vcpu_calls_n);
	if (!g->has_pci)
		return;
	g->ops.port = on_port;
	add_calls(g, msi_calls, msi_calls_n);
	for (unsigned int i = 0; i < g->pci.n; i++) {
		struct confine_call calls[VFIO_FUNCTION_CALLS];

		vfio_function_calls(g->pci.functions[i], calls);
		add_calls(g, calls, VFIO_FUNCTION_CALLS);
	}
}

static int make_memory(struct guest *g, const struct machine *m, struct error *err)
{
	if (m->memory_fd < 0)
		return mem_init(&g->mem, m->memory, m->hugepages, err);
	return mem_init_lent(&g->mem, m->memory_fd, m->memory,
			     m->memory_max ? m->memory_max : m->memory, m->hugepages, err);
}

static int build(struct guest *g, const struct machine *m, struct error *err)
{
	struct pvh_entry entry;

	if (make_channels(g, err) < 0)
		return -err->code;
	if (make_memory(g, m, err) < 0)
		return -err->code;
	g->has_mem = true;
	timeline_mark("memory");
	if (vm_init(&g->vm, err) < 0)
		return -err->code;
	g->has_vm = true;
	if (devices_init(&g->devices, m, &g->mem, g->console_device, g->agent_device, err) < 0)
		return -err->code;
	g->has_devices = true;
	if (g->devices.memory && m->growth_fd >= 0 &&
	    growth_init(&g->growth, m->growth_fd, &g->mem, g->devices.memory, &g->devices.io, err) <
		    0)
		return -err->code;
	if (vm_add_memory(&g->vm, &g->mem, err) < 0 ||
	    vm_add_devices(&g->vm, &g->devices, err) < 0 || add_functions(g, m, err) < 0 ||
	    load(g, m, &entry, err) < 0)
		return -err->code;
	make_ops(g);
	if (vcpus_init(&g->vcpus, &g->vm, m->vcpus, &entry, &g->ops, g, err) < 0)
		return -err->code;
	g->has_vcpus = true;
	vm_seal(&g->vm);
	return 0;
}

static void kvm_kill(struct guest *g)
{
	/* The devices last: what the guest has said is still carried out of it. */
	if (g->has_vcpus)
		cpus_stop(&g->vcpus.threads);
	if (g->has_devices)
		devices_stop(&g->devices);
}

static void kvm_done(struct guest *g)
{
	if (!g)
		return;
	kvm_kill(g);
	if (g->has_vcpus)
		vcpus_done(&g->vcpus);
	if (g->has_devices)
		devices_done(&g->devices);
	if (g->has_pci)
		pci_bus_done(&g->pci);
	msi_done(&g->msi);
	if (g->has_vm)
		vm_done(&g->vm);
	if (g->has_mem)
		mem_done(&g->mem);
	cleanup_close(&g->agent_fd);
	cleanup_close(&g->console_fd);
	cleanup_close(&g->agent_device);
	cleanup_close(&g->console_device);
	free(g);
}

static void cleanup_guest(struct guest **g)
{
	kvm_done(*g);
}

static int kvm_start(const struct machine *m, struct guest **ret, struct error *err)
{
	_cleanup_(cleanup_guest) struct guest *g = calloc(1, sizeof(*g));

	if (!g)
		return error_set(err, ENOMEM, "out of memory");
	g->agent_fd = g->agent_device = g->console_fd = g->console_device = -1;
	if (build(g, m, err) < 0)
		return error_wrap(err, "engine kvm");
	timeline_mark("engine");
	*ret = steal_ptr(&g);
	return 0;
}

static int kvm_launch(struct guest *g, struct error *err)
{
	if (inside_launch(&g->devices, &g->vcpus.threads, err) < 0)
		return error_wrap(err, "engine kvm");
	return 0;
}

static int kvm_pause(struct guest *g, struct error *err)
{
	return inside_pause(&g->devices, &g->vcpus.threads, err);
}

static int kvm_resume(struct guest *g, struct error *err)
{
	(void)err;
	inside_resume(&g->devices, &g->vcpus.threads);
	return 0;
}

static int kvm_resize(struct guest *g, uint64_t bytes, struct error *err)
{
	if (!g->devices.balloon && bytes >= g->mem.size)
		return 0; /* it has all of it */
	return devices_resize(&g->devices, bytes, err);
}

static int kvm_agent_fd(const struct guest *g)
{
	return g->agent_fd;
}

static int kvm_console_fd(const struct guest *g)
{
	return g->console_fd;
}

static int kvm_exit_fd(const struct guest *g)
{
	return g->vcpus.threads.end_fd;
}

static int kvm_wait(struct guest *g, struct error *err)
{
	kvm_kill(g);
	return inside_end(&g->vcpus.threads, err);
}

const struct engine_ops engine_kvm = {
	.name = "kvm",
	.summary = "hardware virtualization (KVM), with a machine monitor of our own",
	.shares = SPEC_SHARES_VIRTIOFS,
	.probe = kvm_probe,
	.start = kvm_start,
	.launch = kvm_launch,
	.pause = kvm_pause,
	.resume = kvm_resume,
	.resize = kvm_resize,
	.agent_fd = kvm_agent_fd,
	.console_fd = kvm_console_fd,
	.exit_fd = kvm_exit_fd,
	.wait = kvm_wait,
	.kill = kvm_kill,
	.done = kvm_done,
};
