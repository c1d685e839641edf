// SPDX-License-Identifier: GPL-2.0-only
/*
 * The pks gate's C code: hypercalls answered in the guest's own address space.  Ring 0, interrupts
 * off, PKRS open, on the vCPU's gate stack.
 *
 * Linked by itself, to the address that it has in the guests (gate_code.lds.S), so nothing of the
 * kernel's can be in it; nor is any data of its own.  The page-table rules are those of the host,
 * with other places (rules.c).  No address of the guest's is ever used, but as a number to look up:
 * nothing here can fault.
 */
#include "gate.h"
#include "rules.c"

#define FLAGS_GUESTS 0x250dd5 /* CF, PF, AF, ZF, SF, TF, DF, OF, RF, AC, ID */

#define THIS ((struct caisson_gate_vcpu *)(AREA + PAGE_GATE * 4096))
#define VCPU_PAGE ((struct caisson_vcpu_page *)CAISSON_VCPU_PAGE)

/* Never waits: who has it may be a host's thread, of which the hypervisor below has taken the CPU.
 */
static bool try_lock(struct caisson_tables *t)
{
	__u32 expected = 0;

	return __atomic_compare_exchange_n(&t->lock, &expected, (__u32)THIS->number + 1, false,
					   __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

static void unlock(struct caisson_tables *t)
{
	__atomic_store_n(&t->lock, 0, __ATOMIC_RELEASE);
}

/*
 * As if it had left and entered: all translations are forgotten between caisson_root_enter() and
 * the guest's next instruction.  None of them is global.  A CR3 without bit 63 flushes its PCID.
 */
static void flush(struct caisson_tables *t)
{
	__u64 cr3;

	THIS->known = __atomic_load_n(&t->removed, __ATOMIC_SEQ_CST);
	caisson_root_enter(t, (__u32)THIS->number);
	__asm__ volatile("mov %%cr3, %0\n\tmov %0, %%cr3" : "=r"(cr3) : : "memory");
}

static bool any_other_in_guest(const struct caisson_tables *t, __u64 set)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	for (__u32 i = 0; i < CAISSON_VCPUS_MAX; i++)
		if (set >> i & 1 && i != THIS->number &&
		    __atomic_load_n(&t->roots[i].entered, __ATOMIC_SEQ_CST))
			return true;
	return false;
}

static long changes(struct caisson_tables *t, struct caisson_trap *r)
{
	__u32 at = r->rdi;
	long error;

	if (!HOLDS(130, r->rsi <= CAISSON_CHANGES_MAX) || r->rdi > r->rsi) {
		r->rdx = r->rdi;
		return -EINVAL;
	}
	error = caisson_changes_make(t, VCPU_PAGE->changes, &at, r->rsi);
	/* The host would begin at RDI again: what is made is said first. */
	if (error == -EAGAIN && at > r->rdi)
		error = 0;
	if (error != -EAGAIN)
		r->rdx = at;
	return error;
}

/* With the lock.  EAGAIN: for the host; nothing was changed. */
static long answer(struct caisson_tables *t, struct caisson_trap *r)
{
	long error;
	__u64 old = 0;

	if (r->rax == CAISSON_CALL_ENTRY_SET) {
		error = caisson_entry_set(t, r->rdi, r->rsi, &old);
		r->rdx = old;
		return error;
	}
	if (r->rax == CAISSON_CALL_CHANGES)
		return changes(t, r);
	if (r->rax == CAISSON_CALL_TABLE_NEW)
		return caisson_table_new(t, r->rdi, r->rsi);
	if (r->rax == CAISSON_CALL_TABLE_FREE)
		return caisson_table_free(t, r->rdi);
	if (r->rax == CAISSON_CALL_ROOT && HOLDS(113, r->rdi))
		return caisson_root_set(t, (__u32)THIS->number, r->rdi);
	return -EPERM;
}

static bool answer_locked(struct caisson_tables *t, struct caisson_trap *r)
{
	long error;

	if (!try_lock(t))
		return false;
	/* What is mapped here is not all that there is, or not the same. */
	if (t->moved) {
		unlock(t);
		return false;
	}
	error = answer(t, r);
	unlock(t);
	if (error == -EAGAIN)
		return false;
	r->rax = error;
	return true;
}

/* Whether it is answered; `r` is as it was if not. */
static __attribute__((used)) bool gate_call(struct caisson_trap *r, struct caisson_tables *t)
{
	const __u64 call = r->rax;

	if (call == CAISSON_CALL_VERSION) {
		r->rax = 0;
		r->rdx = CAISSON_API;
	} else if (call == CAISSON_CALL_FLUSH) {
		if (any_other_in_guest(t, r->rdi))
			return false;
		r->rax = 0;
	} else if (!answer_locked(t, r)) {
		return false;
	}
	if (call == CAISSON_CALL_FLUSH || call == CAISSON_CALL_ROOT ||
	    __atomic_load_n(&t->removed, __ATOMIC_SEQ_CST) != THIS->known)
		flush(t);
	THIS->calls[call]++;
	THIS->answered++;
	r->rflags = (r->rflags & FLAGS_GUESTS) | FLAGS_FORCED;
	return true;
}

/* The first of the code. */
__asm__(".pushsection .text.entry, \"ax\"\n"
	"jmp gate_call\n"
	".popsection");
