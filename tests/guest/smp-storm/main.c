// SPDX-License-Identifier: Apache-2.0
/*
 * Two CPUs at the same devices: one makes requests, the other resets, writes registers and rings
 * doorbells at any moment, and scribbles over rings in use.  Nothing of it needs to work; the
 * monitor must stay whole, and the devices work when the storm is over.
 */
#include "tests/guest/lib/guest.h"

#define ROUNDS 2000u
#define AREA (4ull << 20)

static struct queue q;
static volatile uint32_t other_runs, other_stops, over;

static uint32_t seed = 1;

static uint32_t rnd(uint32_t below)
{
	seed = seed * 1664525u + 1013904223u;
	return (seed >> 8) % below;
}

void cpu_main(void)
{
	static const uint32_t registers[] = {STATUS,	    QUEUE_SEL,	  QUEUE_SIZE,  QUEUE_READY,
					     QUEUE_NOTIFY,  QUEUE_DESC,	  QUEUE_AVAIL, QUEUE_USED,
					     INTERRUPT_ACK, FEATURES_SEL, CONFIG};

	other_runs = 1;
	while (!over) {
		uint64_t device = DEVICE(rnd(DEVICES));

		switch (rnd(4)) {
		case 0:
			write32(device + STATUS, 0);
			break;
		case 1:
			write32(device + registers[rnd(sizeof(registers) / 4)], rnd(1u << 24));
			break;
		case 2:
			write32(device + QUEUE_NOTIFY, rnd(3));
			break;
		case 3:
			((volatile uint16_t *)&q)[rnd(sizeof(q) / 2)] = (uint16_t)rnd(65536);
			break;
		}
	}
	other_stops = 1;
}

/* As setup(), but without a look at what came of it. */
static void requests(uint64_t device)
{
	uint32_t status = STATUS_ACKNOWLEDGE | STATUS_DRIVER;

	write32(device + STATUS, 0);
	write32(device + STATUS, status);
	write32(device + DRIVER_FEATURES_SEL, 1);
	write32(device + DRIVER_FEATURES, 1);
	write32(device + STATUS, status | STATUS_FEATURES_OK);
	write32(device + QUEUE_SEL, 0);
	write32(device + QUEUE_SIZE, QUEUE);
	write32(device + QUEUE_DESC, (uint32_t)(uint64_t)q.desc);
	write32(device + QUEUE_AVAIL, (uint32_t)(uint64_t)&q.avail);
	write32(device + QUEUE_USED, (uint32_t)(uint64_t)&q.used);
	write32(device + QUEUE_READY, 1);
	write32(device + STATUS, status | STATUS_FEATURES_OK | STATUS_DRIVER_OK);
	for (uint16_t i = 0; i < QUEUE; i++) {
		q.desc[i] = (struct desc){AREA, 65536, i % 2 ? DESC_WRITE : DESC_NEXT,
					  (uint16_t)(i + 1)};
		submit(device, 0, &q, i);
	}
}

void main(void)
{
	start_cpu();
	for (uint32_t i = 0; !other_runs; i++) {
		if (i == 200000000) {
			say("the second CPU does not start\n");
			end(GUEST_SKIP);
		}
		__asm__ volatile("pause");
	}
	for (unsigned int round = 0; round < ROUNDS; round++)
		requests(DEVICE(round % DEVICES));
	over = 1;
	while (!other_stops)
		__asm__ volatile("pause");
	expect_working(ENTROPY);
	expect_working(DISK);
	end(GUEST_PASS);
}
