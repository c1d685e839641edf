/* SPDX-License-Identifier: Apache-2.0 */
#include "kmod/uapi/caisson_boot.h"

#define BASE 0xffffffff81000000

	.section .note.caisson, "a", @note
	.balign 4
	.long 2f - 1f
	.long 4f - 3f
	.long CAISSON_NOTE_ENTRY
1:	.asciz CAISSON_NOTE_NAME
2:	.balign 4
3:	.long CAISSON_BOOT_PROTOCOL, 0
	.quad start
	.quad 0x1000000
	.quad BASE
	.quad kernel_end - BASE
4:	.balign 4

	.text
	.globl start
start:	/* RDI: the boot page; RSI: the CPU's number */
	leaq stacks + 16384(%rip), %rsp
	movq %rsi, %rax
	shlq $14, %rax
	addq %rax, %rsp
	call main
	ud2

	/* uint64_t hypercall(call, a, b, c, d) */
	.globl hypercall
hypercall:
	movq %rdi, %rax
	movq %rsi, %rdi
	movq %rdx, %rsi
	movq %rcx, %rdx
	syscall
	ret

	.globl exception_entry
exception_entry:
	.irp r, rdi, rsi, rdx, rcx, rax, r8, r9, r10, r11, rbx, rbp, r12, r13, r14, r15
	pushq %\r
	.endr
	leaq 120(%rsp), %rdi
	movq %rsp, %rbp
	andq $~15, %rsp
	call exception
	movq %rbp, %rsp
	.irp r, r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi
	popq %\r
	.endr
	addq $16, %rsp
	iretq

	.bss
	.balign 4096
stacks:	.skip 2 * 16384
	.section .note.GNU-stack, "", @progbits
