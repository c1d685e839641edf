/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What of ring 0 is mapped in a guest: its entry points.  Copied to the area (layout.h); runs at one
 * address in both worlds, so every reference is relative.
 *
 * On silicon but not in the emulator, a far return with a bad frame faults here, in ring 0, and not at
 * its target; any fault in ring 0 goes to `leave` and ends the sandbox.
 */
#include <asm/msr-index.h>

#include "gate.h"
#include "layout.h"
#include "mutant.h"

/* As many as any CPU keeps (RSB_CLEAR_LOOPS in asm/nospec-branch.h). */
#define RETURNS 32
#define AT(page, offset) (caisson_stub + (page) * 4096 + (offset))(%rip)
#define HAS_ERROR (1 << 8 | 1 << 10 | 1 << 11 | 1 << 12 | 1 << 13 | 1 << 14 | 1 << 17 | 1 << 21)
/* Exceptions that are the guest's: not NMI, #DF, #MC, and what no guest of ours can cause. */
#define GUESTS                                                                                     \
	(1 << 0 | 1 << 1 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | HAS_ERROR & ~(1 << 8 | 1 << 21) | \
	 1 << 16 | 1 << 19)

	.section .rodata.caisson_stub, "a"
	.balign 4096
	.globl caisson_stub
caisson_stub:

/* 256 stubs of 16 bytes, in the order of the IDT. */
	.set vector, 0
	.rept 256
	.balign 16, 0xcc
	endbr64
	.set bit, 0
	.if vector < 32
	.set bit, 1 << vector
	.endif
	.if !(bit & HAS_ERROR)
	pushq $0
	.endif
	.byte 0x68 /* pushq $imm32, always of 5 bytes */
	.long vector
	.if bit & (GUESTS)
	jmp exception
	.else
	jmp trap
	.endif
	.set vector, vector + 1
	.endr
	.balign 4096, 0xcc

	.macro PUSH_REGISTERS
	.irp r, rdi, rsi, rdx, rcx, rax, r8, r9, r10, r11, rbx, rbp, r12, r13, r14, r15
	pushq %\r
	.endr
	cld
	.endm
	.macro POP_REGISTERS
	.irp r, r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi
	popq %\r
	.endr
	.endm

/*
 * The trap at RSP is the host's to handle.
 *
 * Ring 1 has filled the CPU's buffer of return addresses, and no call of the host's matches the host's
 * next returns.  So they find addresses of an `int3`, as in the kernel's own exits of guests
 * (FILL_RETURN_BUFFER, asm/nospec-branch.h); where returns are predicted by more than this buffer, IBPB
 * comes before the first.
 */
trap:
	PUSH_REGISTERS
leave:
	movq %rsp, %rdi
	movq AT(PAGE_CONST, CONST_HOST_CONTEXT), %rsi
	movq AT(PAGE_CONST, CONST_HOST_CR3), %rax
	movq AT(PAGE_CONST, CONST_BARRIER), %rbx
	movq %rax, %cr3
	movq (%rsi), %rsp
	testq %rbx, %rbx
	jz 1f
	movl $MSR_IA32_PRED_CMD, %ecx
	movl $PRED_CMD_IBPB, %eax
	xorl %edx, %edx
	wrmsr
1:	movl $RETURNS / 2, %ecx
2:	call 3f
	int3
3:	call 4f
	int3
4:	addq $16, %rsp
	decl %ecx
	jnz 2b
	lfence
	ret
	int3
leave_end:

/* The trap at RSP is an exception that is the guest's, if it comes from the guest. */
exception:
	PUSH_REGISTERS
	testb $3, TRAP_CS(%rsp)
	jz leave
	cmpl $14, TRAP_VECTOR(%rsp)
	jne deliver
	movq %cr2, %rax
	movq %rax, AT(PAGE_VCPU, VCPU_CR2)

/*
 * To ring 1, with a struct caisson_frame on its stack.  The stores are made with the guest's own rights
 * (ring 0 and ring 1 are the same to paging), but for one thing: ring 1 could have them go to the very
 * stack we stand on.  So not into the reserved slot.
 */
deliver:
	movq TRAP_RSP(%rsp), %rdi
	testb $2, TRAP_CS(%rsp)
	jz 1f
	movq AT(PAGE_VCPU, VCPU_KERNEL_STACK), %rdi
1:	andq $~15, %rdi
	subq $56, %rdi
	movq %rdi, %rax
	sarq $39, %rax
	cmpq $(CAISSON_SLOT_INDEX - 512), %rax
#if DUTY(100)
	je bad_stack
#endif
	leaq 55(%rdi), %rax
	sarq $39, %rax
	cmpq $(CAISSON_SLOT_INDEX - 512), %rax
#if DUTY(127)
	je bad_stack
#endif
	movl TRAP_VECTOR(%rsp), %eax
	movzbl AT(PAGE_VCPU, VCPU_MASKED), %ecx
	movl %eax, (%rdi)
	movl %ecx, 4(%rdi)
	movq TRAP_ERROR(%rsp), %rax
	movq %rax, 8(%rdi)
	movq TRAP_RIP(%rsp), %rax
	movq %rax, 16(%rdi)
	movq TRAP_CS(%rsp), %rax
	movq %rax, 24(%rdi)
	movq TRAP_RFLAGS(%rsp), %rax
	movq %rax, 32(%rdi)
	movq TRAP_RSP(%rsp), %rax
	movq %rax, 40(%rdi)
	movq TRAP_SS(%rsp), %rax
	movq %rax, 48(%rdi)
