// SPDX-License-Identifier: Apache-2.0
/*
 * Attack: ring 1 and ring 3 execute everything that belongs to ring 0.  Each is an exception of
 * theirs, and nothing else happens.  Those that QEMU's emulator takes for no-ops at any ring are
 * left out there.
 */
#include "tests/cki/lib/guest.h"

/* fault_of() keeps the registers that a function must. */
#define SNIPPET(name, code)                                                                        \
	static __attribute__((naked)) void name(void)                                              \
	{                                                                                          \
		__asm__ volatile(code "; ret");                                                    \
	}

__attribute__((used, aligned(64))) static uint8_t operand[1024];

SNIPPET(read_cr0, "mov %cr0, %rax")
SNIPPET(write_cr0, "mov $0x80050033, %eax; mov %rax, %cr0")
SNIPPET(read_cr2, "mov %cr2, %rax")
SNIPPET(read_cr3, "mov %cr3, %rax")
SNIPPET(write_cr3, "xor %eax, %eax; mov %rax, %cr3")
SNIPPET(read_cr4, "mov %cr4, %rax")
SNIPPET(write_cr4, "xor %eax, %eax; mov %rax, %cr4")
SNIPPET(write_cr8, "xor %eax, %eax; mov %rax, %cr8")
SNIPPET(clts_, "clts")
SNIPPET(lmsw_, "xor %eax, %eax; lmsw %ax")
SNIPPET(read_dr, "mov %dr7, %rax")
SNIPPET(write_dr, "mov $0x400, %eax; mov %rax, %dr7")
SNIPPET(read_efer, "mov $0xc0000080, %ecx; rdmsr")
SNIPPET(write_lstar, "mov $0xc0000082, %ecx; xor %eax, %eax; xor %edx, %edx; wrmsr")
SNIPPET(write_pkrs, "mov $0x6e1, %ecx; xor %eax, %eax; xor %edx, %edx; wrmsr")
SNIPPET(lgdt_, "lgdt operand(%rip)")
SNIPPET(lidt_, "lidt operand(%rip)")
SNIPPET(lldt_, "mov $0x58, %eax; lldt %ax")
SNIPPET(ltr_, "mov $0x40, %eax; ltr %ax")
SNIPPET(sgdt_, "sgdt operand(%rip)")
SNIPPET(sidt_, "sidt operand(%rip)")
SNIPPET(str_, "str %eax")
SNIPPET(sldt_, "sldt %eax")
SNIPPET(smsw_, "smsw %eax")
SNIPPET(invlpg_, "invlpg operand(%rip)")
SNIPPET(hlt_, "hlt")
SNIPPET(swapgs_, "swapgs")
SNIPPET(cli_, "cli")
SNIPPET(sti_, "sti")
SNIPPET(in_, "mov $0x3fd, %edx; in %dx, %al")
SNIPPET(out_, "mov $0x80, %edx; xor %eax, %eax; out %al, %dx")
SNIPPET(out_max, "mov $0xffff, %edx; xor %eax, %eax; out %al, %dx")
SNIPPET(ins_, "mov $0x3fd, %edx; lea operand(%rip), %rdi; insb")
SNIPPET(xsetbv_, "xor %ecx, %ecx; xor %edx, %edx; mov $1, %eax; xsetbv")
SNIPPET(rdpmc_, "xor %ecx, %ecx; rdpmc")
SNIPPET(sysretq_, "lea 1f(%rip), %rcx; pushfq; pop %r11; sysretq; 1: nop")
SNIPPET(sysexitq_, "lea 1f(%rip), %rdx; mov %rsp, %rcx; rex.w sysexit; 1: nop")
SNIPPET(sysenter_, "sysenter")
SNIPPET(stac_, "stac")
SNIPPET(monitor_, "lea operand(%rip), %rax; xor %ecx, %ecx; xor %edx, %edx; monitor")
SNIPPET(mwait_, "xor %eax, %eax; xor %ecx, %ecx; mwait")
SNIPPET(vmmcall_, "vmmcall")
SNIPPET(rdpkru_, "xor %ecx, %ecx; rdpkru")
SNIPPET(int_20, "int $0x20")
SNIPPET(int_2, "int $2")
SNIPPET(int_8, "int $8")
SNIPPET(int_14, "int $14")
SNIPPET(int_18, "int $18")
SNIPPET(int_80, "int $0x80")
SNIPPET(int_ff, "int $0xff")
SNIPPET(wbinvd_, "wbinvd")
SNIPPET(invd_, "invd")
SNIPPET(invpcid_, "xor %eax, %eax; invpcid operand(%rip), %rax")
SNIPPET(xsaves_, "xor %eax, %eax; xor %edx, %edx; xsaves operand(%rip)")
SNIPPET(xrstors_, "xor %eax, %eax; xor %edx, %edx; xrstors operand(%rip)")

