// SPDX-License-Identifier: GPL-2.0-only
/*
 * A vCPU: a thread of the monitor process in ioctl(CAISSON_RUN).
 *
 * Two loops.  The inner one runs with interrupts off and the CPU set up for the guest: into the
 * guest, out, and in again where a hypercall could be answered at once: by the page-table rules,
 * which call nothing of the kernel's and have no indirect branch.  The outer one is an ordinary
 * thread: interrupts are let in, signals and the scheduler looked at, a halted guest sleeps, the
 * other hypercalls are answered (call.c).
 */
#include <linux/anon_inodes.h>
#include <linux/cpumask.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/nospec.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/uaccess.h>
#include <asm/cpufeature.h>
#include <asm/debugreg.h>
#include <asm/fpu/api.h>
#include <asm/msr.h>
#include <asm/processor-flags.h>
#include <asm/special_insns.h>

#include "compat.h"
#include "gate.h"
#include "monitor.h"
#include "mutant.h"
#include "trace.h"

/* The guest's translations are tagged with this; the host's own tags are below 16 and above 2047.
 */
#define GUEST_PCID 0x3ff

/*
 * What of the host's CR4 stays.  Without PGE there are no global translations, neither the host's
 * (the change flushes them) nor new ones made by host code between two stays in the guest.  Without
 * CET, PKE, PCE, TSD, SMAP, LASS, UINTR none of these reach into the guest.  VMXE and SMXE cannot
 * be cleared.
 */
#define CR4_PKS (1ul << 24)
#define CR4_KEEP                                                                                   \
	(X86_CR4_DE | X86_CR4_PSE | X86_CR4_PAE | X86_CR4_MCE | X86_CR4_OSFXSR |                   \
	 X86_CR4_OSXMMEXCPT | X86_CR4_VMXE | X86_CR4_SMXE | X86_CR4_FSGSBASE | X86_CR4_PCIDE |     \
	 X86_CR4_OSXSAVE | X86_CR4_SMEP | X86_CR4_LA57)

#define FLAGS_GUESTS                                                                               \
	(X86_EFLAGS_CF | X86_EFLAGS_PF | X86_EFLAGS_AF | X86_EFLAGS_ZF | X86_EFLAGS_SF |           \
	 X86_EFLAGS_TF | X86_EFLAGS_DF | X86_EFLAGS_OF | X86_EFLAGS_RF | X86_EFLAGS_AC |           \
	 X86_EFLAGS_ID)

static int ibpb = 1;
module_param(ibpb, int, 0400);
MODULE_PARM_DESC(
	ibpb,
	"branch predictor barrier: 0 never (guests can steer the host's speculation), 1 before "
	"the host's own code runs, 2 before page-table calls, too (1 is 2 on CPUs that need it)");

/* What entries of level 5 allow: the rules are about those of level 4. */
#define TOP_FLAGS (CAISSON_PTE_P | CAISSON_PTE_W | CAISSON_PTE_U | CAISSON_PTE_A)

/* What the inner loop says to the outer one. */
enum next {
	NEXT_AGAIN, /* into the guest again; said only of a hypercall that is traced */
	NEXT_LEFT,  /* an interrupt was handled */
	NEXT_CALL,  /* a hypercall for the outer loop */
	NEXT_HALT,
	NEXT_USER, /* to user space and back, for the FPU */
	NEXT_EXIT, /* run->exit says */
	NEXT_REVOKED,
	NEXT_ERROR,
};

struct host_state {
	u64 cr4, star, lstar, cstar, fmask, sysenter_cs, dr7;
	u32 pkru;
};

struct caisson_vcpu_page *caisson_vcpu_page(struct caisson_vcpu *v)
{
	return v->view.page[PAGE_VCPU];
}

static u64 canonical(u64 address)
{
	return DUTY(203) ? (u64)((s64)(address << 16) >> 16) : address;
}

/* --- The CPU, set up for the guest and back
 * --------------------------------------------------------- */

static void cr4_write(u64 value)
{
	asm volatile("mov %0, %%cr4" : : "r"(value) : "memory");
}

