// SPDX-License-Identifier: Apache-2.0
/*
 * runner [-b MIB] [-c CPUS] [-d] [-m MIB] [-p] [-s] [-t SECONDS] GUEST: runs a micro guest on the
 * kvm engine's own parts and says how it ended.  With -d it has devices: console, disk and entropy,
 * in this order (vmm/devices.h); the disk's bytes are GUEST_DISK_BYTE.  With -p also a PCI bus, and
 * on it the toy of lib/pci.h.  With -b it is asked to do with so much memory.  With -s it is paused
 * and resumed again and again: a pause in which this process uses the CPU, and a resume after which
 * it does not, is a failure.  Exit status: 0 the guest passed, 1 it failed, 2 it was skipped (by
 * its own word), 3 it could not be run, 4 it crashed, 5 it did not end in time.
 */
#include <errno.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <malloc.h>
#include <poll.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/timeline.h"
#include "tests/guest/lib/outcome.h"
#include "vmm/boot/mptable.h"
#include "vmm/boot/pvh.h"
#include "tests/guest/toy.h"
#include "vmm/devices.h"
#include "vmm/engine/engine.h"
#include "vmm/kvm/msi.h"
#include "vmm/kvm/vcpu.h"
#include "vmm/kvm/vm.h"

#define DISK_SIZE (1u << 20)

enum outcome { PASS, FAIL, SKIP, ERROR, CRASH, TIMEOUT };

static const char *const outcome_names[] = {"pass", "fail", "skip", "error", "crash", "timeout"};

struct options {
	const char *guest;
	uint64_t mib;
	uint32_t cpus;
	int seconds;
	uint64_t keep_mib; /* 0: all */
	bool devices, pci, pauses;
};

struct run {
	const struct options *o;
	struct mem mem;
	struct vm vm;
	struct devices devices;
	struct msi msi;
	struct pci_bus pci;
	struct vcpus vcpus;
	int outcome; /* -1: the guest has not said */
};

static void on_mmio(void *arg, gpa_t at, void *data, uint32_t size, bool write)
{
	struct run *r = arg;

	if (r->o->pci && pci_bus_mmio(&r->pci, at, data, size, write))
		return;
	if (r->o->devices)
		devices_mmio(&r->devices, at, data, size, write);
}

static bool on_port(void *arg, uint16_t port, void *data, uint32_t size, bool write)
{
	struct run *r = arg;
	uint8_t byte;

	if (r->o->pci && pci_bus_port(&r->pci, port, data, size, write))
		return true;
	if (!write || size == 0)
		return true;
	memcpy(&byte, data, 1);
	if (port == GUEST_PORT_TEXT && putchar(byte) == EOF)
		return false;
	if (port != GUEST_PORT_END)
		return true;
	r->outcome = byte <= GUEST_SKIP ? byte : FAIL;
	return false;
}

static int make_disk(void)
{
	int fd = memfd_create("disk", MFD_CLOEXEC);
	uint8_t block[4096];

	memset(block, GUEST_DISK_BYTE, sizeof(block));
	for (size_t at = 0; at < DISK_SIZE; at += sizeof(block))
		if (write(fd, block, sizeof(block)) != (ssize_t)sizeof(block))
			return -1;
	return fd;
}

static int add_devices(struct run *r, struct error *err)
{
	static char serial[] = "micro";
	struct machine_disk disk = {.serial = serial, .fd = make_disk()};
	const struct machine m = {.disks = &disk, .disks_n = 1, .log_fd = STDERR_FILENO};
	int agent, console, ours;

	if (disk.fd < 0)
		return error_errno(err, "make a disk");
	if (engine_channel(&ours, &agent, err) < 0 || engine_channel(&ours, &console, err) < 0)
		return -err->code;
	if (devices_init(&r->devices, &m, &r->mem, console, agent, err) < 0 ||
	    vm_add_devices(&r->vm, &r->devices, err) < 0)
		return -err->code;
	if (r->o->keep_mib && devices_resize(&r->devices, r->o->keep_mib << 20, err) < 0)
		return -err->code;
	return devices_start(&r->devices, err);
}

