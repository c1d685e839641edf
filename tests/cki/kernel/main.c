// SPDX-License-Identifier: Apache-2.0
/*
 * A kernel by the boot protocol (kmod/uapi/caisson_boot.h), for the cki engine: looks at all that
 * it was promised, has a device fill a buffer (doorbell, rings in memory, interrupt), starts the
 * second CPU if there is one, says "all is well" and turns the machine off.
 *
 * With the word "hold" at the end of its command line, it waits for two seconds before.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>

#include "kmod/rules.h"
#include "kmod/uapi/caisson_boot.h"

#define BLOCK (2ull << 20)
#define ID_RNG 4
#define INITRD "a test's initramfs"

#define vcpu ((volatile struct caisson_vcpu_page *)CAISSON_VCPU_PAGE)
#define check(condition)                                                                           \
	do {                                                                                       \
		if (!(condition))                                                                  \
			failed(#condition);                                                        \
	} while (0)

_Noreturn void main(const struct caisson_boot *boot, uint64_t cpu);
static _Noreturn void failed(const char *condition);
void exception(struct caisson_frame *frame);
uint64_t hypercall(uint64_t call, uint64_t a, uint64_t b, uint64_t c, uint64_t d);
void *memset(void *to, int byte, size_t size);
void *memcpy(void *to, const void *from, size_t size);
extern char start[], exception_entry[];

static struct caisson_boot boot;
static volatile uint64_t pending; /* events that were taken, of the first CPU */
static volatile bool second;

void *memset(void *to, int byte, size_t size)
{
	for (size_t i = 0; i < size; i++)
		((volatile uint8_t *)to)[i] = (uint8_t)byte;
	return to;
}

void *memcpy(void *to, const void *from, size_t size)
{
	for (size_t i = 0; i < size; i++)
		((volatile uint8_t *)to)[i] = ((const uint8_t *)from)[i];
	return to;
}

static uint64_t monitor(uint64_t call, uint64_t a, uint64_t b, uint64_t c)
{
	return hypercall(CAISSON_CALL_MONITOR, call, a, b, c);
}

static void *direct(uint64_t physical)
{
	return (void *)(CAISSON_DIRECT + physical);
}

static uint64_t physical(const void *at)
{
	return (uint64_t)at - 0xffffffff81000000 + boot.image;
}

static size_t length(const char *text)
{
	size_t n = 0;

	while (text[n])
		n++;
	return n;
}

static void say(const char *text)
{
	check(monitor(CAISSON_MONITOR_CONSOLE, physical(text), length(text), 0) == 0);
}

static _Noreturn void power(uint64_t how)
{
	for (;;)
		monitor(CAISSON_MONITOR_POWER, how, 0, 0);
}

static _Noreturn void failed(const char *condition)
{
	monitor(CAISSON_MONITOR_CONSOLE, physical(condition), length(condition), 0);
	power(CAISSON_POWER_PANIC);
}

void exception(struct caisson_frame *frame)
{
	if (frame->vector != CAISSON_VECTOR_EVENT)
		failed("an exception");
	__atomic_or_fetch(&pending, __atomic_exchange_n(&vcpu->events, 0, __ATOMIC_SEQ_CST),
			  __ATOMIC_SEQ_CST);
	vcpu->masked = (uint8_t)frame->masked;
}

static void wait_for(unsigned int event)
{
	/* Masked while it looks: else the event could come just before it sleeps. */
	vcpu->masked = 1;
	while (!(__atomic_load_n(&pending, __ATOMIC_SEQ_CST) >> event & 1)) {
		hypercall(CAISSON_CALL_HALT, 0, 0, 0, 0);
		vcpu->masked = 0;
		hypercall(CAISSON_CALL_EVENTS, 0, 0, 0, 0);
		vcpu->masked = 1;
	}
	vcpu->masked = 0;
	hypercall(CAISSON_CALL_EVENTS, 0, 0, 0, 0);
	__atomic_and_fetch(&pending, ~(1ull << event), __ATOMIC_SEQ_CST);
}

/* --- What was promised -------------------------------------------------------------------------*/

static const struct caisson_boot_run *runs(const struct caisson_boot *page,
					   const struct caisson_run_list *list)
{
	check(list->n && list->n <= CAISSON_BOOT_RUNS &&
	      list->offset + list->n * sizeof(struct caisson_boot_run) <= CAISSON_BOOT_SIZE);
	return (const void *)((const uint8_t *)page + list->offset);
}

/* Every block is there, its own, and zero but for what was loaded. */
static void check_data(const struct caisson_boot_run *run, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		check(run[i].physical % BLOCK == 0 && run[i].size && run[i].size % BLOCK == 0);
		check(i == 0 || run[i].physical > run[i - 1].physical + run[i - 1].size);
		for (uint64_t at = run[i].physical; at < run[i].physical + run[i].size; at += BLOCK)
			*(volatile uint64_t *)direct(at + BLOCK - 8) = at;
	}
	for (uint32_t i = 0; i < n; i++)
		for (uint64_t at = run[i].physical; at < run[i].physical + run[i].size; at += BLOCK)
			check(*(volatile uint64_t *)direct(at + BLOCK - 8) == at);
}

