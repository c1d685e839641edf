/* SPDX-License-Identifier: GPL-2.0-only */
/* The gate's code at its address in the guests: nothing but code, and nothing that is not there. */
#include "layout.h"

SECTIONS
{
	. = AREA + PAGE_GATE_CODE * 4096;
	.text : { *(.text.entry) *(.text .text.*) }
	data : { *(.rodata .rodata.* .data .data.* .bss .bss.* COMMON) }
	ASSERT(SIZEOF(data) == 0, "the gate's code has data")
	ASSERT(SIZEOF(.text) <= GATE_CODE_PAGES * 4096, "the gate's code is too long")
	/DISCARD/ : { *(*) }
}
