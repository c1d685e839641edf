// SPDX-License-Identifier: Apache-2.0
/*
 * Loops in ring 1 and ring 3 for long enough to be interrupted many times, and finds all registers
 * as they were.  The test looks at the host's interrupt counts and time meanwhile.
 */
#include "tests/cki/lib/guest.h"

#define LOOP                                                                                       \
	"	mov $0x0101010101010101, %%rbx\n"                                                        \
	"	mov $0x0202020202020202, %%r8\n"                                                         \
	"	mov $0x0303030303030303, %%r9\n"                                                         \
	"	mov $0x0404040404040404, %%r10\n"                                                        \
	"	mov $0x0505050505050505, %%r11\n"                                                        \
	"	mov $0x0606060606060606, %%r12\n"                                                        \
	"	mov $0x0707070707070707, %%r13\n"                                                        \
	"	mov $0x0808080808080808, %%r14\n"                                                        \
	"	mov $0x0909090909090909, %%r15\n"                                                        \
	"	mov $0x0a0a0a0a0a0a0a0a, %%rsi\n"                                                        \
	"	mov $0x0b0b0b0b0b0b0b0b, %%rdi\n"                                                        \
	"	movq %%r8, %%xmm3\n"                                                                     \
	"	mov $0x030303030303, %%rax\n"                                                            \
	"	wrfsbase %%rax\n"                                                                        \
	"1:	lea -1(%%rcx), %%rcx\n"                                                                \
	"	test %%rcx, %%rcx\n"                                                                     \
	"	jnz 1b\n"                                                                                \
	"	rdfsbase %%rdx\n"                                                                        \
	"	cmp %%rax, %%rdx\n"                                                                      \
	"	mov $1, %%eax\n"                                                                         \
	"	jne 2f\n"                                                                                \
	"	movq %%xmm3, %%rdx\n"                                                                    \
	"	cmp %%r8, %%rdx\n jne 2f\n"                                                              \
	"	lea (%%rbx,%%r8), %%rdx\n cmp %%r9, %%rdx\n jne 2f\n"                                    \
	"	lea (%%r10,%%rbx), %%rdx\n cmp %%r11, %%rdx\n jne 2f\n"                                  \
	"	lea (%%r12,%%rbx), %%rdx\n cmp %%r13, %%rdx\n jne 2f\n"                                  \
	"	lea (%%r14,%%rbx), %%rdx\n cmp %%r15, %%rdx\n jne 2f\n"                                  \
	"	lea (%%rsi,%%rbx), %%rdx\n cmp %%rdi, %%rdx\n jne 2f\n"                                  \
	"	xor %%eax, %%eax\n"                                                                      \
	"2:\n"

static inline __attribute__((always_inline)) uint64_t loop(uint64_t rounds)
{
	uint64_t bad;

	__asm__ volatile(LOOP
			 : "=a"(bad), "+c"(rounds)
			 :
			 : "rbx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
			   "r14", "r15", "cc", "memory");
	return bad;
}

USER static void in_ring3(void)
{
	user_call(SYSCALL_EXIT, loop(300000000), 0);
}

void main(void)
{
	check(loop(300000000) == 0);
	check(user_run(in_ring3) == 0);
}
