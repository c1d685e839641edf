// SPDX-License-Identifier: Apache-2.0
#include "tests/cki/lib/guest.h"

struct boot boot;
bool (*on_trap)(struct trap *t);
uint64_t (*on_syscall)(uint64_t number, uint64_t a, uint64_t b);
struct caisson_frame caught;

static unsigned int next_frame = FRAME_FREE;
static bool catching;

extern char start[], exception_entry[], syscall_entry[], user_kernel_stack_top[], catch_out[];
extern char user_begin[], user_end[], user_load[];
void guest_main(const struct boot *from, uint64_t number);
void exception(struct trap *t);
uint64_t system_call(uint64_t number, uint64_t a, uint64_t b);
int catch_call(void (*function)(void));
uint64_t user_enter(void (*function)(void), uint64_t stack);
_Noreturn void user_leave(uint64_t value);

/* The compiler makes calls of these. */
void *memcpy(void *to, const void *from, size_t size);
void *memset(void *to, int byte, size_t size);

void *memcpy(void *to, const void *from, size_t size)
{
	for (size_t i = 0; i < size; i++)
		((volatile uint8_t *)to)[i] = ((const uint8_t *)from)[i];
	return to;
}

void *memset(void *to, int byte, size_t size)
{
	for (size_t i = 0; i < size; i++)
		((volatile uint8_t *)to)[i] = (uint8_t)byte;
	return to;
}

void say(const char *text)
{
	static char copy[256];
	size_t n = 0;

	/* The text may be on another page than the runner can find. */
	while (text[n] && n < sizeof(copy))
		copy[n] = text[n], n++;
	hypercall(CAISSON_CALL_MONITOR, MONITOR_TEXT, (uint64_t)copy - GUEST_BASE, n, NULL);
}

void say_hex(uint64_t n)
{
	char text[19] = "0x";

	for (int i = 0; i < 16; i++)
		text[2 + i] = "0123456789abcdef"[n >> (60 - 4 * i) & 15];
	text[18] = 0;
	say(text);
}

_Noreturn void end(int outcome)
{
	for (;;)
		hypercall(CAISSON_CALL_MONITOR, MONITOR_END, (uint64_t)outcome, 0, NULL);
}

_Noreturn void failed(const char *condition, int line)
{
	say("line ");
	say_hex((uint64_t)line);
	say(": not so: ");
	say(condition);
	say("\n");
	end(GUEST_FAIL);
}

static void exception_once(struct trap *t)
{
	if (catching && t->frame.vector < 32) {
		caught = t->frame;
		catching = false;
		t->rax = t->frame.vector;
		t->frame.rip = (uint64_t)catch_out;
		t->frame.cs = CAISSON_CS;
		t->frame.ss = CAISSON_SS;
	} else if (!on_trap || !on_trap(t)) {
		say("exception ");
		say_hex(t->frame.vector);
		say(" error ");
		say_hex(t->frame.error);
		say(" at ");
		say_hex(t->frame.rip);
		say(" cr2 ");
		say_hex(vcpu->cr2);
		say("\n");
		end(GUEST_FAIL);
	}
}

/* As often as there are events: not one on top of the other. */
void exception(struct trap *t)
{
	do {
		vcpu->masked = 1;
		if (t->frame.vector != CAISSON_VECTOR_EVENT || vcpu->events)
			exception_once(t);
		vcpu->masked = (uint8_t)t->frame.masked;
	} while (t->frame.vector == CAISSON_VECTOR_EVENT && !t->frame.masked && vcpu->events);
	/* What came in between, by its own exception. */
	if (!t->frame.masked && vcpu->events)
		hypercall(CAISSON_CALL_EVENTS, 0, 0, 0, NULL);
}

uint64_t system_call(uint64_t number, uint64_t a, uint64_t b)
{
	if (number == SYSCALL_EXIT)
		user_leave(a);
	check(on_syscall);
	return on_syscall(number, a, b);
}

int fault_of(void (*function)(void))
{
	int vector;

	catching = true;
	vector = catch_call(function);
	catching = false;
	return vector;
}

