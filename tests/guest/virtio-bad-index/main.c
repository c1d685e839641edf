// SPDX-License-Identifier: Apache-2.0
/*
 * Numbers that are not there: descriptors beyond the queue's end, as head and as next, more
 * available requests than the queue has room for, an index that runs backwards, queues that do not
 * exist.
 */
#include "tests/guest/lib/guest.h"

static struct queue q;
static uint8_t buffer[64];

static void fresh(void)
{
	setup(ENTROPY, 0, &q);
	q.desc[0] = (struct desc){(uint64_t)buffer, sizeof(buffer), DESC_WRITE, 0};
}

static void ring(void)
{
	__asm__ volatile("mfence" : : : "memory");
	write32(ENTROPY + QUEUE_NOTIFY, 0);
}

void main(void)
{
	static const uint16_t bad[] = {QUEUE, QUEUE + 1, 0x7fff, 0x8000, 0xffff};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		fresh();
		submit(ENTROPY, 0, &q, bad[i]);
		check(complete(ENTROPY, &q) == -1);
		fresh();
		q.desc[0].flags |= DESC_NEXT;
		q.desc[0].next = bad[i];
		submit(ENTROPY, 0, &q, 0);
		check(complete(ENTROPY, &q) == -1);
	}
	/* More than there is room for. */
	fresh();
	q.avail.idx = QUEUE + 1;
	ring();
	expect_broken(ENTROPY);
	fresh();
	q.avail.idx = 0xffff;
	ring();
	expect_broken(ENTROPY);
	/* Taken back after it was served. */
	fresh();
	submit(ENTROPY, 0, &q, 0);
	check(complete(ENTROPY, &q) == sizeof(buffer));
	q.avail.idx = 0;
	ring();
	expect_broken(ENTROPY);
	/* Queues that are not there, selected and notified. */
	for (uint32_t n = 1; n < 70000; n = n * 3 + 1) {
		write32(ENTROPY + QUEUE_SEL, n);
		check(read32(ENTROPY + QUEUE_SIZE_MAX) == 0);
		write32(ENTROPY + QUEUE_SIZE, 8);
		write32(ENTROPY + QUEUE_DESC, (uint32_t)(uint64_t)&q);
		write32(ENTROPY + QUEUE_READY, 1);
		check(read32(ENTROPY + QUEUE_READY) == 0);
		write32(ENTROPY + QUEUE_NOTIFY, n);
	}
	expect_working(ENTROPY);
	end(GUEST_PASS);
}
