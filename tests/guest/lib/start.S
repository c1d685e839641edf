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
#define CR4_OSFXSR (1 << 9)
#define EFER 0xc0000080
#define EFER_LME (1 << 8)
#define CR0_PG (1 << 31)

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
	mov $(CR4_PAE | CR4_OSFXSR), %eax
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
	ljmp $8, $long_mode

	.code64
long_mode:
	xor %eax, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov %ebx, %edi		/* hvm_start_info */
	call main
3:	hlt
	jmp 3b

	.align 8
gdt:	.quad 0
	.quad 0x00af9b000000ffff	/* code, 64 bits */
gdtr:	.word gdtr - gdt - 1
	.long gdt

	.bss
	.align 4096
pml4:	.skip 4096
pdpt:	.skip 4096
pd:	.skip 4 * 4096
	.skip 16384
stack_end:

	.section .note.GNU-stack, "", @progbits