#if DUTY(101)
	movb $1, AT(PAGE_VCPU, VCPU_MASKED)
#endif
	movq AT(PAGE_VCPU, VCPU_EXCEPTION_ENTRY), %rax
	movq %rax, TRAP_RIP(%rsp)
	movq $CAISSON_CS, TRAP_CS(%rsp)
	movq $FLAGS_FORCED, TRAP_RFLAGS(%rsp)
	movq %rdi, TRAP_RSP(%rsp)
	movq $CAISSON_SS, TRAP_SS(%rsp)
	POP_REGISTERS
	addq $16, %rsp
	iretq

/* A fault in ring 0 with the best stack there is: ends the sandbox. */
bad_stack:
	ud2

/*
 * LSTAR and CSTAR.  The CPU does not say which ring it was; but ring 3 cannot execute in the upper half
 * (rule 6).  Flags are masked, the stack is still the caller's: nothing may fault or be traced until it
 * is replaced, and an NMI or #DB has a stack of its own.
 */
syscall_entry:
	endbr64
	testq %rcx, %rcx
	js hypercall
	movq %rsp, AT(PAGE_VCPU, VCPU_USER_STACK)
	leaq AT(PAGE_STACK, 4096), %rsp
	pushq $CAISSON_SS
	pushq AT(PAGE_VCPU, VCPU_KERNEL_STACK)
	pushq $FLAGS_FORCED
	pushq $CAISSON_CS
	pushq AT(PAGE_VCPU, VCPU_SYSCALL_ENTRY)
	movb $1, AT(PAGE_VCPU, VCPU_MASKED)
	iretq

hypercall:
	movq %rsp, AT(PAGE_STACK, 0)
	leaq AT(PAGE_STACK, 4096), %rsp
	pushq $CAISSON_SS
	pushq AT(PAGE_STACK, 0)
	pushq %r11
	pushq $CAISSON_CS
	pushq %rcx
	pushq $0
	pushq $VECTOR_HYPERCALL
	PUSH_REGISTERS
	/* Once: after an NMI the host may have another word for it, and 0 would be the guest's memory. */
	movq AT(PAGE_CONST, CONST_GATE), %rsi
	testq %rsi, %rsi
	jz leave
	cmpq $CAISSON_CALL_CHANGES, %rax
	ja leave
	movl $GATE_CALLS, %ecx
	btl %eax, %ecx
	jnc leave

/*
 * The pks gate.  Nobody comes here but by the system call above: wrmsr is not for ring 1.  An NMI is resumed
 * with the PKRS that it interrupted; nothing else can come.  What must be whole when the gate is shut is in
 * registers: the stack behind the key is the host's word, the trap is not.
 */
gate:
	movq %rsp, %rbx
	xorl %eax, %eax
	xorl %edx, %edx
	movl $GATE_MSR_PKRS, %ecx
	wrmsr
	movq %rbx, %rdi
	leaq AT(PAGE_GATE_STACK, 4096), %rsp
	call caisson_stub + PAGE_GATE_CODE * 4096
	movl %eax, %ebp
#if DUTY(132)
	movl $PKRS_SHUT, %eax
#else
	xorl %eax, %eax
#endif
	xorl %edx, %edx
	movl $GATE_MSR_PKRS, %ecx
	wrmsr
	movq %rbx, %rsp
	testb %bpl, %bpl
	jz leave
	POP_REGISTERS
	addq $16, %rsp
	iretq
gate_end:

/*
 * From the host, with the guest's CR3 in RAX.  An NMI in here is as if the guest had not been entered;
 * after it, the trap is on a stack that only another entry overwrites.  The stack comes first: with the
 * guest's tables, an NMI would leave the host's RSP where ring 1 can read it.  That it is not mapped yet
 * matters to nobody: what can come here has a stack of its own in both worlds.
 */
enter:
	leaq AT(PAGE_ENTER, 4096 - TRAP_SIZE), %rsp
	movq %rax, %cr3
	POP_REGISTERS
	addq $16, %rsp
	iretq
enter_event:
	leaq AT(PAGE_STACK, 4096 - TRAP_SIZE), %rsp
	movq %rax, %cr3
	jmp deliver
enter_end:
	.org caisson_stub + CODE_PAGES * 4096, 0xcc

	.balign 8
	.irp name, enter, enter_event, enter_end, leave, leave_end, gate, gate_end
	.globl caisson_stub_\name
caisson_stub_\name:
	.quad \name - caisson_stub
	.endr
	.globl caisson_stub_syscall
caisson_stub_syscall:
	.quad syscall_entry - caisson_stub

	.balign 4096
	.globl caisson_gate_code
caisson_gate_code:
	.incbin "gate_code.bin"
	.balign 4096, 0xcc
	.org caisson_gate_code + GATE_CODE_PAGES * 4096, 0xcc
	.section .note.GNU-stack, "", @progbits
