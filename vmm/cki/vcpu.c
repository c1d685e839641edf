// SPDX-License-Identifier: Apache-2.0
#include "vmm/cki/vcpu.h"

#include <cpuid.h>
#include <errno.h>
#include <seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "kmod/uapi/caisson_boot.h"
#include "lib/cleanup.h"
#include "lib/confine.h"

_Static_assert(CAISSON_RUN == 0xca11, "run.S has it, too");

#define RUN_SIZE 4096u
/* Of XCR0: x87, SSE, AVX, AVX-512.  Protection keys and tile registers are not for guests yet. */
#define FPU_MASK 0xe7u
#define MXCSR_AT 24u /* in an XSAVE area (SDM volume 1, 13.4.1) */
#define MXCSR_DEFAULT 0x1f80u
#define CONSOLE_MAX 65536u /* bytes of one call */

/* What a vCPU thread needs of the kernel, besides what its devices need. */
static const struct confine_call calls[] = {
	{SCMP_SYS(ioctl), CONFINE_ARG(1, CAISSON_RUN)}, /* its life */
	{SCMP_SYS(write)},				/* the eventfd that says how it ended */
	{SCMP_SYS(sendto)},				/* the early console */
};

/* --- The life of them --------------------------------------------------------------------------*/

static uint64_t xcr0(void)
{
	uint32_t low, high;

	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return (uint64_t)high << 32 | low;
}

/* An area as at the start of a program, or NULL. */
static void *fpu_new(void)
{
	const uint32_t mxcsr = MXCSR_DEFAULT;
	uint32_t a, b, c, d;
	uint8_t *area;

	/* EBX: bytes that what is on in XCR0 needs. */
	__cpuid_count(0xd, 0, a, b, c, d);
	area = aligned_alloc(64, ((size_t)b + 63) & ~(size_t)63);
	if (!area)
		return NULL;
	memset(area, 0, b);
	memcpy(area + MXCSR_AT, &mxcsr, sizeof(mxcsr));
	return area;
}

static int fpu_init(struct cki_vcpus *v, struct error *err)
{
	uint32_t a, b, c, d;

	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE))
		return error_set(err, ENODEV, "the host has XSAVE off");
	v->fpu_mask = xcr0() & FPU_MASK;
	v->fpu = fpu_new();
	return v->fpu ? 0 : error_set(err, ENOMEM, "out of memory");
}

static int vcpu_init(struct cki_vcpu *c, const struct cki_sandbox *s, struct error *err)
{
	void *at;

	c->fd = ioctl(s->fd, CAISSON_ADD_VCPU);
	if (c->fd < 0)
		return error_errno(err, "add a CPU");
	at = mmap(NULL, RUN_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd, 0);
	if (at == MAP_FAILED)
		return error_errno(err, "map a CPU");
	c->run = at;
	c->fpu = fpu_new();
	return c->fpu ? 0 : error_set(err, ENOMEM, "out of memory");
}

void cki_vcpus_done(struct cki_vcpus *v)
{
	for (uint32_t i = 0; v->cpu && i < v->n; i++) {
		if (v->cpu[i].run)
			munmap(v->cpu[i].run, RUN_SIZE);
		free(v->cpu[i].fpu);
		cleanup_close(&v->cpu[i].fd);
	}
	free(v->cpu);
	free(v->fpu);
	v->cpu = NULL;
	v->fpu = NULL;
	cpus_done(&v->threads);
}

int cki_vcpus_enter(struct cki_vcpus *v, const struct cki_entry *entry, struct error *err)
{
	struct caisson_registers r = {
		.rip = entry->rip, .cs = CAISSON_CS, .rdi = entry->rdi, .root = entry->root};

	if (ioctl(v->cpu[0].fd, CAISSON_SET_REGISTERS, &r) < 0)
		return error_errno(err, "set the entry point");
	return 0;
}

/* --- Calls of the guest: each returns the answer -----------------------------------------------*/