static void host_to_guest(struct host_state *h)
{
	asm volatile("mov %%cr4, %0" : "=r"(h->cr4));
	asm volatile("mov %%dr7, %0" : "=r"(h->dr7));
	rdmsrq(MSR_STAR, h->star);
	rdmsrq(MSR_LSTAR, h->lstar);
	rdmsrq(MSR_CSTAR, h->cstar);
	rdmsrq(MSR_SYSCALL_MASK, h->fmask);
	rdmsrq(MSR_IA32_SYSENTER_CS, h->sysenter_cs);
	h->pkru = h->cr4 & X86_CR4_PKE ? rdpkru() : 0;

	asm volatile("mov %0, %%dr7" : : "r"(0x400ul));
	/* KVM leaves its guest's in it until somebody returns to user space. */
	wrmsrq(MSR_STAR, (u64)__USER32_CS << 48 | (u64)__KERNEL_CS << 32);
	wrmsrq(MSR_LSTAR, AREA + caisson_stub_syscall);
	/* 32-bit code has no segment to run in; all the same. */
	wrmsrq(MSR_CSTAR, AREA + caisson_stub_syscall);
	wrmsrq(MSR_SYSCALL_MASK, ~(u64)X86_EFLAGS_FIXED & 0xffffffff);
	wrmsrq(MSR_IA32_SYSENTER_CS, 0);
	if (caisson_host.gate && DUTY(134))
		wrmsrq(GATE_MSR_PKRS, PKRS_SHUT);
	cr4_write((h->cr4 & (CR4_KEEP | (DUTY(107) ? 0 : X86_CR4_PKE) |
			     (DUTY(200) ? 0 : X86_CR4_PGE) | (DUTY(201) ? 0 : X86_CR4_CET))) |
		  (caisson_host.gate && DUTY(133) ? CR4_PKS : 0) |
		  (boot_cpu_has(X86_FEATURE_UMIP) && DUTY(108) ? X86_CR4_UMIP : 0));
}

/*
 * Whether returns may go where ring 1 has trained the CPU to go, whatever calls there were: AMD's
 * before Zen 5.  (Intel's do so when their buffer is empty, and `leave` has filled it.)
 */
static bool returns_are_trained(void)
{
	return boot_cpu_data.x86_vendor != X86_VENDOR_INTEL &&
	       (boot_cpu_has_bug(X86_BUG_RETBLEED) || boot_cpu_has_bug(X86_BUG_SRSO));
}

static void guest_to_host(const struct host_state *h)
{
	u64 dr6;

	if (ibpb && boot_cpu_has(X86_FEATURE_IBPB))
		wrmsrq(MSR_IA32_PRED_CMD, PRED_CMD_IBPB);
	cr4_write(h->cr4);
	/* As nobody but us has it. */
	if (caisson_host.gate)
		wrmsrq(GATE_MSR_PKRS, PKRS_OPEN);
	wrmsrq(MSR_STAR, h->star);
	wrmsrq(MSR_LSTAR, h->lstar);
	wrmsrq(MSR_CSTAR, h->cstar);
	wrmsrq(MSR_SYSCALL_MASK, h->fmask);
	wrmsrq(MSR_IA32_SYSENTER_CS, h->sysenter_cs);
	/* A trap of the guest's, seen by nobody here, must not be taken for the host's next. */
	asm volatile("mov %%dr6, %0" : "=r"(dr6));
	if (dr6 != DR6_RESERVED)
		asm volatile("mov %0, %%dr6" : : "r"((u64)DR6_RESERVED));
	asm volatile("mov %0, %%dr7" : : "r"(h->dr7));
	if (h->cr4 & X86_CR4_PKE)
		wrpkru(h->pkru);
}

/* Whether the thread's own LDT is loaded: in the guest, its addresses would be the guest's to fill.
 */
static bool has_ldt(void)
{
	u16 ldt;

	asm volatile("sldt %0" : "=r"(ldt));
	return ldt != 0 && DUTY(109);
}

/* --- Ends
 * ------------------------------------------------------------------------------------------- */

static enum next kill(struct caisson_vcpu *v, const struct caisson_trap *t, const char *why)
{
	caisson_count(COUNT_KILL);
	v->dead = true;
	v->run->exit = CAISSON_EXIT_KILLED;
	scnprintf(v->run->text, sizeof(v->run->text),
		  "%s (vector %llu, error %#llx, at %#llx:%#llx)", why, t->vector, t->error, t->cs,
		  t->rip);
	return NEXT_EXIT;
}

static void kill_revoked(struct caisson_vcpu *v)
{
	caisson_count(COUNT_KILL);
	v->dead = true;
	v->run->exit = CAISSON_EXIT_KILLED;
	strscpy(v->run->text,
		"a window was taken away: its function was reset, removed or unmapped",
		sizeof(v->run->text));
}

