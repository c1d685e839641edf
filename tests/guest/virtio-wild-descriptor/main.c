// SPDX-License-Identifier: Apache-2.0
/*
 * Buffers that are not in RAM, wholly or in part: before, across and after its end, in the hole, in
 * a device's own registers, around the end of the address space.  The device must ask for a reset,
 * touch nothing, and work again after it.
 */
#include "tests/guest/lib/guest.h"

static const struct {
	uint64_t addr;
	uint32_t len;
} wild[] = {
	{RAM_END, 1},	  {RAM_END, 4096},
	{RAM_END - 1, 2}, {RAM_END - 64, 65},
	{0xc0000000, 64}, {DISK, 64},
	{0xfee00000, 64}, {1ull << 32, 64},
	{1ull << 63, 64}, {~0ull, 1},
	{~0ull - 62, 64}, {~0ull, ~0u},
	{0, ~0u},	  {RAM_END - 0xffffffffull, ~0u},
	{1, RAM_END},
};

static struct queue q;

void main(void)
{
	for (size_t i = 0; i < sizeof(wild) / sizeof(wild[0]); i++) {
		setup(ENTROPY, 0, &q);
		q.desc[0] = (struct desc){wild[i].addr, wild[i].len, DESC_WRITE, 0};
		submit(ENTROPY, 0, &q, 0);
		check(complete(ENTROPY, &q) == -1);
		/* As the second of a chain, and read from. */
		setup(DISK, 0, &q);
		q.desc[0] = (struct desc){(uint64_t)&q, 16, DESC_NEXT, 1};
		q.desc[1] = (struct desc){wild[i].addr, wild[i].len, 0, 0};
		submit(DISK, 0, &q, 0);
		check(complete(DISK, &q) == -1);
		/* As an indirect table. */
		setup(ENTROPY, 0, &q);
		q.desc[0] = (struct desc){wild[i].addr, wild[i].len & ~15u, DESC_INDIRECT, 0};
		submit(ENTROPY, 0, &q, 0);
		check(complete(ENTROPY, &q) == -1);
	}
	expect_working(ENTROPY);
	expect_working(DISK);
	end(GUEST_PASS);
}
