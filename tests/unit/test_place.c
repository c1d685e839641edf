// SPDX-License-Identifier: Apache-2.0
/* vmm/mem/place.c: memory at the host's own addresses, against a model that is a plain table. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/mem/mem.h"

#define BLOCKS 24u
#define SPACE 64u /* blocks of "physical memory" that they lie in, from BASE on */
#define BASE (7ull << 30)

static uint64_t state = 0x9e3779b97f4a7c15;

static uint64_t below(uint64_t n)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state % n;
}

/* owner[b]: which block of the memfd is at BASE + b * 2 MiB; -1: none. */
static void scatter(uint64_t *physical, int *owner)
{
	for (unsigned int b = 0; b < SPACE; b++)
		owner[b] = -1;
	for (unsigned int i = 0; i < BLOCKS; i++) {
		uint64_t b;

		/* Near the one before, often: runs both ways, and gaps. */
		do
			b = i && below(4) ? (physical[i - 1] - BASE) / MEM_BLOCK + below(3) - 1
					  : below(SPACE);
		while (b >= SPACE || (owner[b] >= 0 && below(2)));
		while (owner[b] >= 0)
			b = (b + 1) % SPACE;
		owner[b] = (int)i;
		physical[i] = BASE + b * MEM_BLOCK;
	}
}

static bool is_ram(const int *owner, uint64_t at, uint64_t size)
{
	if (!size || at < BASE || at - BASE >= SPACE * MEM_BLOCK ||
	    size > SPACE * MEM_BLOCK - (at - BASE))
		return false;
	for (uint64_t b = (at - BASE) / MEM_BLOCK; b <= (at + size - 1 - BASE) / MEM_BLOCK; b++)
		if (owner[b] < 0)
			return false;
	return true;
}

static uint64_t near_edge(void)
{
	return BASE + below(SPACE + 2) * MEM_BLOCK - MEM_BLOCK + below(3) * 2048 - 2048;
}

static void check_door(const struct mem *m, const int *owner)
{
	for (unsigned int n = 0; n < 20000; n++) {
		const uint64_t at = below(16) ? near_edge() : below(~0ull);
		const uint64_t size = below(16) ? below(3 * MEM_BLOCK) : below(~0ull);
		const uint8_t *here = mem_at(m, GPA(at), size);

		assert_int_equal(here != NULL, is_ram(owner, at, size));
		if (!here)
			continue;
		/* Each byte is that of the block that is there. */
		for (uint64_t i = 0; i < size; i += 4096) {
			assert_int_equal(here[i], owner[(at + i - BASE) / MEM_BLOCK]);
			assert_int_equal(mem_gpa(m, here + i).v, at + i);
		}
		assert_int_equal(here[size - 1], owner[(at + size - 1 - BASE) / MEM_BLOCK]);
	}
}

static void test_random(void **unused)
{
	(void)unused;
	for (unsigned int round = 0; round < 20; round++) {
		uint64_t physical[BLOCKS];
		int owner[SPACE];
		struct error err = {0};
		struct mem m;

		assert_int_equal(mem_init(&m, BLOCKS * MEM_BLOCK, false, &err), 0);
		for (unsigned int i = 0; i < BLOCKS; i++)
			memset(mem_at(&m, GPA(i * MEM_BLOCK), MEM_BLOCK), (int)i, MEM_BLOCK);
		scatter(physical, owner);
		assert_int_equal(mem_place(&m, physical, &err), 0);
		for (unsigned int i = 1; i < m.regions_n; i++)
			assert_true(m.regions[i].base.v >=
				    m.regions[i - 1].base.v + m.regions[i - 1].size);
		check_door(&m, owner);
		assert_int_equal(mem_discard(&m, GPA(physical[0]), MEM_BLOCK), -EPERM);
		mem_done(&m);
	}
}

static void refused(const uint64_t *physical, uint64_t blocks, int error)
{
	struct error err = {0};
	struct mem m;

	assert_int_equal(mem_init(&m, blocks * MEM_BLOCK, false, &err), 0);
	assert_int_equal(mem_place(&m, physical, &err), -error);
	mem_done(&m);
}

static void test_refused(void **unused)
{
	uint64_t many[MEM_REGIONS_MAX + 1];

	(void)unused;
	refused((const uint64_t[]){MEM_BLOCK, MEM_BLOCK}, 2, EINVAL);
	refused((const uint64_t[]){MEM_BLOCK, 4096}, 2, EINVAL);
	refused((const uint64_t[]){MEM_BLOCK, 1ull << 52}, 2, EINVAL);
	for (unsigned int i = 0; i < MEM_REGIONS_MAX + 1; i++)
		many[i] = 2 * i * MEM_BLOCK;
	refused(many, MEM_REGIONS_MAX + 1, E2BIG);
}

static void test_one_piece(void **unused)
{
	const uint64_t physical[] = {BASE + 2 * MEM_BLOCK, BASE + 3 * MEM_BLOCK,
				     BASE + 4 * MEM_BLOCK};
	struct error err = {0};
	struct mem m;

	(void)unused;
	assert_int_equal(mem_init(&m, 3 * MEM_BLOCK, false, &err), 0);
	assert_int_equal(mem_place(&m, physical, &err), 0);
	assert_int_equal(m.regions_n, 1);
	assert_non_null(mem_at(&m, GPA(physical[0]), 3 * MEM_BLOCK));
	assert_null(mem_at(&m, GPA(physical[0]), 3 * MEM_BLOCK + 1));
	assert_null(mem_at(&m, GPA(0), 1));
	mem_done(&m);
}

/* Without huge pages there is no order to be had, and no harm. */
static void test_sort(void **unused)
{
	struct error err = {0};
	struct mem m;

	(void)unused;
	assert_int_equal(mem_init(&m, 4 * MEM_BLOCK, false, &err), 0);
	assert_int_equal(mem_sort(&m, &err), 0);
	assert_int_equal(*(uint8_t *)mem_at(&m, GPA(3 * MEM_BLOCK), 1), 0);
	mem_done(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_one_piece),
		cmocka_unit_test(test_sort),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