static const char *why_monitor_faulted(const struct caisson_trap *t)
{
	switch (t->vector) {
	case 6:
		return "the kernel stack is in the monitor's slot";
	case 12:
	case 13:
		return "an entry point or a stack is not an address";
	case 14:
		return "the kernel stack cannot be written";
	default:
		return "a fault in the monitor's entry code";
	}
}

/* --- Hypercalls
 * ------------------------------------------------------------------------------------- */

static enum next table_call(struct caisson_vcpu *v)
{
	struct caisson_registers *r = &v->registers;
	struct caisson_operation op = {.call = r->rax, .a = r->rdi, .b = r->rsi};
	long error = caisson_operation(v->sandbox, &op);

	if (error == -EAGAIN)
		return NEXT_CALL;
	r->rax = error;
	if (op.call == CAISSON_CALL_ENTRY_SET)
		r->rdx = op.old;
	return NEXT_AGAIN;
}

/* The page is this vCPU's alone; where it has come to is in RDX. */
static enum next changes_call(struct caisson_vcpu *v)
{
	struct caisson_registers *r = &v->registers;
	u32 at = r->rdi;
	long error;

	r->rdx = r->rdi;
	if (!HOLDS(130, r->rsi <= CAISSON_CHANGES_MAX) || r->rdi > r->rsi) {
		r->rax = -EINVAL;
		return NEXT_AGAIN;
	}
	error = caisson_changes(v->sandbox, caisson_vcpu_page(v), &at, r->rsi);
	r->rdx = at;
	if (error == -EAGAIN)
		return NEXT_CALL;
	r->rax = error;
	return NEXT_AGAIN;
}

/* Whether one of a set, but this vCPU, is in the guest.  A full barrier, as
 * caisson_vcpus_leave(). */
static bool any_in_guest(const struct caisson_vcpu *v, u64 set)
{
	const u32 n = smp_load_acquire(&v->sandbox->vcpus_n);

	smp_mb();
	for (u32 i = 0; i < n; i++)
		if (set >> i & 1 && READ_ONCE(v->sandbox->tables->roots[i].entered))
			return true;
	return false;
}

static long root_set(struct caisson_vcpu *v, u64 address)
{
	struct caisson_sandbox *s = v->sandbox;
	unsigned long flags;
	long error;

	flags = caisson_tables_lock(s);
	error = caisson_root_set(s->tables, v->number, address);
	caisson_tables_unlock(s, flags);
	return error;
}

static enum next hypercall(struct caisson_vcpu *v)
{
	struct caisson_registers *r = &v->registers;

	caisson_count_call(r->rax);
	v->call = r->rax;
	switch (r->rax) {
	case CAISSON_CALL_TABLE_NEW:
	case CAISSON_CALL_TABLE_FREE:
	case CAISSON_CALL_ENTRY_SET:
		return table_call(v);
	case CAISSON_CALL_CHANGES:
		return changes_call(v);
	case CAISSON_CALL_HALT:
		r->rax = 0;
		return NEXT_HALT;
	case CAISSON_CALL_ROOT:
		/* 0 would be none at all. */
		r->rax = HOLDS(113, r->rdi) ? root_set(v, r->rdi) : -EPERM;
		return NEXT_AGAIN;
	case CAISSON_CALL_MONITOR:
	case CAISSON_CALL_TIMER:
	case CAISSON_CALL_START:
	case CAISSON_CALL_RAISE:
		return NEXT_CALL;
	case CAISSON_CALL_FLUSH:
		if (any_in_guest(v, r->rdi))
			return NEXT_CALL;
		fallthrough;
	case CAISSON_CALL_EVENTS:
		/* Entering delivers events, and flushes. */
		r->rax = 0;
		return NEXT_AGAIN;
	case CAISSON_CALL_VERSION:
		r->rax = 0;
		r->rdx = CAISSON_API;
		return NEXT_AGAIN;
	default:
		r->rax = -ENOSYS;
		return NEXT_AGAIN;
	}
}

/* --- The inner loop
 * --------------------------------------------------------------------------------- */

