/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a micro guest in C has: 64-bit mode, the first 4 GiB mapped as they are, two ports to speak
 * by, and a virtio-mmio driver that does what it is told, right or wrong.
 */
#ifndef CAISSON_TESTS_GUEST_LIB_H
#define CAISSON_TESTS_GUEST_LIB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/guest/lib/outcome.h"

/* The guest's own entry: returning is not an option, see end(). */
void main(void) __attribute__((noreturn));

void say(const char *text);
void say_number(uint64_t n);
void end(int outcome) __attribute__((noreturn));

/* Ends the guest with a sentence where something is not as it should be. */
#define check(condition)                                                                           \
	do {                                                                                       \
		if (!(condition))                                                                  \
			failed(#condition, __LINE__);                                              \
	} while (0)
void failed(const char *condition, int line) __attribute__((noreturn));

static inline void out8(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}
static inline uint8_t in8(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}
static inline uint32_t read32(uint64_t at)
{
	return *(volatile uint32_t *)at;
}
static inline void write32(uint64_t at, uint32_t value)
{
	*(volatile uint32_t *)at = value;
}

/* The machine, as tests/guest/runner.c makes it (vmm/devices.h). */
#define RAM_END (16ull << 20)
#define DEVICES_AT 0xd0000000ull
#define DEVICE(n) (DEVICES_AT + (n)*0x1000ull)
#define CONSOLE DEVICE(0)
#define DISK DEVICE(1)
#define ENTROPY DEVICE(2)
#define BALLOON DEVICE(3)
#define DEVICES 4u

/* Starts the second CPU, which runs cpu_main() (the guest's own; runner -c 2). */
void start_cpu(void);
void cpu_main(void);

/* Registers (virtio 1.2, 4.2.2). */
enum {
	MAGIC = 0x000,
	VERSION = 0x004,
	DEVICE_ID = 0x008,
	FEATURES = 0x010,
	FEATURES_SEL = 0x014,
	DRIVER_FEATURES = 0x020,
	DRIVER_FEATURES_SEL = 0x024,
	QUEUE_SEL = 0x030,
	QUEUE_SIZE_MAX = 0x034,
	QUEUE_SIZE = 0x038,
	QUEUE_READY = 0x044,
	QUEUE_NOTIFY = 0x050,
	INTERRUPT_STATUS = 0x060,
	INTERRUPT_ACK = 0x064,
	STATUS = 0x070,
	QUEUE_DESC = 0x080,
	QUEUE_AVAIL = 0x090,
	QUEUE_USED = 0x0a0,
	CONFIG = 0x100,
};

#define STATUS_ACKNOWLEDGE 1u
#define STATUS_DRIVER 2u
#define STATUS_DRIVER_OK 4u
#define STATUS_FEATURES_OK 8u
#define STATUS_NEEDS_RESET 64u

#define FEATURE_INDIRECT (1ull << 28)
#define FEATURE_VERSION_1 (1ull << 32)

#define DESC_NEXT 1u
#define DESC_WRITE 2u
#define DESC_INDIRECT 4u

#define QUEUE 8u /* descriptors of a queue of ours */

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

struct queue {
	struct desc desc[QUEUE];
	struct {
		uint16_t flags, idx, ring[QUEUE], used_event;
	} avail;
	struct {
		uint16_t flags, idx;
		struct {
			uint32_t id, len;
		} ring[QUEUE];
		uint16_t avail_event;
	} used __attribute__((aligned(4)));
	uint16_t seen; /* of used.idx */
} __attribute__((aligned(16)));

void reset(uint64_t device);
/* As a driver should, with queue number `n` of the device at q. */
void setup(uint64_t device, unsigned int n, struct queue *q);
/* The same, with the queue's parts wherever. */
void setup_at(uint64_t device, unsigned int n, uint32_t size, uint64_t desc, uint64_t avail,
	      uint64_t used);

/* Makes descriptor `head` available and rings. */
void submit(uint64_t device, unsigned int n, struct queue *q, uint16_t head);
/* Waits for one used buffer, or for DEVICE_NEEDS_RESET: its length, or -1. */
int64_t complete(uint64_t device, struct queue *q);
/* Waits until the device asks for a reset. */
void expect_broken(uint64_t device);
/* The device works: sets it up, asks for 64 bytes of entropy or the first sector, whichever it has.
 */
void expect_working(uint64_t device);

#endif
