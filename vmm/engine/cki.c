// SPDX-License-Identifier: Apache-2.0
#include "vmm/engine/cki.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/timeline.h"
#include "vmm/boot/cki.h"
#include "vmm/cki/functions.h"
#include "vmm/cki/sandbox.h"
#include "vmm/cki/vcpu.h"
#include "vmm/devices.h"
#include "vmm/engine/engine.h"
#include "vmm/engine/inside.h"

/*
 * The kernel's command line on this machine.
 * panic=-1     a panic is the end, at once
 * oops=panic   a kernel that faulted holds locks and broken structures: it does not go on
 * 8250.nr_uarts=0  nor are there UARTs
 * rcupdate.rcu_expedited=1   mounting and making namespaces waits for RCU again and again
 */
#define KERNEL_CMDLINE                                                                             \
	"quiet console=hvc0 panic=-1 oops=panic 8250.nr_uarts=0 "                                  \
	"rcupdate.rcu_expedited=1 random.trust_cpu=on cgroup_no_v1=all"
/* Without functions: there is no bus to look for. */
#define CMDLINE_NO_PCI " pci=off"
/* With: their drivers come up while the container does; windows are mapped by pages of 4 KiB. */
#define CMDLINE_PCI " driver_async_probe=igbvf,ixgbevf,iavf nohugeiomap"

#define HUGE_PAGES "/sys/kernel/mm/hugepages/hugepages-2048kB/"

struct guest {
	struct mem mem;
	struct cki_sandbox sandbox;
	struct devices devices;
	struct cki_functions functions;
	struct cki_vcpus vcpus;
	bool has_mem, has_devices, has_functions, has_vcpus;
	int agent_fd, console_fd;	  /* the monitor's ends of the channels */
	int agent_device, console_device; /* the console device's ends */
};

/* Whether a file of the host's memory management says a number above 0. */
static bool has_pages(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	char text[32];
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (n <= 0)
		return false;
	text[n] = 0;
	return strtoull(text, NULL, 10) > 0;
}

/* The module, and memory for guests.  How much of that is free changes: a start sees. */
static int cki_probe(struct error *err)
{
	if (cki_check(err) < 0)
		return -err->code;
	if (!has_pages(HUGE_PAGES "nr_hugepages") &&
	    !has_pages(HUGE_PAGES "nr_overcommit_hugepages"))
		return error_set(err, ENOMEM,
				 "the module is loaded, but no huge pages of 2 MiB are set aside "
				 "for guests' memory (sysctl vm.nr_hugepages)");
	return 0;
}

/* What other engines have, and this one has not. */
static int check_machine(const struct machine *m, struct error *err)
{
	if (m->functions_n && m->memory_fd < 0)
		return error_set(err, EINVAL,
				 "functions without lent memory: nothing of it is mapped for them");
	if (m->memory_max && m->memory_max != m->memory)
		return error_set(err, EOPNOTSUPP, "its memory cannot grow");
	if (m->memory % MEM_BLOCK)
		return error_set(err, EINVAL, "its memory must be a multiple of 2 MiB");
	return 0;
}

/* Guest-physical addresses are the host's: no device's window may lie where there is memory. */
static int check_windows(const struct guest *g, struct error *err)
{
	const uint64_t end = DEVICES_AT + DEVICES_MAX * VIRTIO_MMIO_WINDOW;

	for (unsigned int i = 0; i < g->mem.regions_n; i++) {
		const struct mem_region *r = &g->mem.regions[i];

		if (r->base.v < end && DEVICES_AT < r->base.v + r->size)
			return error_set(err, EADDRINUSE,
					 "the host has memory at 0x%llx, where devices go",
					 (unsigned long long)DEVICES_AT);
	}
	return 0;
}

static int take_memory(struct guest *g, const struct machine *m, struct error *err)
{
	int rc = m->memory_fd < 0
			 ? mem_init(&g->mem, m->memory, true, err)
			 : mem_init_lent(&g->mem, m->memory_fd, m->memory, m->memory, true, err);

	if (rc < 0)
		return rc;
	g->has_mem = true;
	return cki_sandbox_add_memory(&g->sandbox, &g->mem, err);
}

static int make_memory(struct guest *g, const struct machine *m, struct error *err)
{
	int rc = cki_sandbox_lock(&g->sandbox, err);

	if (rc == 0)
		rc = take_memory(g, m, err);
	cki_sandbox_unlock(&g->sandbox);
	if (rc < 0 || cki_sandbox_add_tables(&g->sandbox, err) < 0)
		return -err->code;
	return check_windows(g, err);
}

static int make_devices(struct guest *g, const struct machine *m, struct error *err)
{
	if (devices_init(&g->devices, m, &g->mem, g->console_device, g->agent_device, err) < 0)
		return -err->code;
	g->has_devices = true;
	return cki_sandbox_add_devices(&g->sandbox, &g->devices, err);
}

static void on_function_gone(void *arg, const struct error *reason)
{
	struct guest *g = arg;

	cpus_end(&g->vcpus.threads, reason);
}

static int add_functions(struct guest *g, const struct machine *m, struct error *err)
{
	if (m->functions_n == 0)
		return 0;
	if (cki_functions_init(&g->functions, &g->sandbox, m, &g->mem, &g->devices.io,
			       on_function_gone, g, err) < 0)
		return -err->code;
	g->has_functions = true;
	g->vcpus.functions = &g->functions;
	timeline_mark("functions");
	return 0;
}