/* What ring 1 or 3 may come back with, whatever is in `registers`. */
static void trap_fill(struct caisson_trap *t, const struct caisson_registers *r)
{
	const bool user = (r->cs & 3) == 3;

	memcpy(t, r, offsetof(struct caisson_trap, vector));
	t->error = 0;
	t->rip = canonical(r->rip);
	t->cs = user ? CAISSON_USER_CS : CAISSON_CS;
	if (!DUTY(110))
		t->cs = r->cs;
	t->rflags = (r->rflags & (DUTY(111) ? FLAGS_GUESTS : ~0ull)) | FLAGS_FORCED;
	t->rsp = r->rsp;
	t->ss = user ? CAISSON_USER_SS : CAISSON_SS;
}

static void *trap_in(void *page)
{
	return page + PAGE_SIZE - TRAP_SIZE;
}

/* Sets the guest's side up for one stay. */
static void enter_prepare(struct caisson_vcpu *v, struct caisson_switch *s)
{
	struct caisson_vcpu_page *shared = caisson_vcpu_page(v);
	struct caisson_constants *constants = v->view.page[PAGE_CONST];
	struct caisson_host_context *context;
	struct caisson_trap *t = trap_in(v->view.page[PAGE_ENTER]);
	u64 host_cr3;

	context = caisson_area_context(smp_processor_id(), &s->context);
	context->rsp = 0;
	asm volatile("mov %%cr3, %0" : "=r"(host_cr3));
	constants->host_cr3 = host_cr3;
	constants->host_context = s->context;
	constants->barrier = boot_cpu_has(X86_FEATURE_IBPB) &&
			     (ibpb > 1 || (ibpb && returns_are_trained()));
	s->entry = AREA + caisson_stub_enter;
	/* Who traces calls sees them all. */
	constants->gate = v->sandbox->gate.state == GATE_OPEN && !trace_caisson_hypercall_enabled()
				  ? caisson_host.gate
				  : 0;
	s->fs_base = canonical(v->registers.fs_base);
	s->gs_base = canonical(v->registers.gs_base);
	if (v->resuming) {
		*t = v->resume;
		/* `exception` may not have read it yet.  No fault is taken from here on. */
		if (DUTY(129))
			native_write_cr2(v->resume_cr2);
		if (caisson_host.gate && DUTY(135))
			wrmsrq(GATE_MSR_PKRS, v->resume_pkrs);
		return;
	}
	if (READ_ONCE(shared->events) && (!READ_ONCE(shared->masked) || !DUTY(112))) {
		caisson_count(COUNT_EVENT);
		t = trap_in(v->view.page[PAGE_STACK]);
		s->entry = AREA + caisson_stub_enter_event;
	}
	trap_fill(t, &v->registers);
	t->vector = CAISSON_VECTOR_EVENT;
}

/* The trap at an address of the guest's area, or NULL. */
static const struct caisson_trap *trap_at(const struct caisson_vcpu *v, u64 address)
{
	const u64 page = (address - AREA) >> PAGE_SHIFT, at = address & ~PAGE_MASK;

	if (page >= GUEST_PAGES || !v->view.page[page] || at + TRAP_SIZE > PAGE_SIZE)
		return NULL;
	return v->view.page[page] + at;
}

static bool is_hosts(u64 vector)
{
	return vector == 2 || vector == 18 || (vector >= 32 && vector < 256);
}

/* Whether an address of ring 0 is the pks gate's, where PKRS may be open and the lock be held. */
static bool is_gate(u64 rip)
{
	const u64 at = rip - AREA;

	return (at >= caisson_stub_gate && at < caisson_stub_gate_end) ||
	       (at >= PAGE_GATE_CODE * PAGE_SIZE &&
		at < (PAGE_GATE_CODE + GATE_CODE_PAGES) * PAGE_SIZE);
}

/* A fault in the gate cannot be.  What it was at may be half done: nobody goes by it again. */
static void gate_broken(struct caisson_vcpu *v)
{
	struct caisson_tables *t = v->sandbox->tables;

	WARN_ONCE(1, "caisson: a fault in the pks gate");
	WRITE_ONCE(t->moved, 1);
	cmpxchg_release(&t->lock, v->number + 1, 0);
}

/*
 * A trap out of our entry code: an NMI's, which is resumed, or a fault's.  So is the single step of
 * a process that makes a system call: a CPU looks at TF when `syscall` has cleared it, but what
 * emulates one may not, and a process must not end its sandbox by it.  None of that is in the gate.
 */
static enum next leave_ring0(struct caisson_vcpu *v, const struct caisson_trap *t, u8 *ret_replay)
{
	const u64 at = t->rip - AREA;
	const bool gate = is_gate(t->rip);

