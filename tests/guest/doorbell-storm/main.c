// SPDX-License-Identifier: Apache-2.0
/*
 * Notifications without end: of queues with nothing in them, of queues that are not set up, of
 * queues of which there are none, interrupts acknowledged that never were.  The devices stay
 * responsive and nothing piles up.
 */
#include "tests/guest/lib/guest.h"

#define ROUNDS 20000u

static struct queue q;

void main(void)
{
	for (unsigned int d = 0; d < DEVICES; d++)
		for (unsigned int i = 0; i < ROUNDS; i++)
			write32(DEVICE(d) + QUEUE_NOTIFY, i % 8);
	setup(ENTROPY, 0, &q);
	for (unsigned int i = 0; i < ROUNDS; i++) {
		write32(ENTROPY + QUEUE_NOTIFY, 0);
		if (i % 16 == 0)
			write32(ENTROPY + INTERRUPT_ACK, ~0u);
		if (i % 64 == 0)
			write32(ENTROPY + QUEUE_NOTIFY, i);
	}
	check(!(read32(ENTROPY + STATUS) & STATUS_NEEDS_RESET));
	expect_working(ENTROPY);
	expect_working(DISK);
	end(GUEST_PASS);
}
