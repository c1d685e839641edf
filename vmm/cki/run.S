/* SPDX-License-Identifier: Apache-2.0 */
/*
 * long cki_run(int fd, void *fpu, const void *own, uint64_t mask)
 *
 * No code of the compiler's between the load of the guest's FPU registers and their being saved: it
 * may use them for anything.
 */
#include <asm/unistd_64.h>

#define RUN 0xca11 /* CAISSON_RUN; vcpu.c checks it */

	.text
	.globl cki_run
	.type cki_run, @function
cki_run:
	endbr64
	pushq %rbx
	pushq %r12
	pushq %r13
	pushq %r14
	movq %rsi, %r12
	movq %rdx, %r13
	movq %rcx, %r14
	movl %r14d, %eax
	movq %r14, %rdx
	shrq $32, %rdx
	xrstor64 (%r12)
	movl $RUN, %esi
	xorl %edx, %edx
	movl $__NR_ioctl, %eax
	syscall
	movq %rax, %rbx
	movl %r14d, %eax
	movq %r14, %rdx
	shrq $32, %rdx
	xsave64 (%r12)
	xrstor64 (%r13)
	cld
	movq %rbx, %rax
	popq %r14
	popq %r13
	popq %r12
	popq %rbx
	ret
	.size cki_run, . - cki_run
	.section .note.GNU-stack, "", @progbits