	if (t->vector != 2 && t->vector != 18 && (gate || t->vector != 1 || !DUTY(204))) {
		if (gate)
			gate_broken(v);
		return kill(v, t, why_monitor_faulted(t));
	}
	if (t->vector != 1)
		*ret_replay = t->vector;
	if (at >= caisson_stub_enter && at < caisson_stub_enter_end) {
		caisson_count(COUNT_NMI_ENTERING);
		return NEXT_LEFT; /* the guest was not entered: as before */
	}
	caisson_count(COUNT_NMI_ENTRY_CODE);
	v->resume = *t;
	v->resume_cr2 = native_read_cr2();
	if (gate)
		caisson_count(COUNT_NMI_GATE);
	if (caisson_host.gate)
		rdmsrq(GATE_MSR_PKRS, v->resume_pkrs);
	v->resuming = DUTY(114);
	/* It may hold another CPU's addresses by now: from its start again. */
	if (at >= caisson_stub_leave && at < caisson_stub_leave_end)
		v->resume.rip = AREA + caisson_stub_leave;
	return NEXT_LEFT;
}

static enum next leave_handle(struct caisson_vcpu *v, const struct caisson_trap *t, u8 *ret_replay)
{
	struct caisson_registers *r = &v->registers;

	v->vector = t->vector;
	v->stays++;
	if (is_hosts(t->vector))
		caisson_count(t->vector == 2 ? COUNT_NMI : COUNT_INTERRUPT);
	if ((t->cs & 3) == 0)
		return leave_ring0(v, t, ret_replay);
	v->resuming = false;
	memcpy(r, t, offsetof(struct caisson_trap, vector));
	r->rip = t->rip;
	r->cs = t->cs;
	r->rflags = t->rflags;
	r->rsp = t->rsp;
	r->ss = t->ss;
	if (t->vector == VECTOR_HYPERCALL)
		return hypercall(v);
	if (is_hosts(t->vector)) {
		*ret_replay = t->vector;
		return NEXT_LEFT;
	}
	return kill(v, t, t->vector == 8 ? "a double fault" : "an exception that cannot be");
}

/* What the pks gate answered meanwhile. */
static void count_answered(struct caisson_vcpu *v)
{
	struct caisson_gate_vcpu *g = v->view.page[PAGE_GATE];

	if (!g || !g->answered)
		return;
	caisson_count_n(COUNT_HYPERCALL, g->answered);
	caisson_count_n(COUNT_GATE, g->answered);
	v->answered += g->answered;
	g->answered = 0;
	for (unsigned int i = 0; i < ARRAY_SIZE(g->calls); i++) {
		caisson_count_n(COUNT_CALL_FIRST + i, g->calls[i]);
		g->calls[i] = 0;
	}
}

/*
 * Whether a window was taken away: looked at when the others can see that we are entering (see
 * caisson_vcpus_end()).  The pks gate may have the tables' lock, and is let through in any case: it
 * was entered since interrupts went off, so whoever took the window has the CPU's interrupt
 * pending, and that is what comes when the gate is through, before the guest.
 */
static bool is_over(const struct caisson_vcpu *v)
{
	return READ_ONCE(v->sandbox->revoked) && !(v->resuming && is_gate(v->resume.rip)) &&
	       DUTY(146);
}

/* One stay in the guest. */
static enum next stay(struct caisson_vcpu *v, u8 *ret_replay)
{
	struct caisson_tables *tables = v->sandbox->tables;
	struct caisson_switch s;
	const struct caisson_trap *t;

	s.cr3 = __pa(v->top ?: v->root) | (native_read_cr4() & X86_CR4_PCIDE ? GUEST_PCID : 0);
	caisson_count(COUNT_ENTER);
	s.verw = compat_verw_clears();
	enter_prepare(v, &s);
	if (v->view.page[PAGE_GATE])
		((struct caisson_gate_vcpu *)v->view.page[PAGE_GATE])->known =
			READ_ONCE(tables->removed);
	caisson_root_enter(tables, v->number);
	if (is_over(v)) {
		caisson_root_leave(tables, v->number);
		return NEXT_REVOKED;
	}
	t = trap_at(v, caisson_switch(&s));
	caisson_root_leave(tables, v->number);
	count_answered(v);
	v->registers.fs_base = s.fs_base;
	v->registers.gs_base = s.gs_base;
	if (WARN_ON_ONCE(!t))
		return NEXT_ERROR;
	return leave_handle(v, t, ret_replay);
}