static int add_pci(struct run *r, struct error *err)
{
	struct pci_function *toy;

	if (msi_init(&r->msi, &r->vm, PCI_LINES_MAX, err) < 0)
		return -err->code;
	pci_bus_init(&r->pci, &r->msi.sink);
	if (toy_new(&toy, err) < 0 || pci_bus_add(&r->pci, toy, err) < 0)
		return -err->code;
	return vm_add_windows(&r->vm, &r->pci, err);
}

static void make_ops(struct run *r, struct vcpu_ops *ret)
{
	static struct confine_call calls[64];

	memcpy(calls, devices_vcpu_calls, devices_vcpu_calls_n * sizeof(*calls));
	ret->calls = calls;
	ret->calls_n = devices_vcpu_calls_n;
	if (!r->o->pci)
		return;
	memcpy(calls + ret->calls_n, msi_calls, msi_calls_n * sizeof(*calls));
	ret->calls_n += msi_calls_n;
}

static int start(struct run *r, struct error *err)
{
	static const struct confine_call stdio_calls[] = {{SCMP_SYS(newfstatat)}};
	static const struct vcpu_ops bare = {.mmio = on_mmio,
					     .port = on_port,
					     .calls = stdio_calls,
					     .calls_n = ARRAY_SIZE(stdio_calls)};
	static struct vcpu_ops ops;
	struct pvh_entry entry;

	ops = bare;
	if (mem_init(&r->mem, r->o->mib << 20, false, err) < 0 || vm_init(&r->vm, err) < 0 ||
	    vm_add_memory(&r->vm, &r->mem, err) < 0)
		return -err->code;
	if (r->o->devices) {
		if (add_devices(r, err) < 0 || (r->o->pci && add_pci(r, err) < 0))
			return -err->code;
		setvbuf(stdout, NULL, _IONBF, 0);
		make_ops(r, &ops);
	}
	if (mptable_write(&r->mem, r->o->cpus, 0, VM_PINS, err) < 0 ||
	    pvh_load(&r->mem, r->o->guest, NULL, "", &entry, err) < 0)
		return -err->code;
	if (vcpus_init(&r->vcpus, &r->vm, r->o->cpus, &entry, &ops, r, err) < 0)
		return -err->code;
	return cpus_start(&r->vcpus.threads, err);
}

static void say_where(const struct run *r)
{
	struct kvm_regs regs;

	for (uint32_t i = 0; i < r->vcpus.n; i++)
		if (ioctl(r->vcpus.cpu[i].fd, KVM_GET_REGS, &regs) == 0)
			fprintf(stderr, "runner: CPU %u was at 0x%llx\n", i, regs.rip);
}

static uint64_t cpu_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static bool ended_within(struct run *r, int ms)
{
	struct pollfd end = {.fd = r->vcpus.threads.end_fd, .events = POLLIN};

	return poll(&end, 1, ms) > 0;
}

static int pause_all(struct run *r, struct error *err)
{
	if (cpus_pause(&r->vcpus.threads, 5000, err) < 0)
		return -err->code;
	return r->o->devices ? devices_pause(&r->devices, 5000, err) : 0;
}

static void resume_all(struct run *r)
{
	if (r->o->devices)
		devices_resume(&r->devices);
	cpus_resume(&r->vcpus.threads);
}

/* The length of a pause, of what comes between two, and the CPU time that is none. */
#define PAUSE_MS 200
#define RUN_MS 100
#define GO_ON_TRIES 50 /* on a busy machine */
#define IDLE_MS 20

static bool held(struct run *r)
{
	uint64_t before = cpu_ms(), used;

	ended_within(r, PAUSE_MS);
	used = cpu_ms() - before;
	if (used > IDLE_MS)
		fprintf(stderr, "runner: %" PRIu64 " ms of CPU in a pause\n", used);
	return used <= IDLE_MS;
}

