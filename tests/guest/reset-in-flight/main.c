// SPDX-License-Identifier: Apache-2.0
/*
 * A reset while requests are in flight, again and again: once the status reads 0 the device
 * touches the guest's memory no more (virtio 1.2, 2.4).
 */
#include "tests/guest/lib/guest.h"

#define ROUNDS 50u
#define AREA (4ull << 20)
#define SECTORS 1024u /* of the buffer: the whole disk, 512 KiB at a time */

struct head {
	uint32_t type, reserved;
	uint64_t sector;
};

static struct queue q;
static struct head heads[2];
static uint8_t status[2];

static void read_request(unsigned int i)
{
	const uint16_t d = (uint16_t)(i * 3);
	const uint64_t to = AREA + i * SECTORS * 512ull;

	heads[i] = (struct head){0, 0, i * SECTORS};
	q.desc[d] = (struct desc){(uint64_t)&heads[i], 16, DESC_NEXT, (uint16_t)(d + 1)};
	q.desc[d + 1] = (struct desc){to, SECTORS * 512, DESC_NEXT | DESC_WRITE, (uint16_t)(d + 2)};
	q.desc[d + 2] = (struct desc){(uint64_t)&status[i], 1, DESC_WRITE, 0};
	submit(DISK, 0, &q, d);
}

void main(void)
{
	volatile uint64_t *mark = (volatile uint64_t *)AREA;

	for (unsigned int round = 0; round < ROUNDS; round++) {
		setup(DISK, 0, &q);
		read_request(0);
		read_request(1);
		for (unsigned int wait = round * 8; wait; wait--)
			__asm__ volatile("pause");
		reset(DISK);
		for (size_t at = 0; at < 2 * SECTORS * 64; at += 64)
			mark[at] = round;
		for (unsigned int wait = 3000; wait; wait--)
			__asm__ volatile("pause");
		for (size_t at = 0; at < 2 * SECTORS * 64; at += 64)
			check(mark[at] == round);
	}
	expect_working(DISK);
	end(GUEST_PASS);
}