static enum next run_irqs_off_once(struct caisson_vcpu *v)
{
	struct host_state host;
	enum next next;
	u8 replay = 0;

	v->stays = 0;
	v->answered = 0;
	trace_caisson_enter(v);
	host_to_guest(&host);
	do
		next = stay(v, &replay);
	while (next == NEXT_AGAIN && !trace_caisson_hypercall_enabled());
	guest_to_host(&host);
	trace_caisson_leave(v);
	if (replay)
		((void (*)(void))caisson_replay[replay])();
	return next;
}

/*
 * An NMI in the pks gate is handled like any, but interrupts stay off until the gate is through:
 * it may have the tables' lock, and the CPU is all that it needs.
 */
static enum next run_irqs_off(struct caisson_vcpu *v)
{
	enum next next;

	do
		next = run_irqs_off_once(v);
	while (next == NEXT_LEFT && v->resuming && is_gate(v->resume.rip));
	return next;
}

/* --- The outer loop
 * --------------------------------------------------------------------------------- */

static enum next run_once(struct caisson_vcpu *v)
{
	enum next next = NEXT_ERROR;

	preempt_disable();
	local_irq_disable();
	/* A guest holds nobody's RCU up, however long it goes on without sleeping: as in KVM. */
	if (DUTY(128))
		rcu_virt_note_context_switch();
	if (caisson_host.cpus[smp_processor_id()].gdt && !has_ldt()) {
		v->cpu = smp_processor_id();
		/* The guest's registers of FPU, SSE and AVX are this thread's. */
		next = compat_fpu_load() ? run_irqs_off(v) : NEXT_USER;
	}
	local_irq_enable();
	preempt_enable();
	cond_resched();
	return next;
}

static long run(struct caisson_vcpu *v)
{
	for (;;) {
		if (signal_pending(current) || READ_ONCE(v->run->immediate_exit))
			return -EINTR;
		switch (run_once(v)) {
		case NEXT_AGAIN:
			trace_caisson_hypercall(v);
			break;
		case NEXT_REVOKED:
			kill_revoked(v);
			fallthrough;
		case NEXT_EXIT:
			trace_caisson_kill(v);
			return 0;
		case NEXT_ERROR:
			return -EOPNOTSUPP;
		case NEXT_USER:
			return -EINTR;
		case NEXT_CALL:
			if (caisson_call(v))
				return 0;
			trace_caisson_hypercall(v);
			break;
		case NEXT_HALT:
			trace_caisson_hypercall(v);
			if (!READ_ONCE(caisson_vcpu_page(v)->events))
				caisson_count(COUNT_SLEEP);
			wait_event_interruptible(v->wait, READ_ONCE(caisson_vcpu_page(v)->events) ||
								  READ_ONCE(v->sandbox->revoked));
			break;
		default:
			break;
		}
	}
}

/* Until somebody has said where it begins. */
static long wait_for_start(struct caisson_vcpu *v)
{
	if (READ_ONCE(v->run->immediate_exit))
		return -EINTR;
	return wait_event_interruptible(v->wait, smp_load_acquire(&v->state) != VCPU_NEW ||
							 READ_ONCE(v->sandbox->revoked))
		       ? -EINTR
		       : 0;
}

static long vcpu_run(struct caisson_vcpu *v)
{
	long result;

	if (v->dead && DUTY(115))
		return -EINVAL;
	if (wait_for_start(v))
		return -EINTR;
	if (v->answering) {
		v->registers.rax = READ_ONCE(v->run->answer);
		v->answering = false;
	}
	WRITE_ONCE(v->task, current);
	caisson_gate_open(v->sandbox);
	result = run(v);
	v->run->registers = v->registers;
	WRITE_ONCE(v->task, NULL);
	return result;
}

/*
 * Puts a bit in `events`, and has the vCPU look: out of HALT, or out of the guest.  It cannot get
 * in unseen: it looks with interrupts off, and kick_process() interrupts where it is running, which
 * then is the first thing to happen in the guest.  Any context; `event` is below 64.
 */
void caisson_vcpu_raise(struct caisson_vcpu *v, unsigned int event)
{
	struct task_struct *task;

	trace_caisson_raise(v, event);
	set_bit(event, (unsigned long *)&caisson_vcpu_page(v)->events);
	wake_up(&v->wait);
	rcu_read_lock();
	task = READ_ONCE(v->task);
	if (task)
		kick_process(task);
	rcu_read_unlock();
}

