// SPDX-License-Identifier: Apache-2.0
/*
 * Accesses of every size to every offset of the devices' windows, around them, and where there is
 * nothing: what is not there reads as ones (outside) or does no harm (inside), and the devices work
 * afterwards.
 */
#include "tests/guest/lib/guest.h"

#define HOLE_START 0xc0000000ull

static void touch(uint64_t at)
{
	(void)*(volatile uint8_t *)at;
	(void)*(volatile uint16_t *)at;
	(void)*(volatile uint32_t *)at;
	(void)*(volatile uint64_t *)at;
	*(volatile uint8_t *)at = 0xff;
	*(volatile uint16_t *)at = 0xffff;
	*(volatile uint32_t *)at = ~0u;
	*(volatile uint64_t *)at = ~0ull;
}

void main(void)
{
	check(read32(HOLE_START) == ~0u);
	check(read32(DEVICE(DEVICES)) == ~0u);
	check(read32(DEVICES_AT - 4) == ~0u);
	for (unsigned int d = 0; d < DEVICES; d++) {
		check(read32(DEVICE(d) + MAGIC) == 0x74726976);
		check(read32(DEVICE(d) + VERSION) == 2);
		for (uint64_t offset = 0; offset < 0x1000; offset += offset < 0x180 ? 1 : 61)
			touch(DEVICE(d) + offset);
		reset(DEVICE(d));
	}
	/* Across the end of a window, and of all windows. */
	for (uint64_t at = 1; at < 8; at++) {
		touch(DEVICE(1) - at);
		touch(DEVICE(DEVICES) - at);
		touch(DEVICES_AT - at);
	}
	for (uint64_t at = HOLE_START; at < DEVICES_AT; at += 16ull << 20)
		touch(at);
	expect_working(DISK);
	expect_working(ENTROPY);
	end(GUEST_PASS);
}
