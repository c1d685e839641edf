// SPDX-License-Identifier: Apache-2.0
/*
 * Chains without an end: a descriptor that follows itself, a ring of them, the same in an indirect
 * table, an indirect table that holds itself.  Each must end in a request for a reset.
 */
#include "tests/guest/lib/guest.h"

static struct queue q;
static struct desc table[QUEUE] __attribute__((aligned(16)));
static uint8_t buffer[64];

static struct desc link(uint16_t next)
{
	return (struct desc){(uint64_t)buffer, 4, DESC_WRITE | DESC_NEXT, next};
}

static void expect_refusal(void)
{
	submit(ENTROPY, 0, &q, 0);
	check(complete(ENTROPY, &q) == -1);
}

void main(void)
{
	setup(ENTROPY, 0, &q);
	q.desc[0] = link(0);
	expect_refusal();

	setup(ENTROPY, 0, &q);
	for (uint16_t i = 0; i < QUEUE; i++)
		q.desc[i] = link((uint16_t)((i + 1) % QUEUE));
	expect_refusal();

	setup(ENTROPY, 0, &q);
	for (uint16_t i = 0; i < QUEUE; i++)
		table[i] = link((uint16_t)((i + 3) % QUEUE));
	q.desc[0] = (struct desc){(uint64_t)table, sizeof(table), DESC_INDIRECT, 0};
	expect_refusal();

	setup(ENTROPY, 0, &q);
	table[0] = (struct desc){(uint64_t)table, sizeof(table), DESC_INDIRECT, 0};
	q.desc[0] = table[0];
	expect_refusal();

	setup(ENTROPY, 0, &q);
	table[0] = (struct desc){(uint64_t)buffer, 4, DESC_WRITE, 0};
	q.desc[0] = (struct desc){(uint64_t)table, sizeof(table), DESC_INDIRECT | DESC_NEXT, 1};
	q.desc[1] = (struct desc){(uint64_t)buffer, 4, DESC_WRITE, 0};
	expect_refusal();

	expect_working(ENTROPY);
	end(GUEST_PASS);
}