static enum hrtimer_restart timer_expired(struct hrtimer *timer)
{
	caisson_vcpu_raise(container_of(timer, struct caisson_vcpu, timer), CAISSON_EVENT_TIMER);
	return HRTIMER_NORESTART;
}

static void nothing(void *unused)
{
}

/*
 * Has the vCPUs of a set leave the guest, those that are in it now; on 0 they have, and entering
 * flushes.  A full barrier: one that enters later does so after what the caller has written.
 */
long caisson_vcpus_leave(struct caisson_sandbox *s, u64 set)
{
	const u32 n = smp_load_acquire(&s->vcpus_n);
	cpumask_var_t cpus;

	if (!zalloc_cpumask_var(&cpus, GFP_KERNEL))
		return -ENOMEM;
	caisson_count(COUNT_SHOOTDOWN);
	smp_mb();
	for (u32 i = 0; i < n; i++)
		if (set >> i & 1 && READ_ONCE(s->tables->roots[i].entered))
			cpumask_set_cpu(READ_ONCE(s->vcpus[i]->cpu), cpus);
	trace_caisson_shootdown(set, cpumask_weight(cpus));
	/* Not the one we are on: no vCPU is in the guest there. */
	preempt_disable();
	smp_call_function_many(cpus, nothing, NULL, true);
	preempt_enable();
	free_cpumask_var(cpus);
	return 0;
}

/*
 * After `revoked` was set: no vCPU is in the guest when this returns, and none enters again.  A
 * vCPU says where it is, and that it enters, before it looks at `revoked` (a full barrier between,
 * as here): it sees that, or its CPU is interrupted, and has handled that when it has left the
 * guest. Whether it is in the guest just now is not asked: it may be between two halves of the pks
 * gate.  (What follows the notifier, the flush of the process's own translations, interrupts the
 * same CPUs, but for those that flush without: no test can show that this is needed.)  Does not
 * sleep, nor allocate; interrupts are on.
 */
void caisson_vcpus_end(struct caisson_sandbox *s)
{
	const u32 n = smp_load_acquire(&s->vcpus_n);

	smp_mb();
	for (u32 i = 0; i < n; i++) {
		smp_call_function_single(READ_ONCE(s->vcpus[i]->cpu), nothing, NULL, true);
		if (DUTY(148))
			wake_up(&s->vcpus[i]->wait);
	}
}

/* --- Life
 * ------------------------------------------------------------------------------------------- */

/* Where it goes on; under the tables' lock. */
static long registers_set(struct caisson_vcpu *v, const struct caisson_registers *r)
{
	struct caisson_tables *t = v->sandbox->tables;
	long error = t->roots[v->number].source ? 0 : -EINVAL;

	if (r->root)
		error = caisson_root_set(t, v->number, r->root);
	if (error)
		return error;
	v->registers = *r;
	v->resuming = false;
	v->answering = false;
	smp_store_release(&v->state, VCPU_STARTED);
	return 0;
}

static long registers_ioctl(struct caisson_vcpu *v, const struct caisson_registers __user *arg)
{
	struct caisson_registers r;
	unsigned long flags;
	long error;

	if (copy_from_user(&r, arg, sizeof(r)))
		return -EFAULT;
	flags = caisson_tables_lock(v->sandbox);
	error = registers_set(v, &r);
	caisson_tables_unlock(v->sandbox, flags);
	return error;
}

/* The same by a sibling, once: its thread, if it is there, waits for it. */
long caisson_vcpu_start(struct caisson_vcpu *v, const struct caisson_registers *r)
{
	unsigned long flags;
	long error = -EBUSY;

	flags = caisson_tables_lock(v->sandbox);
	if (HOLDS(124, v->state == VCPU_NEW))
		error = registers_set(v, r);
	caisson_tables_unlock(v->sandbox, flags);
	wake_up(&v->wait);
	return error;
}

/* NULL: there is none of that number.  It is there as long as the sandbox. */
struct caisson_vcpu *caisson_vcpu_find(const struct caisson_sandbox *s, u64 number)
{
	const u32 n = smp_load_acquire(&s->vcpus_n);

	return number < n ? s->vcpus[array_index_nospec(number, n)] : NULL;
}