static int load(struct guest *g, const struct machine *m, struct error *err)
{
	char cmdline[CKI_CMDLINE_MAX], devices[CKI_CMDLINE_MAX];
	struct cki_guest guest = {
		.kernel = m->kernel, .initrd = m->initrd, .cmdline = cmdline, .vcpus = m->vcpus};
	const struct cki_memory memory = {.fd = g->sandbox.fd,
					  .host = g->mem.regions[0].at,
					  .blocks = g->sandbox.blocks,
					  .blocks_n = g->sandbox.blocks_n,
					  .tables = g->sandbox.tables,
					  .tables_n = g->sandbox.tables_n};
	struct cki_entry entry;
	int n;

	if (devices_cmdline(&g->devices, devices, sizeof(devices)) < 0)
		return error_set(err, E2BIG, "too many devices for the kernel's command line");
	n = snprintf(cmdline, sizeof(cmdline), KERNEL_CMDLINE "%s%s%s%s",
		     m->functions_n ? CMDLINE_PCI : CMDLINE_NO_PCI, devices, *m->cmdline ? " " : "",
		     m->cmdline);
	if (n < 0 || (size_t)n >= sizeof(cmdline))
		return error_set(err, E2BIG, "the kernel's command line is longer than %zu bytes",
				 sizeof(cmdline) - 1);
	if (cki_sandbox_tsc_khz(&g->sandbox, &guest.tsc_khz, err) < 0 ||
	    cki_load(&memory, &guest, &entry, err) < 0)
		return -err->code;
	timeline_mark("kernel");
	return cki_vcpus_enter(&g->vcpus, &entry, err);
}

static int make_vcpus(struct guest *g, const struct machine *m, struct error *err)
{
	if (cki_vcpus_init(&g->vcpus, &g->sandbox, m->vcpus, err) < 0)
		return -err->code;
	g->has_vcpus = true;
	g->vcpus.devices = &g->devices;
	g->vcpus.mem = &g->mem;
	g->vcpus.console_fd = g->console_device;
	return 0;
}

static int build(struct guest *g, const struct machine *m, struct error *err)
{
	if (check_machine(m, err) < 0 || engine_channel(&g->agent_fd, &g->agent_device, err) < 0 ||
	    engine_channel(&g->console_fd, &g->console_device, err) < 0 ||
	    cki_sandbox_init(&g->sandbox, err) < 0 || make_memory(g, m, err) < 0)
		return -err->code;
	timeline_mark("memory");
	if (make_vcpus(g, m, err) < 0 || make_devices(g, m, err) < 0 ||
	    add_functions(g, m, err) < 0 || load(g, m, err) < 0)
		return -err->code;
	/* From here on nothing is added to it: it lives by its CPUs. */
	cki_sandbox_done(&g->sandbox);
	return 0;
}

static void cki_kill(struct guest *g)
{
	/* The devices last: what the guest has said is still carried out of it. */
	if (g->has_vcpus)
		cpus_stop(&g->vcpus.threads);
	if (g->has_devices)
		devices_stop(&g->devices);
}

static void cki_done(struct guest *g)
{
	if (!g)
		return;
	cki_kill(g);
	if (g->has_vcpus)
		cki_vcpus_done(&g->vcpus);
	cki_sandbox_done(&g->sandbox);
	if (g->has_devices)
		devices_done(&g->devices);
	if (g->has_functions)
		cki_functions_done(&g->functions);
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
	cki_done(*g);
}

static int cki_start(const struct machine *m, struct guest **ret, struct error *err)
{
	_cleanup_(cleanup_guest) struct guest *g = calloc(1, sizeof(*g));

	if (!g)
		return error_set(err, ENOMEM, "out of memory");
	g->agent_fd = g->agent_device = g->console_fd = g->console_device = g->sandbox.fd = -1;
	if (build(g, m, err) < 0)
		return error_wrap(err, "engine cki");
	timeline_mark("engine");
	*ret = steal_ptr(&g);
	return 0;
}

static int cki_launch(struct guest *g, struct error *err)
{
	if (inside_launch(&g->devices, &g->vcpus.threads, err) < 0)
		return error_wrap(err, "engine cki");
	return 0;
}

static int cki_pause(struct guest *g, struct error *err)
{
	return inside_pause(&g->devices, &g->vcpus.threads, err);
}

static int cki_resume(struct guest *g, struct error *err)
{
	(void)err;
	inside_resume(&g->devices, &g->vcpus.threads);
	return 0;
}

static int cki_agent_fd(const struct guest *g)
{
	return g->agent_fd;
}

static int cki_console_fd(const struct guest *g)
{
	return g->console_fd;
}

static int cki_exit_fd(const struct guest *g)
{
	return g->vcpus.threads.end_fd;
}

static int cki_wait(struct guest *g, struct error *err)
{
	cki_kill(g);
	return inside_end(&g->vcpus.threads, err);
}

/* Which gate the module has chosen (docs/cki.md). */
static void cki_detail(char *text, size_t size)
{
	_cleanup_close_ int fd = open("/sys/module/caisson/parameters/gate", O_RDONLY | O_CLOEXEC);
	char gate[16];
	ssize_t n = fd < 0 ? -1 : read(fd, gate, sizeof(gate) - 1);

	if (n <= 0)
		return;
	gate[n] = 0;
	gate[strcspn(gate, "\n")] = 0;
	snprintf(text, size, "gate %s", gate);
}

const struct engine_ops engine_cki = {
	.name = "cki",
	.summary = "guest kernels in ring 1, without hardware virtualization",
	.shares = SPEC_SHARES_VIRTIOFS,
	.probe = cki_probe,
	.detail = cki_detail,
	.start = cki_start,
	.launch = cki_launch,
	.pause = cki_pause,
	.resume = cki_resume,
	.agent_fd = cki_agent_fd,
	.console_fd = cki_console_fd,
	.exit_fd = cki_exit_fd,
	.wait = cki_wait,
	.kill = cki_kill,
	.done = cki_done,
};
