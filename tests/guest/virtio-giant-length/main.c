// SPDX-License-Identifier: Apache-2.0
/*
 * Requests much larger than anyone has use for: all of RAM as one buffer, the same buffer many
 * times over, tables of odd and enormous size.  The device serves what it can, refuses the rest,
 * and never writes more than it was given.
 */
#include "tests/guest/lib/guest.h"

#define AREA (4ull << 20) /* free RAM, well away from the guest itself */
#define AREA_SIZE (8u << 20)

static struct queue q;
static struct desc table[256] __attribute__((aligned(16)));

/* Whatever it answers, it answers. */
static void submit_any(uint64_t device)
{
	submit(device, 0, &q, 0);
	complete(device, &q);
}

void main(void)
{
	int64_t got;

	setup(ENTROPY, 0, &q);
	q.desc[0] = (struct desc){AREA, AREA_SIZE, DESC_WRITE, 0};
	submit(ENTROPY, 0, &q, 0);
	got = complete(ENTROPY, &q);
	check(got >= -1 && got <= AREA_SIZE);

	setup(ENTROPY, 0, &q);
	for (uint16_t i = 0; i < QUEUE; i++)
		q.desc[i] = (struct desc){AREA, AREA_SIZE,
					  DESC_WRITE | (i + 1 < (int)QUEUE ? DESC_NEXT : 0u),
					  (uint16_t)(i + 1)};
	submit_any(ENTROPY);

	/* 256 buffers of 8 MiB to one disk request, and to one of entropy. */
	for (uint16_t i = 0; i < 256; i++)
		table[i] = (struct desc){AREA, AREA_SIZE, DESC_WRITE | (i < 255 ? DESC_NEXT : 0u),
					 (uint16_t)(i + 1)};
	setup(ENTROPY, 0, &q);
	q.desc[0] = (struct desc){(uint64_t)table, sizeof(table), DESC_INDIRECT, 0};
	submit_any(ENTROPY);
	table[0] = (struct desc){(uint64_t)&q.desc[7], 16, DESC_NEXT, 1}; /* a read of sector 0 */
	setup(DISK, 0, &q);
	q.desc[0] = (struct desc){(uint64_t)table, sizeof(table), DESC_INDIRECT, 0};
	submit_any(DISK);

	for (uint32_t size = 0; size < 64; size += 5) {
		setup(ENTROPY, 0, &q);
		q.desc[0] = (struct desc){(uint64_t)table, size, DESC_INDIRECT, 0};
		submit_any(ENTROPY);
	}
	setup(ENTROPY, 0, &q);
	q.desc[0] = (struct desc){0, ~15u, DESC_INDIRECT, 0};
	submit_any(ENTROPY);
	/* No bytes at all. */
	setup(ENTROPY, 0, &q);
	q.desc[0] = (struct desc){AREA, 0, DESC_WRITE, 0};
	submit_any(ENTROPY);

	expect_working(ENTROPY);
	expect_working(DISK);
	end(GUEST_PASS);
}
