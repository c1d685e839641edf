// SPDX-License-Identifier: Apache-2.0
/*
 * Rings where no rings can be: outside of RAM, across its end, not aligned, of sizes that are no
 * powers of two or too large, over each other, over the guest's own code.  What cannot be is
 * refused when the queue is enabled.
 */
#include "tests/guest/lib/guest.h"

#define AREA (4ull << 20)

static void expect_refused(uint32_t size, uint64_t desc, uint64_t avail, uint64_t used)
{
	setup_at(ENTROPY, 0, size, desc, avail, used);
	check(read32(ENTROPY + QUEUE_READY) == 0 || read32(ENTROPY + STATUS) & STATUS_NEEDS_RESET);
	write32(ENTROPY + QUEUE_NOTIFY, 0);
	reset(ENTROPY);
}

void main(void)
{
	static const uint64_t bad[] = {RAM_END,	   RAM_END - 16, 0xc0000000, DISK,
				       1ull << 32, 1ull << 52,	 1ull << 63, ~0ull & ~15ull,
				       AREA + 1,   ~0ull - 1};
	static const uint32_t sizes[] = {0, 3, 7, 9, 16, 1024, 32768, 65536, 1u << 31, ~0u};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		expect_refused(8, bad[i], AREA, AREA + 4096);
		expect_refused(8, AREA, bad[i], AREA + 4096);
		expect_refused(8, AREA, AREA + 4096, bad[i]);
	}
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		expect_refused(sizes[i], AREA, AREA + 4096, AREA + 8192);
	/* All in one place: nonsense, but in RAM; the device's answers then change its questions.
	 * It may do what it likes, but must come back from it. */
	for (uint64_t at = AREA; at < AREA + 256; at += 16) {
		*(volatile uint64_t *)at = AREA;
		setup_at(ENTROPY, 0, 8, AREA, AREA, AREA);
		for (int i = 0; i < 100; i++) {
			*(volatile uint16_t *)(AREA + 2) = (uint16_t)(i * 3);
			write32(ENTROPY + QUEUE_NOTIFY, 0);
		}
		reset(ENTROPY);
	}
	expect_working(ENTROPY);
	end(GUEST_PASS);
}
