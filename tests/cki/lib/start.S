/* SPDX-License-Identifier: Apache-2.0 */
#include "kmod/uapi/caisson.h"

	.text
	.globl start
start:
	leaq stack_top(%rip), %rsp
	movq %rsi, %rax
	shlq $14, %rax
	addq %rax, %rsp
	call guest_main
	ud2

	/* int64_t hypercall(call, a, b, c, ret_rdx) */
	.globl hypercall
hypercall:
	pushq %r8
	movq %rdi, %rax
	movq %rsi, %rdi
	movq %rdx, %rsi
	movq %rcx, %rdx
	xorl %r8d, %r8d
	syscall
	popq %r8
	testq %r8, %r8
	jz 1f
	movq %rdx, (%r8)
1:	ret

	.macro SAVE
	.irp r, rdi, rsi, rdx, rcx, rax, r8, r9, r10, r11, rbx, rbp, r12, r13, r14, r15
	pushq %\r
	.endr
	.endm
	.macro RESTORE
	.irp r, r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi
	popq %\r
	.endr
	.endm

	.globl exception_entry
exception_entry:
	SAVE
	movq %rsp, %rdi
	movq %rsp, %rbp
	andq $~15, %rsp
	call exception
	movq %rbp, %rsp
	RESTORE
	addq $16, %rsp
	iretq

	/* RCX, R11: the caller's RIP and flags; RDX is not kept. */
	.globl syscall_entry
syscall_entry:
	movabsq $CAISSON_VCPU_PAGE, %rdx
	pushq $CAISSON_USER_SS
	pushq 24(%rdx)
	pushq %r11
	pushq $CAISSON_USER_CS
	pushq %rcx
	movq %rsi, %rdx
	movq %rdi, %rsi
	movq %rax, %rdi
	call system_call
	movabsq $CAISSON_VCPU_PAGE, %rdx
	movb $0, 48(%rdx)
	iretq

	/* uint64_t user_enter(rip, rsp): to ring 3; comes back through user_leave(). */
	.globl user_enter
user_enter:
	.irp r, rbx, rbp, r12, r13, r14, r15
	pushq %\r
	.endr
	movq %rsp, user_saved(%rip)
	movabsq $CAISSON_VCPU_PAGE, %rdx
	leaq user_kernel_stack_top(%rip), %rax
	movq %rax, 16(%rdx)
	pushq $CAISSON_USER_SS
	pushq %rsi
	pushq $0x202
	pushq $CAISSON_USER_CS
	pushq %rdi
	iretq
	.globl user_leave
user_leave:
	movq %rdi, %rax
	movq user_saved(%rip), %rsp
	.irp r, r15, r14, r13, r12, rbp, rbx
	popq %\r
	.endr
	movabsq $CAISSON_VCPU_PAGE, %rdx
	movb $0, 48(%rdx)
	ret

	/* int catch_call(function): -1, or where catch_out() is told to go with the vector in RAX */
	.globl catch_call
catch_call:
	.irp r, rbx, rbp, r12, r13, r14, r15
	pushq %\r
	.endr
	movq %rsp, catch_saved(%rip)
	call *%rdi
	movl $-1, %eax
	.globl catch_out
catch_out:
	movq catch_saved(%rip), %rsp
	cld
	.irp r, r15, r14, r13, r12, rbp, rbx
	popq %\r
	.endr
	ret

	.bss
	.balign 16
	.skip 16384
stack_top: /* of CPU 0; each has 16 KiB */
	.skip 3 * 16384
	.skip 8192
	.globl user_kernel_stack_top
user_kernel_stack_top:
user_saved:
	.skip 8
catch_saved:
	.skip 8
	.section .note.GNU-stack, "", @progbits
