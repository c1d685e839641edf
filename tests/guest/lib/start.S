/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the PVH entry point (32-bit, no paging) to main() in 64-bit mode: the first 4 GiB mapped as
 * they are, in 2 MiB pages; no interrupts, no IDT: an exception is the end (a triple fault).
 */
	.section .note.pvh, "a", @note
	.long 4, 4, 18		/* "Xen", XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.long start

#define PAGE_TABLE 3		/* present, writable */
#define PAGE_2M 0x83		/* the same, large */
#define CR4_PAE (1 << 5)
#define EFER 0xc0000080
#define EFER_LME (1 << 8)
#define CR0_PE (1 << 0)
#define CR0_PG (1 << 31)
#define CODE_64 8
#define CODE_32 16
#define DATA 24

	.text
	.code32
	.globl start
start:
	mov $stack_end, %esp
	/* Level 4 and 3, then four tables of 512 pages each, one after the other. */
	movl $(pdpt + PAGE_TABLE), pml4
	mov $pdpt, %edi
	mov $(pd + PAGE_TABLE), %eax
	mov $4, %ecx
1:	mov %eax, (%edi)
	add $4096, %eax
	add $8, %edi
	loop 1b
	mov $pd, %edi
	mov $PAGE_2M, %eax
	mov $2048, %ecx
2:	mov %eax, (%edi)
	add $0x200000, %eax
	add $8, %edi
	loop 2b
	call enter_long_mode
	ljmp $CODE_64, $first

/* Afterwards the code segment is still a 32-bit one. */
enter_long_mode:
	mov $CR4_PAE, %eax
	mov %eax, %cr4
	mov $pml4, %eax
	mov %eax, %cr3
	mov $EFER, %ecx
	rdmsr
	or $EFER_LME, %eax
	wrmsr
	mov %cr0, %eax
	or $CR0_PG, %eax
	mov %eax, %cr0
	lgdt gdtr
	ret

/*
 * Where another CPU starts (guest.c, start_cpu()): copied to where it is entered in real mode, with
 * CS there.  It uses the tables that the first CPU made.
 */
	.code16
	.globl trampoline, trampoline_end
trampoline:
	cli
	mov %cs, %ax
	mov %ax, %ds
	lgdtl trampoline_gdtr - trampoline
	mov %cr0, %eax
	or $CR0_PE, %eax
	mov %eax, %cr0
	ljmpl $CODE_32, $protected
	.align 4
trampoline_gdtr:
	.word gdt_end - gdt - 1
	.long gdt
trampoline_end:

	.code32
protected:
	mov $DATA, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov $stack2_end, %esp
	call enter_long_mode
	ljmp $CODE_64, $second

	.code64
first:
	xor %eax, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	call main
3:	hlt
	jmp 3b

second:
	call cpu_main
4:	hlt
	jmp 4b

	.weak cpu_main		/* most guests have one CPU */
cpu_main:
	ret

	.align 8
gdt:	.quad 0
	.quad 0x00af9b000000ffff	/* CODE_64 */
	.quad 0x00cf9b000000ffff	/* CODE_32 */
	.quad 0x00cf93000000ffff	/* DATA */
gdt_end:
gdtr:	.word gdt_end - gdt - 1
	.long gdt

	.bss
	.align 4096
pml4:	.skip 4096
pdpt:	.skip 4096
pd:	.skip 4 * 4096
	.skip 16384
stack_end:
	.skip 16384
stack2_end:

	.section .note.GNU-stack, "", @progbits
