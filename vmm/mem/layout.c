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