static void check_tables(const struct caisson_boot_run *run, uint32_t n)
{
	uint64_t left = boot.tables_used;

	check(run[0].physical == (boot.root & ~(BLOCK - 1)) || n > 1);
	for (uint32_t i = 0; i < n; i++) {
		uint64_t here = run[i].size / 4096;

		/* The first one that is free. */
		if (left < here) {
			check(hypercall(CAISSON_CALL_TABLE_NEW, run[i].physical + left * 4096, 1, 0,
					0) == 0);
			check(*(volatile uint64_t *)direct(run[i].physical + left * 4096) == 0);
			return;
		}
		left -= here;
	}
	failed("no table is free");
}

static void check_fpu(void)
{
	uint64_t in = 0x0123456789abcdef, out;

	__asm__ volatile("movq %0, %%xmm11" : : "r"(in));
	say("fpu\n");
	__asm__ volatile("movq %%xmm11, %0" : "=r"(out));
	check(in == out);
}

static void check_boot(const struct caisson_boot *page)
{
	const char *cmdline;

	check(boot.protocol == CAISSON_BOOT_PROTOCOL && boot.size == sizeof(boot));
	check(boot.vcpus && boot.tsc_khz > 1000 && boot.wall_ns > 1000000000ull * 1000000000);
	cmdline = direct(boot.cmdline);
	check(length(cmdline) > 10 && length(cmdline) < 2048);
	for (size_t i = 0; boot.initrd_size && i < sizeof(INITRD) - 1; i++)
		check(((const char *)direct(boot.initrd))[i] == INITRD[i]);
	check_tables(runs(page, &page->tables), page->tables.n);
	check_data(runs(page, &page->data), page->data.n);
}

/* --- A device ----------------------------------------------------------------------------------*/

static struct {
	struct vring_desc desc[8];
	struct vring_avail avail;
	uint16_t avail_ring[8 + 1];
	struct vring_used used __attribute__((aligned(4096)));
	struct vring_used_elem used_ring[8];
	uint8_t buffer[64];
} ring __attribute__((aligned(4096)));

static uint32_t reg_read(uint64_t at)
{
	return (uint32_t)monitor(CAISSON_MONITOR_MMIO_READ, at, 4, 0);
}

static void reg(uint64_t at, uint32_t value)
{
	check(monitor(CAISSON_MONITOR_MMIO_WRITE, at, 4, value) == 0);
}

static uint64_t number(const char **text, unsigned int base)
{
	uint64_t n = 0;

	for (;; (*text)++) {
		const char c = **text;
		const unsigned int digit = c >= '0' && c <= '9'	  ? (unsigned int)(c - '0')
					   : c >= 'a' && c <= 'f' ? (unsigned int)(c - 'a' + 10)
								  : 16;

		if (digit >= base)
			return n;
		n = n * base + digit;
	}
}

/* Where the command line says that there is a device of an ID; its line. */
static uint64_t find_device(uint32_t id, uint32_t *ret_line)
{
	const char *at = direct(boot.cmdline);

	for (; *at; at++) {
		uint64_t window;

		if (at[0] != '@' || at[1] != '0' || at[2] != 'x')
			continue;
		at += 3;
		window = number(&at, 16);
		at++;
		*ret_line = (uint32_t)number(&at, 10);
		check(reg_read(window) == 0x74726976);
		if (reg_read(window + VIRTIO_MMIO_DEVICE_ID) == id)
			return window;
	}
	failed("no such device");
}

