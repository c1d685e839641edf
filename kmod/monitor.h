/* SPDX-License-Identifier: GPL-2.0-only */
/* What the module's files share.  Each function is described where it is defined. */
#ifndef CAISSON_MONITOR_H
#define CAISSON_MONITOR_H

#include <linux/hrtimer.h>
#include <linux/kref.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/types.h>
#include <linux/wait.h>

#include "layout.h"
#include "rules.h"
#include "uapi/caisson.h"

struct caisson_irq;
struct caisson_sandbox;
struct caisson_vcpu;
struct eventfd_ctx;
struct file;
struct page;

/* counters.c */
enum caisson_counter {
	COUNT_ENTER, /* stays in a guest */
	COUNT_EVENT, /* of them, those that began with an event */
	COUNT_HYPERCALL,
	COUNT_GATE,	 /* of them, those that the pks gate answered */
	COUNT_INTERRUPT, /* of the host, that ended a stay */
	COUNT_NMI,
	COUNT_NMI_ENTERING,   /* of them, those before the guest's first instruction */
	COUNT_NMI_ENTRY_CODE, /* of them, those in the entry code */
	COUNT_NMI_GATE,	      /* of these, those in the pks gate */
	COUNT_KILL,
	COUNT_REVOKE,	 /* sandboxes that have lost a window */
	COUNT_SHOOTDOWN, /* of translations that other vCPUs may have */
	COUNT_RAISE,	 /* hypercalls that raise events */
	COUNT_IRQ,	 /* events by eventfd */
	COUNT_DOORBELL,
	COUNT_SANDBOX,
	COUNT_SANDBOX_LIVE, /* goes down again */
	COUNT_SLEEP,	    /* HALTs that waited */
	COUNT_MONITOR,	    /* calls that the monitor process answered */
	COUNT_CALL_FIRST,   /* hypercalls by number, the last of them: any other number */
	COUNT_CALL_LAST = COUNT_CALL_FIRST + CAISSON_CALL_CHANGES + 1,
	CAISSON_COUNTERS,
};

void caisson_count(enum caisson_counter which);
void caisson_count_n(enum caisson_counter which, u64 n);
void caisson_uncount(enum caisson_counter which);
void caisson_count_call(u64 call);
void caisson_counters_init(void);
void caisson_counters_done(void);

/* host.c: what this machine must be, and where its tables are. */
struct caisson_cpu {
	u64 gdt, tss; /* linear addresses; 0: the CPU was not there when the module was loaded */
};

struct caisson_host {
	u64 idt;
	u64 absent;		  /* struct caisson_tables */
	u64 gate;		  /* gate.h; 0: the cr3 gate */
	bool five_levels;	  /* of page tables */
	u64 split;		  /* struct caisson_tables */
	struct caisson_cpu *cpus; /* nr_cpu_ids */
};

int caisson_host_check(void);
int caisson_host_survey(struct caisson_host *host);
void caisson_host_done(struct caisson_host *host);

/* area.c: the reserved slot, in the host and in the guests. */
int caisson_area_init(const struct caisson_host *host);
void caisson_area_done(void);
struct caisson_host_context *caisson_area_context(unsigned int cpu, u64 *ret_address);

/* The slot as one vCPU has it. */
struct caisson_view {
	u64 slot;		 /* the value of top-level entry 508 */
	void *page[GUEST_PAGES]; /* PAGE_*, as we reach them; NULL: a hole, or code */
	void **tables;		 /* what to free */
	unsigned int tables_n;
};

int caisson_view_init(struct caisson_view *view, const struct caisson_host *host);
void caisson_view_done(struct caisson_view *view);
void caisson_view_link(struct caisson_view *view, u64 address, u64 entry);

/* gate.c; gate.h is for who needs what is mapped there. */
enum caisson_gate_state {
	GATE_UNKNOWN, /* nobody has run yet */
	GATE_NONE,    /* the cr3 gate */
	GATE_OPEN,
};

struct caisson_gate {
	enum caisson_gate_state state; /* changes under the sandbox's lock */
	u64 *pages[4];		       /* the table of level 2, and those of level 1 */
	struct caisson_block *blocks;  /* what is mapped */
};

/* Flags of what is behind the key. */
#define CAISSON_GATE_FLAGS                                                                         \
	(CAISSON_PTE_P | CAISSON_PTE_W | CAISSON_PTE_A | CAISSON_PTE_D | CAISSON_PTE_NX |          \
	 (DUTY(131) ? (u64)GATE_KEY << 59 : 0))

void caisson_gate_open(struct caisson_sandbox *s);
void caisson_gate_late(struct caisson_sandbox *s, struct caisson_vcpu *v);
void caisson_gate_moved(struct caisson_sandbox *s);
void caisson_gate_done(struct caisson_sandbox *s);

