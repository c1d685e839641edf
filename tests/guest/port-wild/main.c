// SPDX-License-Identifier: Apache-2.0
/*
 * Every port there is, in every size, read and written, by strings, too.  Nothing is behind them
 * but the runner's two and KVM's own interrupt controllers; nothing happens.
 */
#include "tests/guest/lib/guest.h"

static uint8_t string[64];

static bool ours(uint32_t port)
{
	/* a wider access reaches up to three ports further */
	return (port >= GUEST_PORT_TEXT - 3 && port <= GUEST_PORT_TEXT) ||
	       (port >= GUEST_PORT_END - 3 && port <= GUEST_PORT_END);
}

void main(void)
{
	for (uint32_t port = 0; port < 0x10000; port += port < 0x1000 ? 1 : 37) {
		uint32_t value = 0;
		uint64_t count = 16;
		void *at = string;

		if (ours(port))
			continue;
		__asm__ volatile("inl %w1, %0" : "=a"(value) : "d"(port));
		__asm__ volatile("outb %b0, %w1" : : "a"(0), "d"(port));
		__asm__ volatile("outw %w0, %w1" : : "a"(0), "d"(port));
		__asm__ volatile("outl %0, %w1" : : "a"(0), "d"(port));
		if (port % 64 == 5)
			__asm__ volatile("rep insl" : "+D"(at), "+c"(count) : "d"(port) : "memory");
		count = 16;
		at = string;
		if (port % 64 == 6)
			__asm__ volatile("rep outsl"
					 : "+S"(at), "+c"(count)
					 : "d"(port)
					 : "memory");
	}
	check(in8(0x500) == 0xff);
	expect_working(ENTROPY);
	end(GUEST_PASS);
}
