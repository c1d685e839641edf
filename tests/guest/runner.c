// SPDX-License-Identifier: Apache-2.0
/*
 * runner [-c CPUS] [-m MIB] [-t SECONDS] GUEST: runs a micro guest on the kvm engine's own parts
 * and says how it ended.  Exit status: 0 the guest passed, 1 it failed, 2 it was skipped (by its own
 * word), 3 it could not be run, 4 it crashed, 5 it did not end in time.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/timeline.h"
#include "tests/guest/guest.h"
#include "vmm/boot/mptable.h"
#include "vmm/boot/pvh.h"
#include "vmm/kvm/vcpu.h"
#include "vmm/kvm/vm.h"

enum outcome { PASS, FAIL, SKIP, ERROR, CRASH, TIMEOUT };

static const char *const outcome_names[] = {"pass", "fail", "skip", "error", "crash", "timeout"};

struct run {
	struct mem mem;
	struct vm vm;
	struct vcpus vcpus;
	int outcome; /* -1: the guest has not said */
};

static void on_mmio(void *arg, gpa_t at, void *data, uint32_t size, bool write)
{
	(void)arg, (void)at, (void)data, (void)size, (void)write;
}

static bool on_port(void *arg, uint16_t port, void *data, uint32_t size, bool write)
{
	struct run *r = arg;
	uint8_t byte;

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

static const struct confine_call calls[] = {
	{SCMP_SYS(newfstatat)}, /* stdio, the first time */
};

static const struct vcpu_ops ops = {
	.mmio = on_mmio, .port = on_port, .calls = calls, .calls_n = ARRAY_SIZE(calls)};

static int start(struct run *r, const char *guest, uint32_t cpus, uint64_t mib, struct error *err)
{
	struct pvh_entry entry;

	if (mem_init(&r->mem, mib << 20, false, err) < 0 || vm_init(&r->vm, err) < 0 ||
	    vm_add_memory(&r->vm, &r->mem, err) < 0)
		return -err->code;
	if (mptable_write(&r->mem, cpus, 0, VM_PINS, err) < 0 ||
	    pvh_load(&r->mem, guest, NULL, "", &entry, err) < 0)
		return -err->code;
	if (vcpus_init(&r->vcpus, &r->vm, cpus, &entry, &ops, r, err) < 0)
		return -err->code;
	return vcpus_start(&r->vcpus, err);
}

static int run(struct run *r, int seconds)
{
	struct pollfd end = {.fd = r->vcpus.end_fd, .events = POLLIN};
	int n = poll(&end, 1, seconds * 1000);

	vcpus_stop(&r->vcpus);
	if (n == 0)
		return TIMEOUT;
	if (r->vcpus.end.code)
		fprintf(stderr, "runner: %s\n", r->vcpus.end.text);
	return r->outcome >= 0 ? r->outcome : CRASH;
}

int main(int argc, char **argv)
{
	static struct run r = {.outcome = -1};
	uint64_t mib = 16, begin = monotonic_ns();
	uint32_t cpus = 1;
	int seconds = 20, opt, outcome;
	struct error err = {0};

	while ((opt = getopt(argc, argv, "c:m:t:")) != -1)
		switch (opt) {
		case 'c':
			cpus = (uint32_t)atoi(optarg);
			break;
		case 'm':
			mib = (uint64_t)atoi(optarg);
			break;
		case 't':
			seconds = atoi(optarg);
			break;
		default:
			return ERROR;
		}
	if (optind + 1 != argc) {
		fprintf(stderr, "usage: runner [-c CPUS] [-m MIB] [-t SECONDS] GUEST\n");
		return ERROR;
	}
	if (start(&r, argv[optind], cpus, mib, &err) < 0) {
		fprintf(stderr, "runner: %s\n", err.text);
		return ERROR;
	}
	outcome = run(&r, seconds);
	vcpus_done(&r.vcpus);
	vm_done(&r.vm);
	mem_done(&r.mem);
	fflush(stdout);
	fprintf(stderr, "%s: %s in %" PRIu64 " us\n", argv[optind], outcome_names[outcome],
		(monotonic_ns() - begin) / 1000);
	return outcome;
}