/* sandbox.c */
struct caisson_doorbell {
	u64 argument[4]; /* of a call to the monitor that rings it */
	struct eventfd_ctx *eventfd;
};

/* A window, as the monitor process has it mapped. */
struct caisson_lent {
	struct mmu_interval_notifier notifier;
	struct caisson_sandbox *sandbox;
	bool given; /* the rules know it; under the tables' lock */
};

struct caisson_sandbox {
	struct kref ref; /* the descriptor's, and each vCPU's */
	struct mm_struct *mm;
	struct mutex lock;   /* what follows, and blocks */
	struct page **pages; /* pinned; the first of each huge page, pages_n of them */
	unsigned int pages_n;
	unsigned int table_blocks;
	unsigned int vcpus_n, irqs_n, doorbells_n, lent_n;
	/* As many as vcpus_n and doorbells_n say; until the end, so read without the lock. */
	struct caisson_vcpu *vcpus[CAISSON_VCPUS_MAX];
	struct caisson_doorbell doorbells[CAISSON_IOEVENTFDS_MAX];
	struct caisson_irq *irqs; /* a list; only to free them */
	struct caisson_lent lent[CAISSON_WINDOWS_MAX];
	bool revoked; /* a window was: no vCPU enters; set once, under the tables' lock */
	/* A page of its own.  All but roots[].entered under its lock, which is inside `lock`. */
	struct caisson_tables *tables;
	struct caisson_gate gate;
};

extern const struct file_operations caisson_sandbox_fops;
extern struct caisson_host caisson_host;
unsigned long caisson_tables_lock(struct caisson_sandbox *s);
void caisson_tables_unlock(struct caisson_sandbox *s, unsigned long flags);
void caisson_sandbox_put(struct caisson_sandbox *s);
long caisson_operation(struct caisson_sandbox *s, struct caisson_operation *op);
long caisson_changes(struct caisson_sandbox *s, const struct caisson_vcpu_page *page, u32 *at,
		     u32 end);

/* vcpu.c */
enum caisson_vcpu_state {
	VCPU_NEW,     /* has not been told where to begin */
	VCPU_STARTED, /* `registers` are its thread's in CAISSON_RUN, or who holds `lock` */
	VCPU_CLOSED,
};

struct caisson_vcpu {
	struct caisson_sandbox *sandbox;
	u32 number;
	int cpu;	   /* where it runs, or ran last */
	struct mutex lock; /* who holds the ioctl */
	struct caisson_view view;
	u64 *root; /* struct caisson_root */
	u64 *top;  /* with five levels, the table above it; the page that CR3 points to */
	struct caisson_run *run; /* shared with the monitor process: written, and `answer` read */
	enum caisson_vcpu_state state; /* changes under the tables' lock */
	struct caisson_registers registers;
	struct caisson_trap resume; /* where an NMI caught the entry code; if resuming */
	u64 resume_cr2, resume_pkrs;
	bool resuming;
	bool answering; /* the guest waits for run->answer */
	bool dead;
	struct hrtimer timer;
	wait_queue_head_t wait;
	struct task_struct *task; /* in CAISSON_RUN; under RCU */
	/* For tracepoints: the last hypercall; how often it was in since CPU was set up for it, and
	 * what the last time ended; how many calls the pks gate answered. */
	u64 call;
	u32 stays, vector, answered;
};

int caisson_vcpu_open(struct caisson_sandbox *s);
void caisson_vcpu_free(struct caisson_vcpu *v);
struct caisson_vcpu *caisson_vcpu_find(const struct caisson_sandbox *s, u64 number);
long caisson_vcpu_start(struct caisson_vcpu *v, const struct caisson_registers *r);
struct caisson_vcpu_page *caisson_vcpu_page(struct caisson_vcpu *v);
void caisson_vcpu_raise(struct caisson_vcpu *v, unsigned int event);
long caisson_vcpus_leave(struct caisson_sandbox *s, u64 set);
void caisson_vcpus_end(struct caisson_sandbox *s);

/* call.c */
bool caisson_call(struct caisson_vcpu *v);

/* eventfd.c */
int caisson_irq_add(struct caisson_sandbox *s, const struct caisson_irqfd __user *arg);
int caisson_doorbell_add(struct caisson_sandbox *s, const struct caisson_ioeventfd __user *arg);
bool caisson_doorbell_ring(struct caisson_sandbox *s, const u64 argument[4]);
void caisson_eventfds_done(struct caisson_sandbox *s);

/* window.c */
int caisson_window_lend(struct caisson_sandbox *s, struct caisson_window_add __user *arg);
void caisson_windows_done(struct caisson_sandbox *s);

#endif