#define GP (1u << 13)
#define UD (1u << 6)

struct attack {
	const char *name;
	void (*function)(void);
	uint32_t wanted; /* vectors */
};

static const struct attack attacks[] = {
#define A(name, wanted)                                                                            \
	{                                                                                          \
#name, name, wanted                                                                \
	}
	A(read_cr0, GP),       A(write_cr0, GP),      A(read_cr2, GP),
	A(read_cr3, GP),       A(write_cr3, GP),      A(read_cr4, GP),
	A(write_cr4, GP),      A(write_cr8, GP),      A(clts_, GP),
	A(lmsw_, GP),	       A(read_dr, GP),	      A(write_dr, GP),
	A(read_efer, GP),      A(write_lstar, GP),    A(write_pkrs, GP),
	A(lgdt_, GP),	       A(lidt_, GP),	      A(lldt_, GP),
	A(ltr_, GP),	       A(sgdt_, GP),	      A(sidt_, GP),
	A(str_, GP),	       A(sldt_, GP),	      A(smsw_, GP),
	A(invlpg_, GP),	       A(hlt_, GP),	      A(swapgs_, GP),
	A(cli_, GP),	       A(sti_, GP),	      A(in_, GP),
	A(out_, GP),	       A(out_max, GP),	      A(ins_, GP),
	A(xsetbv_, GP),	       A(rdpmc_, GP),	      A(sysretq_, GP),
	A(sysexitq_, GP | UD), A(sysenter_, GP | UD), A(stac_, UD),
	A(monitor_, UD | GP),  A(mwait_, UD | GP),    A(vmmcall_, UD | GP),
	A(rdpkru_, UD),	       A(int_20, GP),	      A(int_2, GP),
	A(int_8, GP),	       A(int_14, GP),	      A(int_18, GP),
	A(int_80, GP),	       A(int_ff, GP),
};

static const struct attack not_in_tcg[] = {
	A(wbinvd_, GP),	     A(invd_, GP),	   A(invpcid_, GP | UD),
	A(xsaves_, GP | UD), A(xrstors_, GP | UD),
};

static void make(const struct attack *a)
{
	int vector = fault_of(a->function);

	if (vector >= 0 && a->wanted >> vector & 1)
		return;
	say(a->name);
	say(vector < 0 ? " was executed\n" : " gave another exception\n");
	end(GUEST_FAIL);
}

static bool is_tcg(void)
{
	uint32_t a = 0x40000000, b, c, d;

	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "=c"(c), "=d"(d));
	return b == 0x54474354; /* "TCGT" */
}

void main(void)
{
	for (size_t i = 0; i < sizeof(attacks) / sizeof(attacks[0]); i++)
		make(&attacks[i]);
	for (size_t i = 0; i < sizeof(not_in_tcg) / sizeof(not_in_tcg[0]) && !is_tcg(); i++)
		make(&not_in_tcg[i]);
}