static uint64_t do_console(const struct cki_vcpus *v, uint64_t at, uint64_t size)
{
	const void *text = size <= CONSOLE_MAX ? mem_at(v->mem, GPA(at), size) : NULL;

	if (!text)
		return (uint64_t)-EFAULT;
	/* What nobody reads is lost. */
	if (send(v->console_fd, text, size, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return (uint64_t)-EAGAIN;
	return 0;
}

static bool is_access(uint64_t size)
{
	return size == 1 || size == 2 || size == 4 || size == 8;
}

static uint64_t do_read(const struct cki_vcpus *v, uint64_t at, uint64_t size)
{
	uint64_t value = ~0ull;

	if (!is_access(size))
		return (uint64_t)-EINVAL;
	if (!v->functions ||
	    !pci_bus_mmio(&v->functions->bus, GPA(at), &value, (uint32_t)size, false))
		devices_mmio(v->devices, GPA(at), &value, (uint32_t)size, false);
	return size == 8 ? value : value & ((1ull << size * 8) - 1);
}

static uint64_t do_write(const struct cki_vcpus *v, uint64_t at, uint64_t size, uint64_t value)
{
	if (!is_access(size))
		return (uint64_t)-EINVAL;
	if (!v->functions ||
	    !pci_bus_mmio(&v->functions->bus, GPA(at), &value, (uint32_t)size, true))
		devices_mmio(v->devices, GPA(at), &value, (uint32_t)size, true);
	return 0;
}

static uint64_t do_config(const struct cki_vcpus *v, uint64_t at, uint64_t size, uint64_t value,
			  bool write)
{
	uint32_t data = write ? (uint32_t)value : ~0u;

	if (!v->functions)
		return (uint64_t)-ENODEV;
	if ((size != 1 && size != 2 && size != 4) || at > 0xffffff || (at & 3) + size > 4)
		return (uint64_t)-EINVAL;
	pci_bus_config(&v->functions->bus, (uint32_t)at, &data, (uint32_t)size, write);
	return write ? 0 : size == 4 ? data : data & ((1u << size * 8) - 1);
}

/* The next ones: true to go on, false when the machine has ended. */

static bool do_power(struct cki_vcpus *v, uint64_t how)
{
	struct error err;

	if (how != CAISSON_POWER_PANIC) {
		cpus_end(&v->threads, NULL);
		return false;
	}
	error_set(&err, EIO, "the guest's kernel gave up");
	cpus_end(&v->threads, &err);
	return false;
}

static bool do_call(struct cki_vcpus *v, struct caisson_run *run)
{
	const uint64_t *a = (const uint64_t *)run->argument;

	switch (a[0]) {
	case CAISSON_MONITOR_CONSOLE:
		run->answer = do_console(v, a[1], a[2]);
		return true;
	case CAISSON_MONITOR_MMIO_READ:
		run->answer = do_read(v, a[1], a[2]);
		return true;
	case CAISSON_MONITOR_MMIO_WRITE:
		run->answer = do_write(v, a[1], a[2], a[3]);
		return true;
	case CAISSON_MONITOR_CONFIG_READ:
		run->answer = do_config(v, a[1], a[2], 0, false);
		return true;
	case CAISSON_MONITOR_CONFIG_WRITE:
		run->answer = do_config(v, a[1], a[2], a[3], true);
		return true;
	case CAISSON_MONITOR_POWER:
		return do_power(v, a[1]);
	default:
		run->answer = (uint64_t)-ENOSYS;
		return true;
	}
}

/* --- Threads -----------------------------------------------------------------------------------*/

static int vcpu_enter(void *arg, uint32_t id, struct error *err)
{
	const struct cki_vcpus *v = arg;
	struct confine_call all[ARRAY_SIZE(calls) + CKI_FUNCTIONS_CALLS_MAX];
	size_t n = ARRAY_SIZE(calls);

	(void)id;
	memcpy(all, calls, sizeof(calls));
	if (v->functions) {
		memcpy(all + n, v->functions->calls, v->functions->calls_n * sizeof(*all));
		n += v->functions->calls_n;
	}
	return confine_calls(all, n, devices_vcpu_calls, devices_vcpu_calls_n, err);
}

static bool end_badly(struct cki_vcpus *v, uint32_t id, int code, const char *why)
{
	struct error err;

	error_set(&err, code, "CPU %u: %s", id, why);
	cpus_end(&v->threads, &err);
	return false;
}

static bool vcpu_run(void *arg, uint32_t id)
{
	struct cki_vcpus *v = arg;
	struct cki_vcpu *c = &v->cpu[id];
	const long rc = cki_run(c->fd, c->fpu, v->fpu, v->fpu_mask);
	char why[sizeof(c->run->text)];

	if (rc == -EINTR)
		return true;
	if (rc < 0)
		return end_badly(v, id, (int)-rc, strerror((int)-rc));
	if (c->run->exit == CAISSON_EXIT_MONITOR)
		return do_call(v, c->run);
	memcpy(why, c->run->text, sizeof(why));
	why[sizeof(why) - 1] = 0;
	return end_badly(v, id, EIO, why);
}

static void vcpu_hold(void *arg, uint32_t id, bool hold)
{
	struct cki_vcpus *v = arg;

	__atomic_store_n(&v->cpu[id].run->immediate_exit, hold, __ATOMIC_SEQ_CST);
}

static const struct cpus_ops thread_ops = {
	.enter = vcpu_enter,
	.run = vcpu_run,
	.hold = vcpu_hold,
};

static int vcpus_make(struct cki_vcpus *v, const struct cki_sandbox *s, struct error *err)
{
	v->cpu = calloc(v->n, sizeof(*v->cpu));
	if (!v->cpu)
		return error_set(err, ENOMEM, "out of memory");
	for (uint32_t i = 0; i < v->n; i++)
		v->cpu[i].fd = -1;
	if (fpu_init(v, err) < 0)
		return -err->code;
	for (uint32_t i = 0; i < v->n; i++)
		if (vcpu_init(&v->cpu[i], s, err) < 0)
			return -err->code;
	return 0;
}

int cki_vcpus_init(struct cki_vcpus *v, const struct cki_sandbox *s, uint32_t n, struct error *err)
{
	*v = (struct cki_vcpus){.console_fd = -1, .n = n};
	if (cpus_init(&v->threads, n, &thread_ops, v, err) < 0)
		return -err->code;
	if (vcpus_make(v, s, err) < 0) {
		cki_vcpus_done(v);
		return -err->code;
	}
	return 0;
}