static void use_device(void)
{
	uint32_t line = 0;
	const uint64_t at = find_device(ID_RNG, &line);
	unsigned int filled = 0;

	reg(at + VIRTIO_MMIO_STATUS, 0);
	reg(at + VIRTIO_MMIO_STATUS, 3);
	reg(at + VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	reg(at + VIRTIO_MMIO_DRIVER_FEATURES, 1); /* VERSION_1 */
	reg(at + VIRTIO_MMIO_STATUS, 11);
	reg(at + VIRTIO_MMIO_QUEUE_SEL, 0);
	reg(at + VIRTIO_MMIO_QUEUE_NUM, 8);
	reg(at + VIRTIO_MMIO_QUEUE_DESC_LOW, (uint32_t)physical(ring.desc));
	reg(at + VIRTIO_MMIO_QUEUE_DESC_HIGH, (uint32_t)(physical(ring.desc) >> 32));
	reg(at + VIRTIO_MMIO_QUEUE_AVAIL_LOW, (uint32_t)physical(&ring.avail));
	reg(at + VIRTIO_MMIO_QUEUE_AVAIL_HIGH, (uint32_t)(physical(&ring.avail) >> 32));
	reg(at + VIRTIO_MMIO_QUEUE_USED_LOW, (uint32_t)physical(&ring.used));
	reg(at + VIRTIO_MMIO_QUEUE_USED_HIGH, (uint32_t)(physical(&ring.used) >> 32));
	reg(at + VIRTIO_MMIO_QUEUE_READY, 1);
	reg(at + VIRTIO_MMIO_STATUS, 15);
	check(reg_read(at + VIRTIO_MMIO_STATUS) == 15);
	ring.desc[0] = (struct vring_desc){.addr = physical(ring.buffer),
					   .len = sizeof(ring.buffer),
					   .flags = 2};
	ring.avail_ring[0] = 0;
	__atomic_store_n(&ring.avail.idx, 1, __ATOMIC_SEQ_CST);
	reg(at + VIRTIO_MMIO_QUEUE_NOTIFY, 0);
	wait_for(CAISSON_EVENT_LINE(line));
	check(__atomic_load_n(&ring.used.idx, __ATOMIC_SEQ_CST) == 1);
	check(reg_read(at + VIRTIO_MMIO_INTERRUPT_STATUS) == 1);
	for (unsigned int i = 0; i < sizeof(ring.buffer); i++)
		filled += ring.buffer[i] != 0;
	check(filled > 32);
	reg(at + VIRTIO_MMIO_STATUS, 0);
}

/* --- Attacks: nothing of them is answered well, and the machine goes on ------------------------*/

static void attack(void)
{
	const uint64_t errors = (uint64_t)-4095;

	check(monitor(CAISSON_MONITOR_CONSOLE, 0, 16, 0) >= errors);
	check(monitor(CAISSON_MONITOR_CONSOLE, boot.root, 16, 0) >= errors);
	check(monitor(CAISSON_MONITOR_CONSOLE, physical(start), ~0ull, 0) >= errors);
	check(monitor(CAISSON_MONITOR_CONSOLE, ~0ull, 2, 0) >= errors);
	check(monitor(CAISSON_MONITOR_CONSOLE, physical(start), 0, 0) >= errors);
	check(monitor(CAISSON_MONITOR_MMIO_READ, 0xd0000000, 3, 0) >= errors);
	check(monitor(CAISSON_MONITOR_MMIO_READ, 0xd0000000, 1ull << 32 | 4, 0) >= errors);
	check(monitor(CAISSON_MONITOR_MMIO_WRITE, 0xd0000000, 16, 0) >= errors);
	check(monitor(CAISSON_MONITOR_MMIO_READ, 0, 8, 0) == ~0ull);
	check(monitor(CAISSON_MONITOR_MMIO_READ, ~0ull, 1, 0) == 0xff);
	check(monitor(CAISSON_MONITOR_MMIO_WRITE, ~0ull, 8, 1) == 0);
	/* There is no bus. */
	check(monitor(CAISSON_MONITOR_CONFIG_READ, 0, 4, 0) >= errors);
	check(monitor(CAISSON_MONITOR_CONFIG_WRITE, ~0ull, ~0ull, ~0ull) >= errors);
	check(monitor(0x1ff, 0, 0, 0) >= errors);
	check(monitor(~0ull, ~0ull, ~0ull, ~0ull) >= errors);
}

/* The last word of the command line is it. */
static bool is_told_to(const char *word)
{
	const char *cmdline = direct(boot.cmdline);
	size_t n = length(word), all = length(cmdline);

	for (size_t i = 0; i < n; i++)
		if (all < n || cmdline[all - n + i] != word[i])
			return false;
	return true;
}

static _Noreturn void main_second(void)
{
	second = true;
	hypercall(CAISSON_CALL_RAISE, 1, CAISSON_EVENT_OWN, 0, 0);
	for (;;)
		hypercall(CAISSON_CALL_HALT, 0, 0, 0, 0);
}

_Noreturn void main(const struct caisson_boot *page, uint64_t cpu)
{
	check(vcpu->masked);
	vcpu->exception_entry = (uint64_t)exception_entry;
	if (cpu)
		main_second();
	boot = *page;
	vcpu->masked = 0;
	say("hello from ring 1\n");
	check_boot(page);
	check_fpu();
	use_device();
	attack();
	if (boot.vcpus > 1) {
		check(hypercall(CAISSON_CALL_START, 1, boot.root, (uint64_t)start, 0) == 0);
		wait_for(CAISSON_EVENT_OWN);
		check(second);
		say("two CPUs\n");
	}
	if (is_told_to("hold")) {
		check(hypercall(CAISSON_CALL_TIMER, 2000000000, 0, 0, 0) == 0);
		wait_for(CAISSON_EVENT_TIMER);
	}
	say("all is well\n");
	power(CAISSON_POWER_OFF);
}
