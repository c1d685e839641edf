/* SPDX-License-Identifier: Apache-2.0 */
/* A guest that says one byte and then halts for ever: what is left is the monitor. */
#include "tests/guest/lib/outcome.h"

	.section .note.pvh, "a", @note
	.long 4, 4, 18		/* "Xen", XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.long start

	.text
	.code32
	.globl start
start:
	mov $GUEST_PORT_TEXT, %dx
	mov $'x', %al
	out %al, %dx
1:	hlt
	jmp 1b

	.section .note.GNU-stack, "", @progbits
