/* SPDX-License-Identifier: GPL-2.0-only */
/* What the module's files share.  Each function is described where it is defined. */
#ifndef CAISSON_MONITOR_H
#define CAISSON_MONITOR_H

#include <linux/hrtimer.h>
#include <linux/kref.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/wait.h>

#include "layout.h"
#include "rules.h"
#include "uapi/caisson.h"

struct file;
struct page;

/* counters.c */
enum caisson_counter {
	COUNT_ENTER, /* stays in a guest */
	COUNT_EVENT, /* of them, those that began with an event */
	COUNT_HYPERCALL,
	COUNT_INTERRUPT, /* of the host, that ended a stay */
	COUNT_NMI,
	COUNT_NMI_ENTERING,   /* of them, those before the guest's first instruction */
	COUNT_NMI_ENTRY_CODE, /* of them, those in the entry code */
	COUNT_KILL,
	COUNT_SHOOTDOWN, /* table frames that waited for vCPUs to leave */
	COUNT_SANDBOX,
	CAISSON_COUNTERS,
};

void caisson_count(enum caisson_counter which);
void caisson_counters_init(void);
void caisson_counters_done(void);

/* host.c: what this machine must be, and where its tables are. */
struct caisson_cpu {
	u64 gdt, tss; /* linear addresses; 0: the CPU was not there when the module was loaded */
};

struct caisson_host {
	u64 idt;
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

/* sandbox.c */
struct caisson_sandbox {
	struct kref ref; /* the descriptor's, and each vCPU's */
	struct mm_struct *mm;
	struct mutex lock;   /* what follows, and blocks */
	struct page **pages; /* pinned; the first of each huge page, pages_n of them */
	unsigned int pages_n;
	unsigned int table_blocks;
	unsigned int vcpus_n;
	struct caisson_vcpu *vcpus[CAISSON_VCPUS_MAX]; /* set once */
	/* `tables` but roots[].entered; taken with interrupts off; inside `lock`. */
	spinlock_t tables_lock;
	struct caisson_tables tables;
};

extern const struct file_operations caisson_sandbox_fops;
extern struct caisson_host caisson_host;
void caisson_sandbox_put(struct caisson_sandbox *s);
long caisson_operation(struct caisson_sandbox *s, struct caisson_operation *op);

/* vcpu.c */
struct caisson_vcpu {
	struct caisson_sandbox *sandbox;
	u32 number;
	int cpu;	   /* where it runs, or ran last */
	struct mutex lock; /* who holds the ioctl */
	struct caisson_view view;
	u64 *root;		 /* the page that CR3 points to */
	struct caisson_run *run; /* shared with the monitor process: written, and `answer` read */
	struct caisson_registers registers;
	struct caisson_trap resume; /* where an NMI caught the entry code; if resuming */
	bool resuming;
	bool answering; /* the guest waits for run->answer */
	bool dead;
	struct hrtimer timer;
	wait_queue_head_t wait;
	struct task_struct *task; /* in CAISSON_RUN; under RCU */
};

int caisson_vcpu_open(struct caisson_sandbox *s);
void caisson_vcpus_kick(struct caisson_sandbox *s);

#endif
