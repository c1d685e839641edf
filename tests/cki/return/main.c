// SPDX-License-Identifier: Apache-2.0
/*
 * Attack on invariant 4: ways back to ring 0, or to ring 1 and 3 with other flags.  Far returns and
 * jumps to ring-0 selectors; selectors that are not there, or would be gates; IF and IOPL by popfq
 * and iretq.
 */
#include "tests/cki/lib/guest.h"

static volatile uint16_t selector;
static struct {
	uint32_t offset;
	uint16_t selector;
} __attribute__((packed)) far;

static void by_iretq(void)
{
	__asm__ volatile("mov %%rsp, %%rax\n"
			 "pushq $0\n push %%rax\n pushfq\n push %0\n"
			 "lea 1f(%%rip), %%rax\n push %%rax\n iretq\n 1:"
			 :
			 : "r"((uint64_t)selector)
			 : "rax", "memory");
}

static void by_lretq(void)
{
	__asm__ volatile("push %0\n lea 1f(%%rip), %%rax\n push %%rax\n lretq\n 1:"
			 :
			 : "r"((uint64_t)selector)
			 : "rax", "memory");
}

static void by_ljmp(void)
{
	far.selector = selector;
	__asm__ volatile("ljmpl *%0" : : "m"(far));
}

static void by_lcall(void)
{
	far.selector = selector;
	__asm__ volatile("lcall *%0" : : "m"(far));
}

static void to_ss(void)
{
	__asm__ volatile("mov %0, %%ss" : : "r"((uint64_t)selector));
}

static uint64_t flags_after(uint64_t flags)
{
	uint64_t after;

	__asm__ volatile("push %1\n popfq\n pushfq\n pop %0\n pushq $0x202\n popfq"
			 : "=r"(after)
			 : "r"(flags)
			 : "memory", "cc");
	return after;
}

USER static void flags_in_ring3(void)
{
	uint64_t after;

	__asm__ volatile("pushq $0x3002\n popfq\n pushfq\n pop %0"
			 : "=r"(after)
			 :
			 : "memory", "cc");
	user_call(SYSCALL_EXIT, after, 0);
}

void main(void)
{
	static void (*const ways[])(void) = {by_iretq, by_lretq, by_ljmp, by_lcall};
	uint64_t flags;

	for (unsigned int s = 0; s < 0x100; s++) {
		selector = (uint16_t)s;
		/* Own code segment by its own or a lower privilege is no attack. */
		if ((s & ~3u) == (CAISSON_CS & ~3u) || (s & ~3u) == (CAISSON_USER_CS & ~3u))
			continue;
		for (unsigned int way = 0; way < 4; way++) {
			int vector = fault_of(ways[way]);

			if (vector != 13 && vector != 11 && vector != 10) {
				say_hex(s);
				say_hex(way);
				say_hex((uint64_t)vector);
				failed("refused", __LINE__);
			}
		}
	}
	selector = 0x18; /* ring 0's data */
	check(fault_of(to_ss) == 13);
	selector = 0x10;
	check(fault_of(to_ss) == 13);
	/* IF stays set and IOPL clear, whatever popfq was given. */
	flags = flags_after(0x3002);
	check((flags & 0x3200) == 0x200);
	flags = flags_after(0x3202);
	check((flags & 0x3200) == 0x200);
	/* NT makes the next iretq fault; the entry code's own must not be affected. */
	flags = flags_after(0x4202);
	check(flags & 0x4000);
	__asm__ volatile("pushq $0x44202\n popfq");
	check(hypercall(CAISSON_CALL_MONITOR, MONITOR_ECHO, 1, 0, NULL) == 2);
	__asm__ volatile("pushq $0x202\n popfq");
	check((user_run(flags_in_ring3) & 0x3200) == 0x200);
}
