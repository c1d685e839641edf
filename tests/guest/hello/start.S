/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hello: the smallest guest.  Entered by PVH, it says one line and ends.  Runs on any KVM,
 * also on one without VT-x or SVM behind it.
 */
#include "tests/guest/lib/outcome.h"

	.section .note.pvh, "a", @note
	.long 4, 4, 18		/* "Xen", XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.long start

	.text
	.code32
	.globl start
start:
	mov $text, %esi
	mov $GUEST_PORT_TEXT, %dx
1:	lodsb
	test %al, %al
	jz 2f
	out %al, %dx
	jmp 1b
2:	mov $GUEST_PORT_END, %dx
	mov $GUEST_PASS, %al
	out %al, %dx
3:	hlt
	jmp 3b

text:	.asciz "hello from ring 0\n"

	.section .note.GNU-stack, "", @progbits