uint64_t frame(unsigned int n)
{
	return boot.tables + n * PAGE;
}

uint64_t physical(const void *address)
{
	uint64_t offset = (uint64_t)address - GUEST_BASE;

	check(offset < (uint64_t)BLOCKS << 21);
	return boot.blocks[offset >> 21] + (offset & ((1 << 21) - 1));
}

uint64_t entry(uint64_t table, unsigned int index)
{
	check(table - boot.tables < 1 << 21);
	return ((volatile uint64_t *)(GUEST_TABLES + table - boot.tables))[index];
}

int64_t set(uint64_t table, unsigned int index, uint64_t value)
{
	return hypercall(CAISSON_CALL_ENTRY_SET, table + index * 8ull, value, 0, NULL);
}

void set_refused(uint64_t at, unsigned int index, uint64_t value)
{
	uint64_t before = entry(at, index);
	int64_t error = set(at, index, value);

	if (error >= 0) {
		say("stored: ");
		say_hex(value);
		say("\n");
		end(GUEST_FAIL);
	}
	check(entry(at, index) == before);
}

uint64_t table(unsigned int level)
{
	uint64_t at = frame(next_frame++);

	check(hypercall(CAISSON_CALL_TABLE_NEW, at, level, 0, NULL) == 0);
	return at;
}

int64_t map(uint64_t address, uint64_t value)
{
	uint64_t at = frame(FRAME_L4);

	for (unsigned int level = 4; level > 1; level--) {
		unsigned int index = address >> (12 + 9 * (level - 1)) & 511;
		uint64_t user = address >> 63 ? 0 : CAISSON_PTE_U;

		if (!(entry(at, index) & CAISSON_PTE_P)) {
			int64_t error = set(
				at, index, table(level - 1) | CAISSON_PTE_P | CAISSON_PTE_W | user);

			if (error)
				return error;
		}
		at = entry(at, index) & CAISSON_PTE_ADDRESS;
	}
	return set(at, address >> 12 & 511, value);
}

uint64_t user_run(void (*function)(void))
{
	return user_enter(function, (uint64_t)user_end + 4 * PAGE);
}

static void user_map(void)
{
	static uint8_t stack[4 * PAGE] __attribute__((aligned(4096)));
	uint64_t at = (uint64_t)user_begin;

	for (; at < (uint64_t)user_end; at += PAGE)
		check(map(at, physical((void *)(GUEST_BASE + (uint64_t)user_load + at -
						(uint64_t)user_begin)) |
				      CAISSON_PTE_P | CAISSON_PTE_W | CAISSON_PTE_U) == 0);
	for (unsigned int i = 0; i < 4; i++, at += PAGE)
		check(map(at, physical(stack + i * PAGE) | CAISSON_PTE_P | CAISSON_PTE_W |
				      CAISSON_PTE_U | CAISSON_PTE_NX) == 0);
}

int64_t start_cpu(uint64_t number, uint64_t root)
{
	int64_t result;
	register uint64_t argument __asm__("r8") = (uint64_t)&boot;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(CAISSON_CALL_START), "D"(number), "S"(root), "d"(start),
			   "r"(argument)
			 : "rcx", "r11", "memory");
	return result;
}

__attribute__((weak)) void other(uint64_t number)
{
	(void)number;
	for (;;)
		hypercall(CAISSON_CALL_HALT, 0, 0, 0, NULL);
}

void guest_main(const struct boot *from, uint64_t number)
{
	uint64_t version;

	vcpu->exception_entry = (uint64_t)exception_entry;
	vcpu->syscall_entry = (uint64_t)syscall_entry;
	vcpu->kernel_stack = (uint64_t)user_kernel_stack_top;
	check(vcpu->masked);
	vcpu->masked = 0;
	check(hypercall(CAISSON_CALL_EVENTS, 0, 0, 0, NULL) == 0);
	if (number) {
		other(number);
		end(GUEST_FAIL);
	}
	boot = *from;
	check(hypercall(CAISSON_CALL_VERSION, 0, 0, 0, &version) == 0 && version == CAISSON_API);
	user_map();
	main();
	end(GUEST_PASS);
}
