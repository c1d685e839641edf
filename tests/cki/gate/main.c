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
#define GATE_BLOCKS 0xc0000ull
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
					   GATE_ROOTS +
						   2 * PAGE, /* with five levels, a root has two */
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

	/* Out of the outer loop, and not by the gate. */
	check(hypercall(CAISSON_CALL_MONITOR, MONITOR_ECHO, 1, 0, NULL) == 2);
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
__attribute__((used)) static uint64_t sum, flags_after,
	flags = 0x202 | 1 << 0 | 1 << 6 | 1 << 10; /* CF, ZF, DF */

static __attribute__((naked)) void call_with_registers(void)
{
	__asm__ volatile("push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n\t"
			 "mov $0x1, %ebx; mov $0x20, %ebp; mov $0x300, %r8d; mov $0x4000, %r9d\n\t"
			 "mov $0x50000, %r10d; mov $0x600000, %r12d; mov $0x7000000, %r13d\n\t"
			 "mov $0x80000000, %r14d; movabs $0x900000000, %r15\n\t"
			 "movabs $0xa000000003, %rdi; movabs $0xb0000000000, %rsi\n\t"
			 "mov $8, %eax; pushq flags(%rip); popfq; syscall\n\t" /* ENTRY_SET */
			 "pushfq; popq flags_after(%rip); cld\n\t"
			 "add %rbp, %rbx; add %r8, %rbx; add %r9, %rbx; add %r10, %rbx\n\t"
			 "add %r12, %rbx; add %r13, %rbx; add %r14, %rbx; add %r15, %rbx\n\t"
			 "add %rdi, %rbx; add %rsi, %rbx; mov %rbx, sum(%rip)\n\t"
			 "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx; ret");
}

static void registers(void)
{
	call_with_registers();
	check(sum == 0xba987654321 + 3);
	check(flags_after == flags);
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
