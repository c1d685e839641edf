/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a micro guest has: ring 1 in the upper half, its memory writable (and executable) at
 * GUEST_BASE, ring 3 for functions marked USER.  Exceptions end the guest unless a handler is set.
 */
#ifndef CAISSON_TESTS_CKI_GUEST_H
#define CAISSON_TESTS_CKI_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kmod/rules.h"
#include "kmod/uapi/caisson.h"
#include "tests/cki/lib/outcome.h"

#define PAGE 4096ull
#define USER __attribute__((section(".user"), noinline, used))
#define USER_DATA __attribute__((section(".user.data")))

/* The registers that an exception's handler sees, and may change. */
struct trap {
	uint64_t r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi;
	struct caisson_frame frame;
};

extern struct boot boot;
#define vcpu ((volatile struct caisson_vcpu_page *)CAISSON_VCPU_PAGE)

/* The guest's own entry; to return is to pass. */
void main(void);
/* Of the CPUs beside the first; only system calls and fault_of() are not for them. */
void other(uint64_t number);
/* Starts one on a level-4 table; -errno. */
int64_t start_cpu(uint64_t number, uint64_t root);

void say(const char *text);
void say_hex(uint64_t n);
_Noreturn void end(int outcome);
#define check(condition)                                                                           \
	do {                                                                                       \
		if (!(condition))                                                                  \
			failed(#condition, __LINE__);                                              \
	} while (0)
_Noreturn void failed(const char *condition, int line);

/* Takes an event out of those of this CPU: whether it was there. */
static inline bool take(unsigned int event)
{
	bool was;

	__asm__ volatile("lock btrq %2, %0"
			 : "+m"(*(uint64_t *)&vcpu->events), "=@ccc"(was)
			 : "r"((uint64_t)event));
	return was;
}

/* Returns RAX; ret_rdx may be NULL. */
int64_t hypercall(uint64_t call, uint64_t a, uint64_t b, uint64_t c, uint64_t *ret_rdx);

/* Sleeps until so; what makes it so is an event.  Masked while it looks: else the event could come
 * just before it sleeps. */
#define halt_until(condition)                                                                      \
	do {                                                                                       \
		vcpu->masked = 1;                                                                  \
		while (!(condition)) {                                                             \
			check(hypercall(CAISSON_CALL_HALT, 0, 0, 0, NULL) == 0);                   \
			vcpu->masked = 0;                                                          \
			hypercall(CAISSON_CALL_EVENTS, 0, 0, 0, NULL);                             \
			vcpu->masked = 1;                                                          \
		}                                                                                  \
		vcpu->masked = 0;                                                                  \
		hypercall(CAISSON_CALL_EVENTS, 0, 0, 0, NULL);                                     \
	} while (0)

/* Called on an exception or event; true: go on with `t`. */
extern bool (*on_trap)(struct trap *t);
/* Called on a system call of ring 3: number and two arguments; its result is the caller's RAX. */
extern uint64_t (*on_syscall)(uint64_t number, uint64_t a, uint64_t b);

/* Runs a function in ring 3 until it makes the system call SYSCALL_EXIT; what it said there. */
#define SYSCALL_EXIT 60
uint64_t user_run(void (*function)(void));
static inline __attribute__((always_inline)) uint64_t user_call(uint64_t number, uint64_t a,
								uint64_t b)
{
	__asm__ volatile("syscall"
			 : "+a"(number), "+D"(a), "+S"(b)
			 :
			 : "rcx", "r11", "rdx", "r8", "r9", "r10", "memory");
	return number;
}

/* Executes an instruction sequence at `function`, which returns; the vector it faulted with, or -1.
 * The error code is in `caught`, the address in vcpu->cr2. */
int fault_of(void (*function)(void));
extern struct caisson_frame caught;

/* Physical addresses. */
uint64_t frame(unsigned int n);		/* of the TABLE block */
uint64_t physical(const void *address); /* of memory at GUEST_BASE */
uint64_t entry(uint64_t table, unsigned int index);
int64_t set(uint64_t table, unsigned int index, uint64_t value);
/* Fails if that is not refused, or changes the entry all the same. */
void set_refused(uint64_t at, unsigned int index, uint64_t value);
/* A new table of `level`. */
uint64_t table(unsigned int level);
/* Maps a page with tables made as needed; -errno. */
int64_t map(uint64_t address, uint64_t value);

#endif