static bool goes_on(struct run *r)
{
	uint64_t before = cpu_ms();

	for (int i = 0; i < GO_ON_TRIES; i++)
		if (ended_within(r, RUN_MS) || cpu_ms() - before > IDLE_MS)
			return true;
	fprintf(stderr, "runner: it does not go on after a pause\n");
	return false;
}

/* Ends with the guest paused, or ended. */
static bool run_with_pauses(struct run *r)
{
	uint64_t until = monotonic_ns() + (uint64_t)r->o->seconds * 1000000000u;
	struct error err = {0};
	unsigned int n = 0;

	for (;; n++) {
		/* Twice is as good as once. */
		if (pause_all(r, &err) < 0 || pause_all(r, &err) < 0) {
			fprintf(stderr, "runner: pause: %s\n", err.text);
			return false;
		}
		if (!held(r))
			return false;
		if (monotonic_ns() > until || ended_within(r, 0))
			break;
		resume_all(r);
		if (!goes_on(r))
			return false;
	}
	fprintf(stderr, "runner: %u pauses\n", n + 1);
	return true;
}

static int run(struct run *r)
{
	bool good = true, n = true;

	if (r->o->pauses)
		good = run_with_pauses(r);
	else
		n = ended_within(r, r->o->seconds * 1000);
	cpus_stop(&r->vcpus.threads);
	if (!n) {
		say_where(r);
		return TIMEOUT;
	}
	if (r->o->pauses)
		return !good ? FAIL : r->outcome >= 0 ? r->outcome : PASS;
	if (r->vcpus.threads.end.code)
		fprintf(stderr, "runner: %s\n", r->vcpus.threads.end.text);
	return r->outcome >= 0 ? r->outcome : CRASH;
}

static void done(struct run *r)
{
	if (r->o->devices)
		devices_stop(&r->devices);
	vcpus_done(&r->vcpus);
	if (r->o->devices)
		devices_done(&r->devices);
	if (r->o->pci)
		pci_bus_done(&r->pci);
	msi_done(&r->msi);
	vm_done(&r->vm);
	mem_done(&r->mem);
}

static int parse(int argc, char **argv, struct options *o)
{
	int opt;

	while ((opt = getopt(argc, argv, "b:c:dm:pst:")) != -1)
		switch (opt) {
		case 'b':
			o->keep_mib = (uint64_t)atoi(optarg);
			break;
		case 's':
			o->pauses = true;
			break;
		case 'c':
			o->cpus = (uint32_t)atoi(optarg);
			break;
		case 'd':
			o->devices = true;
			break;
		case 'm':
			o->mib = (uint64_t)atoi(optarg);
			break;
		case 'p':
			o->devices = o->pci = true;
			break;
		case 't':
			o->seconds = atoi(optarg);
			break;
		default:
			return -EINVAL;
		}
	o->guest = argv[optind];
	return optind + 1 == argc ? 0 : -EINVAL;
}

int main(int argc, char **argv)
{
	struct options o = {.mib = 16, .cpus = 1, .seconds = 20};
	static struct run r = {.outcome = -1};
	uint64_t begin = monotonic_ns();
	struct error err = {0};
	int outcome;

	/* As the monitor does: a thread of its own heap would need calls that its filter has not.
	 */
	mallopt(M_ARENA_MAX, 1);
	if (parse(argc, argv, &o) < 0) {
		fprintf(stderr,
			"usage: runner [-b MIB] [-c CPUS] [-d] [-m MIB] [-p] [-s] [-t SECONDS] "
			"GUEST\n");
		return ERROR;
	}
	r.o = &o;
	if (start(&r, &err) < 0) {
		fprintf(stderr, "runner: %s\n", err.text);
		return ERROR;
	}
	outcome = run(&r);
	done(&r);
	fflush(stdout);
	fprintf(stderr, "%s: %s in %" PRIu64 " us\n", o.guest, outcome_names[outcome],
		(monotonic_ns() - begin) / 1000);
	return outcome;
}
