/* SPDX-License-Identifier: GPL-2.0-only */
/* Into a guest and out of it, on the host's side; interrupts are off.  The other half is in stub.S. */
#include <linux/linkage.h>
#include <linux/objtool.h>
#include <asm/nospec-branch.h>
#include <asm/segment.h>

#include "layout.h"
#include "mutant.h"

	.text

/* VERW wants a selector, of a segment that can be written. */
	.section .rodata
	.balign 2
verw_selector:
	.word __KERNEL_DS
	.text

/*
 * u64 caisson_switch(struct caisson_switch *s)
 *
 * From where GS is the guest's until it is the host's again, only an NMI or a machine check can come,
 * and both find their CPU without GS where there is FSGSBASE.
 */
SYM_FUNC_START(caisson_switch)
	pushfq
	pushq %rbp
	pushq %rbx
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	rdfsbase %rax
	pushq %rax
	rdgsbase %rax
	pushq %rax
	.irp s, ds, es, fs, gs
	movl %\s, %eax
	pushq %rax
	.endr
	pushq %rdi
	leaq 1f(%rip), %rax
	pushq %rax
	movq SWITCH_CONTEXT(%rdi), %rax
	movq %rsp, (%rax)

	xorl %eax, %eax
	.irp s, ds, es, fs, gs
	movl %eax, %\s
	.endr
	movq SWITCH_CR3(%rdi), %rax
	movq SWITCH_ENTRY(%rdi), %rdx
	movq SWITCH_GUEST_FS(%rdi), %rcx
	wrfsbase %rcx
	movq SWITCH_GUEST_GS(%rdi), %rcx
	wrgsbase %rcx
	/* From here on, nothing of the host's is read. */
	cmpq $0, SWITCH_VERW(%rdi)
	je 2f
	verw verw_selector(%rip)
2:
	/* An NMI on the way in leaves all registers on a stack that ring 1 can read. */
#if DUTY(126)
	.irp r, ebx, ecx, ebp, esi, edi, r8d, r9d, r10d, r11d, r12d, r13d, r14d, r15d
	xorl %\r, %\r
	.endr
#endif
	ANNOTATE_RETPOLINE_SAFE
	jmp *%rdx

	/* From `leave`: on the stack as it was, the trap's address in RDI. */
1:	movq %rdi, %rax
	popq %rdi
	rdfsbase %rcx
	movq %rcx, SWITCH_GUEST_FS(%rdi)
	rdgsbase %rcx
	movq %rcx, SWITCH_GUEST_GS(%rdi)
	/* Loading a selector may change its base, so bases come last; gates leave a null SS. */
	movl $__KERNEL_DS, %ecx
	movl %ecx, %ss
	.irp s, gs, fs, es, ds
	popq %rcx
	movl %ecx, %\s
	.endr
	popq %rcx
	wrgsbase %rcx
	popq %rcx
	wrfsbase %rcx
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbx
	popq %rbp
	popfq
	RET
SYM_FUNC_END(caisson_switch)
STACK_FRAME_NON_STANDARD caisson_switch

/* Raises a vector in the host as if it came now: its own handler, by its own gate. */
SYM_FUNC_START(caisson_replay_code)
	.balign 16, 0xcc
SYM_INNER_LABEL(caisson_replay, SYM_L_GLOBAL)
	.set vector, 0
	.rept 256
	.balign 16, 0xcc
	endbr64
	.byte 0xcd, vector
	RET
	.set vector, vector + 1
	.endr
SYM_FUNC_END(caisson_replay_code)
STACK_FRAME_NON_STANDARD caisson_replay_code
