// SPDX-License-Identifier: GPL-2.0-only
/*
 * Hypercalls of the outer loop: those that call into the rest of the kernel (timers, wake-ups,
 * eventfds, other CPUs) or are the monitor's.  The CPU is the host's again, with all that keeps a
 * guest from steering its speculation, and interrupts are on.
 */
#include <linux/hrtimer.h>

#include "monitor.h"
#include "mutant.h"
#include "trace.h"

static long timer_set(struct caisson_vcpu *v, u64 ns)
{
	if (ns == 0)
		hrtimer_cancel(&v->timer);
	else
		hrtimer_start(&v->timer, ns_to_ktime(min_t(u64, ns, KTIME_MAX / 2)),
			      HRTIMER_MODE_REL);
	return 0;
}

static long table_call(struct caisson_vcpu *v, struct caisson_registers *r)
{
	struct caisson_operation op = {.call = r->rax, .a = r->rdi, .b = r->rsi};
	long error = caisson_operation(v->sandbox, &op);

	if (op.call == CAISSON_CALL_ENTRY_SET)
		r->rdx = op.old;
	return error;
}

/* What the inner loop began, and left in RDX. */
static long changes_call(struct caisson_vcpu *v, struct caisson_registers *r)
{
	u32 at = r->rdx;
	const long error = caisson_changes(v->sandbox, caisson_vcpu_page(v), &at, r->rsi);

	r->rdx = at;
	return error;
}

static long start(struct caisson_vcpu *v, const struct caisson_registers *r)
{
	struct caisson_vcpu *other = caisson_vcpu_find(v->sandbox, r->rdi);
	const struct caisson_registers first = {
		.rip = r->rdx, .cs = CAISSON_CS, .rdi = r->r8, .rsi = r->rdi, .root = r->rsi};

	if (!other)
		return -ENOENT;
	return r->rsi ? caisson_vcpu_start(other, &first) : -EPERM;
}

static long raise(struct caisson_vcpu *v, u64 set, u64 event)
{
	const u32 n = smp_load_acquire(&v->sandbox->vcpus_n);

	if (!HOLDS(122, event < 64))
		return -EINVAL;
	caisson_count(COUNT_RAISE);
	for (u32 i = 0; i < n; i++)
		if (set >> i & 1)
			caisson_vcpu_raise(v->sandbox->vcpus[i], event);
	return 0;
}

/* True: the monitor process has to answer. */
static bool monitor_call(struct caisson_vcpu *v, struct caisson_registers *r)
{
	const u64 argument[] = {r->rdi, r->rsi, r->rdx, r->r8};

	if (caisson_doorbell_ring(v->sandbox, argument)) {
		r->rax = 0;
		return false;
	}
	caisson_count(COUNT_MONITOR);
	trace_caisson_monitor(v, argument);
	v->run->exit = CAISSON_EXIT_MONITOR;
	memcpy(v->run->argument, argument, sizeof(argument));
	v->answering = true;
	return true;
}

/* The hypercall in v->registers.  True: run->exit says more. */
bool caisson_call(struct caisson_vcpu *v)
{
	struct caisson_registers *r = &v->registers;

	switch (r->rax) {
	case CAISSON_CALL_MONITOR:
		return monitor_call(v, r);
	case CAISSON_CALL_TIMER:
		r->rax = timer_set(v, r->rdi);
		break;
	case CAISSON_CALL_FLUSH:
		r->rax = DUTY(123) ? caisson_vcpus_leave(v->sandbox, r->rdi) : 0;
		break;
	case CAISSON_CALL_CHANGES:
		r->rax = changes_call(v, r);
		break;
	case CAISSON_CALL_START:
		r->rax = start(v, r);
		break;
	case CAISSON_CALL_RAISE:
		r->rax = raise(v, r->rdi, r->rsi);
		break;
	default:
		r->rax = table_call(v, r);
	}
	return false;
}
