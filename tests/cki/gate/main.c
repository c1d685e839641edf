// SPDX-License-Identifier: Apache-2.0
/*
 * Attack on the pks gate: what it has mapped in this guest is behind a key, before the first call
 * and after any; its instructions are of no use in ring 1, wherever one jumps into them; and what
 * it answers is as the host would.  With the cr3 gate nothing of it is there.
 */
#include "kmod/rules.h"
#include "tests/cki/lib/guest.h"

#define AREA (CAISSON_VCPU_PAGE - 3 * PAGE)
/* kmod/layout.h, kmod/gate.h */
#define CONSTANT_GATE (*(volatile uint64_t *)(AREA + 2 * PAGE + 16))
#define GATE_ROOTS 0x40000ull
#define GATE_BLOCKS 0x80000ull
#define GATE_FRAMES 0x200000ull
#define GATE_ENTRIES 0x2000000ull
#define GATE_STACK (AREA + 19 * PAGE)
#define GATE_VCPU (AREA + 17 * PAGE)
#define GATE_CODE (AREA + 24 * PAGE)
#define GATE_CODE_SIZE (8 * PAGE)

#define READ_DENIED 0x21
#define WRITE_DENIED 0x23
#define EINVAL_ -22
#define EPERM_ -1

static volatile uint64_t target, jump;
static uint64_t base;

static void read_target(void)
{
	(void)*(volatile uint64_t *)target;
}

static void write_target(void)
{
	*(volatile uint64_t *)target = 0;
}

static void denied(uint64_t at)
{
	target = at;
	if (fault_of(read_target) != 14 || caught.error != READ_DENIED ||
	    fault_of(write_target) != 14 || caught.error != WRITE_DENIED) {
		say("open: ");
		say_hex(at);
		say("\n");
		end(GUEST_FAIL);
	}
}

static void all_denied(void)
{
	denied(base);
	denied(base + GATE_ROOTS);
	denied(base + GATE_BLOCKS);
	denied(base + GATE_FRAMES);
	denied(base + GATE_FRAMES + PAGE);
	denied(base + GATE_ENTRIES);
	denied(base + GATE_ENTRIES + 511 * PAGE);
	denied(GATE_VCPU);
	denied(GATE_STACK);
}

/* Beside those nothing is there. */
static void nothing_else(void)
{
	static const uint64_t nowhere[] = {PAGE,
					   GATE_ROOTS - PAGE,
					   GATE_ROOTS + PAGE,
					   GATE_BLOCKS + PAGE,
					   GATE_FRAMES + 2 * PAGE,
					   GATE_ENTRIES + (2 << 20),
					   (1 << 30) - PAGE};

	for (unsigned int i = 0; i < sizeof(nowhere) / sizeof(nowhere[0]); i++) {
		target = base + nowhere[i];
		check(fault_of(read_target) == 14 && caught.error == 0);
	}
}

/* With RCX, RAX and RDX as a wrmsr would want them to open the gate. */
static __attribute__((naked)) void jump_there(void)
{
	__asm__ volatile("mov $0x6e1, %ecx; xor %eax, %eax; xor %edx, %edx; jmp *jump(%rip)");
}

/* Each wrmsr of the entry code, and of what looks like one. */
static void gadgets(void)
{
	const volatile uint8_t *code = (const uint8_t *)AREA;
	unsigned int found = 0;

	for (uint64_t i = 0; i < 2 * PAGE - 1; i++) {
		if (code[i] != 0x0f || code[i + 1] != 0x30)
			continue;
		jump = AREA + i;
		check(fault_of(jump_there) == 13);
		denied(base);
		found++;
	}
	check(found >= 2);
	code = (const uint8_t *)GATE_CODE;
	for (uint64_t i = 0; i < GATE_CODE_SIZE - 1; i++)
		check(code[i] != 0x0f || code[i + 1] != 0x30);
}

/* The gate's C code, called from ring 1 on `trap` as the entry code does from ring 0. */
static struct {
	uint64_t registers[22];
} trap;

static void call_code(void)
{
	((void (*)(void *, uint64_t))GATE_CODE)(&trap, base);
}

static void code_in_ring1(void)
{
	static const uint64_t calls[] = {CAISSON_CALL_ENTRY_SET, CAISSON_CALL_TABLE_NEW,
					 CAISSON_CALL_CHANGES,	 CAISSON_CALL_ROOT,
					 CAISSON_CALL_FLUSH,	 CAISSON_CALL_VERSION};

	for (unsigned int i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		trap.registers[10] = calls[i]; /* RAX */
		check(fault_of(call_code) == 14 && (caught.error | 2) == WRITE_DENIED);
	}
}