static long vcpu_ioctl(struct file *file, unsigned int request, unsigned long argument)
{
	struct caisson_vcpu *v = file->private_data;
	long result;

	if (current->mm != v->sandbox->mm && DUTY(116))
		return -EIO;
	if (mutex_lock_killable(&v->lock))
		return -EINTR;
	switch (request) {
	case CAISSON_SET_REGISTERS:
		result = registers_ioctl(v, (void __user *)argument);
		break;
	case CAISSON_RUN:
		result = vcpu_run(v);
		break;
	default:
		result = -ENOTTY;
	}
	mutex_unlock(&v->lock);
	return result;
}

static int vcpu_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct caisson_vcpu *v = file->private_data;

	if (vma->vm_pgoff || vma_pages(vma) != 1)
		return -EINVAL;
	return vm_insert_page(vma, vma->vm_start, virt_to_page(v->run));
}

void caisson_vcpu_free(struct caisson_vcpu *v)
{
	caisson_view_done(&v->view);
	free_pages((unsigned long)v->root, caisson_host.split != 0);
	free_page((unsigned long)v->top);
	free_page((unsigned long)v->run);
	kfree(v);
}

static int vcpu_release(struct inode *inode, struct file *file)
{
	struct caisson_vcpu *v = file->private_data;
	struct caisson_sandbox *s = v->sandbox;
	unsigned long flags;

	hrtimer_cancel(&v->timer);
	/* Others may know it still, and raise events. */
	flags = caisson_tables_lock(s);
	v->state = VCPU_CLOSED;
	caisson_root_set(s->tables, v->number, 0);
	s->tables->roots[v->number].table = NULL;
	caisson_tables_unlock(s, flags);
	caisson_sandbox_put(s);
	return 0;
}

static const struct file_operations vcpu_fops = {
	.owner = THIS_MODULE,
	.release = vcpu_release,
	.unlocked_ioctl = vcpu_ioctl,
	.mmap = vcpu_mmap,
	.llseek = noop_llseek,
};

static struct caisson_vcpu *vcpu_new(struct caisson_sandbox *s, u32 number)
{
	struct caisson_vcpu *v = kzalloc(sizeof(*v), GFP_KERNEL_ACCOUNT);

	if (!v)
		return NULL;
	v->sandbox = s;
	v->number = number;
	mutex_init(&v->lock);
	init_waitqueue_head(&v->wait);
	hrtimer_setup(&v->timer, timer_expired, CLOCK_MONOTONIC, HRTIMER_MODE_REL);
	v->root = (u64 *)__get_free_pages(GFP_KERNEL_ACCOUNT | __GFP_ZERO, caisson_host.split != 0);
	v->top = caisson_host.five_levels ? (u64 *)get_zeroed_page(GFP_KERNEL_ACCOUNT) : NULL;
	v->run = (struct caisson_run *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	if (!v->root || !v->run || (caisson_host.five_levels && !v->top) ||
	    caisson_view_init(&v->view, &caisson_host) < 0) {
		caisson_vcpu_free(v);
		return NULL;
	}
	v->root[CAISSON_SLOT_INDEX + caisson_host.split] = v->view.slot;
	if (v->top) {
		v->top[0] = __pa(v->root) | TOP_FLAGS;
		v->top[CAISSON_ENTRIES - 1] = __pa(v->root + caisson_host.split) | TOP_FLAGS;
	}
	caisson_vcpu_page(v)->masked = DUTY(125);
	if (v->view.page[PAGE_GATE])
		((struct caisson_gate_vcpu *)v->view.page[PAGE_GATE])->number = number;
	return v;
}

/* The descriptor of a new vCPU; under the sandbox's lock. */
int caisson_vcpu_open(struct caisson_sandbox *s)
{
	const u32 number = s->vcpus_n;
	struct caisson_vcpu *v;
	struct file *file;
	unsigned long flags;
	int fd;

	if (number == CAISSON_VCPUS_MAX)
		return -E2BIG;
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		return fd;
	v = vcpu_new(s, number);
	if (!v) {
		put_unused_fd(fd);
		return -ENOMEM;
	}
	file = anon_inode_getfile("caisson-vcpu", &vcpu_fops, v, O_RDWR);
	if (IS_ERR(file)) {
		caisson_vcpu_free(v);
		put_unused_fd(fd);
		return PTR_ERR(file);
	}
	caisson_gate_late(s, v);
	kref_get(&s->ref);
	flags = caisson_tables_lock(s);
	s->tables->roots[number].table = v->root;
	caisson_gate_moved(s);
	caisson_tables_unlock(s, flags);
	s->vcpus[number] = v;
	smp_store_release(&s->vcpus_n, number + 1);
	fd_install(fd, file);
	return fd;
}
