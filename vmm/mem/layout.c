// SPDX-License-Identifier: Apache-2.0
#include "vmm/mem/layout.h"

unsigned int mem_layout(uint64_t size, struct mem_extent ret[static MEM_EXTENTS_MAX])
{
	const uint64_t low = size < MEM_HOLE_START ? size : MEM_HOLE_START;

	if (!size || size > MEM_SIZE_MAX)
		return 0;
	ret[0] = (struct mem_extent){GPA(0), low, 0};
	if (size == low)
		return 1;
	ret[1] = (struct mem_extent){GPA(MEM_HOLE_END), size - low, low};
	return 2;
}

bool mem_growth(uint64_t size, uint64_t max, struct mem_extent *ret)
{
	const uint64_t align = 2ull << 30;
	struct mem_extent e[MEM_EXTENTS_MAX];
	const unsigned int n = mem_layout(size, e);
	uint64_t end;

	if (n == 0 || max <= size || max > MEM_SIZE_MAX || size % (2u << 20) ||
	    (max - size) % MEM_GROWTH_STEP)
		return false;
	end = e[n - 1].base.v + e[n - 1].size;
	if (end < MEM_HOLE_END)
		end = MEM_HOLE_END;
	*ret = (struct mem_extent){GPA((end + align - 1) & ~(align - 1)), max - size, size};
	return true;
}