static uint64_t on_call(uint64_t number, uint64_t a, uint64_t b)
{
	(void)number, (void)a, (void)b;
	return base;
}

USER static void from_ring3(void)
{
	user_call(SYSCALL_EXIT, *(volatile uint64_t *)user_call(1, 0, 0), 0);
}

static bool denied_to_ring3(struct trap *t)
{
	check(t->frame.vector == 14 && (t->frame.error & 5) == 5);
	end(GUEST_PASS);
}

static void calls(void)
{
	const uint64_t l1 = table(1), data = boot.blocks[1];
	uint64_t rdx;

	all_denied();
	check(set(l1, 0, data | CAISSON_PTE_P | CAISSON_PTE_NX) == 0);
	all_denied();
	check(hypercall(CAISSON_CALL_ENTRY_SET, l1, 0, 0, &rdx) == 0);
	check(rdx == (data | CAISSON_PTE_P | CAISSON_PTE_NX));
	check(set(l1, 0, boot.foreign | CAISSON_PTE_P) == EPERM_);
	all_denied();
	check(hypercall(CAISSON_CALL_TABLE_NEW, l1 + 8, 1, 0, NULL) == EINVAL_);
	check(hypercall(CAISSON_CALL_TABLE_FREE, l1, 0, 0, NULL) == 0);
	/* Not by the gate: it was known since before this vCPU entered. */
	check(hypercall(CAISSON_CALL_TABLE_NEW, l1, 1, 0, NULL) == 0);
	all_denied();
	check(hypercall(CAISSON_CALL_CHANGES, 2, 1, 0, &rdx) == EINVAL_ && rdx == 2);
	check(hypercall(CAISSON_CALL_CHANGES, 0, ~0ull, 0, &rdx) == EINVAL_ && rdx == 0);
	check(hypercall(CAISSON_CALL_FLUSH, 0, 0, 0, NULL) == 0);
	check(hypercall(CAISSON_CALL_ROOT, 0, 0, 0, NULL) == EPERM_);
	check(hypercall(CAISSON_CALL_ROOT, frame(FRAME_L4), 0, 0, NULL) == 0);
	check(hypercall(CAISSON_CALL_VERSION, 0, 0, 0, &rdx) == 0 && rdx == CAISSON_API);
	check(hypercall(CAISSON_CALL_CHANGES + 1, 0, 0, 0, NULL) == -38);
	check(hypercall(~0ull, 0, 0, 0, NULL) == -38);
	check(hypercall(1ull << 32 | CAISSON_CALL_VERSION, 0, 0, 0, NULL) == -38);
	all_denied();
}

/* What a call may change of the caller: RAX, RDX, RCX, R11; and not its flags. */
static void registers(void)
{
	const uint64_t flags = 0x202 | 1 << 0 | 1 << 6 | 1 << 10; /* CF, ZF, DF */
	static uint64_t sum;
	uint64_t after;

	__asm__ volatile("push %%rbp\n\tpush %[flags]\n\tpopfq\n\t"
			 "mov $0x1111, %%ebx\n\tmov $0x2222, %%ebp\n\tmov $0x3333, %%r12d\n\t"
			 "mov $0x4444, %%r9d\n\tmov $0x5555, %%r15d\n\tmov $0x6666, %%edi\n\t"
			 "syscall\n\tpushfq\n\tcld\n\tpop %[after]\n\t"
			 "mov %%rbp, %%r14\n\tadd %%r9, %%r14\n\tadd %%r12, %%r14\n\t"
			 "add %%r15, %%r14\n\tadd %%rbx, %%r14\n\tadd %%rdi, %%r14\n\t"
			 "mov %%r14, %[sum]\n\tpop %%rbp"
			 : [after] "=&r"(after), [sum] "=m"(sum)
			 : [flags] "r"(flags), "a"((uint64_t)CAISSON_CALL_ENTRY_SET), "S"(0ull)
			 : "rbx", "rcx", "rdx", "rdi", "r8", "r9", "r10", "r11", "r12", "r14",
			   "r15", "memory", "cc");
	check(sum == 0x1111 + 0x2222 + 0x3333 + 0x4444 + 0x5555 + 0x6666);
	check((after & ~0x10ull) == (flags & ~0x10ull));
}

void main(void)
{
	base = CONSTANT_GATE;
	if (!base) {
		target = GATE_CODE;
		check(fault_of(read_target) == 14 && caught.error == 0);
		target = GATE_STACK;
		check(fault_of(read_target) == 14 && caught.error == 0);
		return;
	}
	all_denied();
	nothing_else();
	calls();
	registers();
	gadgets();
	code_in_ring1();
	calls();
	on_syscall = on_call;
	on_trap = denied_to_ring3;
	user_run(from_ring3);
	end(GUEST_FAIL);
}
