// SPDX-License-Identifier: Apache-2.0
#include "tests/guest/lib/guest.h"

/* Rounds of looking for an answer before it is said to be missing: seconds, on any machine. */
#define PATIENCE 200000000u

void say(const char *text)
{
	while (*text)
		out8(GUEST_PORT_TEXT, (uint8_t)*text++);
}

void say_number(uint64_t n)
{
	char digits[24];
	size_t at = sizeof(digits) - 1;

	digits[at] = 0;
	do
		digits[--at] = (char)('0' + n % 10);
	while (n /= 10);
	say(digits + at);
}

void end(int outcome)
{
	for (;;)
		out8(GUEST_PORT_END, (uint8_t)outcome);
}

void failed(const char *condition, int line)
{
	say("line ");
	say_number((uint64_t)line);
	say(": not so: ");
	say(condition);
	say("\n");
	end(GUEST_FAIL);
}

/* The compiler makes calls of these. */
void *memset(void *to, int byte, size_t size);
void *memset(void *to, int byte, size_t size)
{
	for (size_t i = 0; i < size; i++)
		((volatile uint8_t *)to)[i] = (uint8_t)byte;
	return to;
}

#define TRAMPOLINE 0x10000ull
#define LAPIC_ICR (0xfee00000ull + 0x300)
#define ICR_OTHERS (3u << 18)
#define ICR_ASSERT (1u << 14)
#define ICR_INIT (5u << 8)
#define ICR_STARTUP (6u << 8)

extern const uint8_t trampoline[], trampoline_end[];

void start_cpu(void)
{
	for (size_t i = 0; i < (size_t)(trampoline_end - trampoline); i++)
		((volatile uint8_t *)TRAMPOLINE)[i] = trampoline[i];
	write32(LAPIC_ICR, ICR_OTHERS | ICR_ASSERT | ICR_INIT);
	write32(LAPIC_ICR, ICR_OTHERS | ICR_ASSERT | ICR_STARTUP | (uint32_t)(TRAMPOLINE >> 12));
}

void reset(uint64_t device)
{
	write32(device + STATUS, 0);
	check(read32(device + STATUS) == 0);
}

static void write64(uint64_t at, uint64_t value)
{
	write32(at, (uint32_t)value);
	write32(at + 4, (uint32_t)(value >> 32));
}

void setup_at(uint64_t device, unsigned int n, uint32_t size, uint64_t desc, uint64_t avail,
	      uint64_t used)
{
	const uint64_t features = FEATURE_VERSION_1 | FEATURE_INDIRECT;
	uint32_t status = STATUS_ACKNOWLEDGE | STATUS_DRIVER;

	reset(device);
	write32(device + STATUS, status);
	for (uint32_t i = 0; i < 2; i++) {
		write32(device + DRIVER_FEATURES_SEL, i);
		write32(device + DRIVER_FEATURES, (uint32_t)(features >> i * 32));
	}
	status |= STATUS_FEATURES_OK;
	write32(device + STATUS, status);
	check(read32(device + STATUS) == status);
	write32(device + QUEUE_SEL, n);
	write32(device + QUEUE_SIZE, size);
	write64(device + QUEUE_DESC, desc);
	write64(device + QUEUE_AVAIL, avail);
	write64(device + QUEUE_USED, used);
	write32(device + QUEUE_READY, 1);
	write32(device + STATUS, status | STATUS_DRIVER_OK);
}

void setup(uint64_t device, unsigned int n, struct queue *q)
{
	*q = (struct queue){.seen = 0};
	setup_at(device, n, QUEUE, (uint64_t)q->desc, (uint64_t)&q->avail, (uint64_t)&q->used);
	check(read32(device + QUEUE_READY) == 1);
	check(!(read32(device + STATUS) & STATUS_NEEDS_RESET));
}

void submit(uint64_t device, unsigned int n, struct queue *q, uint16_t head)
{
	q->avail.ring[q->avail.idx % QUEUE] = head;
	__asm__ volatile("mfence" : : : "memory");
	q->avail.idx++;
	__asm__ volatile("mfence" : : : "memory");
	write32(device + QUEUE_NOTIFY, n);
}

static uint16_t used_idx(const struct queue *q)
{
	return *(const volatile uint16_t *)&q->used.idx;
}

int64_t complete(uint64_t device, struct queue *q)
{
	for (uint32_t i = 0; i < PATIENCE; i++) {
		if (used_idx(q) != q->seen)
			return q->used.ring[q->seen++ % QUEUE].len;
		if (i % 1024 == 1023 && read32(device + STATUS) & STATUS_NEEDS_RESET)
			return -1;
		__asm__ volatile("pause");
	}
	say("no answer from the device\n");
	end(GUEST_FAIL);
}

void expect_broken(uint64_t device)
{
	for (uint32_t i = 0; i < PATIENCE / 1024; i++)
		if (read32(device + STATUS) & STATUS_NEEDS_RESET)
			return;
	say("the device did not ask for a reset\n");
	end(GUEST_FAIL);
}

/* The first sector of the runner's disk is filled with this. */
static void read_sector(struct queue *q)
{
	static struct {
		uint32_t type, reserved;
		uint64_t sector;
	} head;
	static uint8_t sector[512], status;

	status = 0xff;
	q->desc[0] = (struct desc){(uint64_t)&head, sizeof(head), DESC_NEXT, 1};
	q->desc[1] = (struct desc){(uint64_t)sector, sizeof(sector), DESC_NEXT | DESC_WRITE, 2};
	q->desc[2] = (struct desc){(uint64_t)&status, 1, DESC_WRITE, 0};
	submit(DISK, 0, q, 0);
	check(complete(DISK, q) == 513);
	check(*(volatile uint8_t *)&status == 0);
	for (size_t i = 0; i < sizeof(sector); i++)
		check(*(volatile uint8_t *)&sector[i] == GUEST_DISK_BYTE);
}

void expect_working(uint64_t device)
{
	static struct queue q;
	static uint8_t buffer[64];

	setup(device, 0, &q);
	if (device == DISK) {
		read_sector(&q);
	} else {
		q.desc[0] = (struct desc){(uint64_t)buffer, sizeof(buffer), DESC_WRITE, 0};
		submit(device, 0, &q, 0);
		check(complete(device, &q) == sizeof(buffer));
	}
	reset(device);
}
