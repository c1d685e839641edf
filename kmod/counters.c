// SPDX-License-Identifier: GPL-2.0-only
/* What has happened since the module was loaded: /sys/kernel/debug/caisson. */
#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/nospec.h>
#include <linux/percpu.h>

#include "monitor.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

struct counts {
	u64 of[CAISSON_COUNTERS];
};

static DEFINE_PER_CPU(struct counts, counts);
static struct dentry *directory;

static const char *const names[CAISSON_COUNTERS] = {
	[COUNT_ENTER] = "enter",
	[COUNT_EVENT] = "event",
	[COUNT_HYPERCALL] = "hypercall",
	[COUNT_GATE] = "gate",
	[COUNT_INTERRUPT] = "interrupt",
	[COUNT_NMI] = "nmi",
	[COUNT_NMI_ENTERING] = "nmi_entering",
	[COUNT_NMI_ENTRY_CODE] = "nmi_entry_code",
	[COUNT_NMI_GATE] = "nmi_gate",
	[COUNT_KILL] = "kill",
	[COUNT_REVOKE] = "revoke",
	[COUNT_SHOOTDOWN] = "shootdown",
	[COUNT_RAISE] = "raise",
	[COUNT_IRQ] = "irq",
	[COUNT_DOORBELL] = "doorbell",
	[COUNT_SANDBOX] = "sandbox",
	[COUNT_SANDBOX_LIVE] = "sandbox_live",
	[COUNT_SLEEP] = "sleep",
	[COUNT_MONITOR] = "monitor",
	[COUNT_CALL_FIRST + CAISSON_CALL_VERSION] = "call_version",
	[COUNT_CALL_FIRST + CAISSON_CALL_MONITOR] = "call_monitor",
	[COUNT_CALL_FIRST + CAISSON_CALL_HALT] = "call_halt",
	[COUNT_CALL_FIRST + CAISSON_CALL_EVENTS] = "call_events",
	[COUNT_CALL_FIRST + CAISSON_CALL_TIMER] = "call_timer",
	[COUNT_CALL_FIRST + CAISSON_CALL_ROOT] = "call_root",
	[COUNT_CALL_FIRST + CAISSON_CALL_TABLE_NEW] = "call_table_new",
	[COUNT_CALL_FIRST + CAISSON_CALL_TABLE_FREE] = "call_table_free",
	[COUNT_CALL_FIRST + CAISSON_CALL_ENTRY_SET] = "call_entry_set",
	[COUNT_CALL_FIRST + CAISSON_CALL_FLUSH] = "call_flush",
	[COUNT_CALL_FIRST + CAISSON_CALL_START] = "call_start",
	[COUNT_CALL_FIRST + CAISSON_CALL_RAISE] = "call_raise",
	[COUNT_CALL_FIRST + CAISSON_CALL_CHANGES] = "call_changes",
	[COUNT_CALL_LAST] = "call_unknown",
};

void caisson_count(enum caisson_counter which)
{
	this_cpu_inc(counts.of[which]);
}

void caisson_count_n(enum caisson_counter which, u64 n)
{
	this_cpu_add(counts.of[which], n);
}

/* On whatever CPU: the sum is what counts. */
void caisson_uncount(enum caisson_counter which)
{
	this_cpu_dec(counts.of[which]);
}

/* `call` is as the guest has it. */
void caisson_count_call(u64 call)
{
	const u64 known = COUNT_CALL_LAST - COUNT_CALL_FIRST;

	caisson_count(COUNT_HYPERCALL);
	if (call < known)
		caisson_count(COUNT_CALL_FIRST + array_index_nospec(call, known));
	else
		caisson_count(COUNT_CALL_LAST);
}

static int counter_get(void *data, u64 *ret)
{
	const unsigned long which = (unsigned long)data;
	unsigned int cpu;

	*ret = 0;
	for_each_possible_cpu(cpu) *ret += per_cpu(counts, cpu).of[which];
	return 0;
}

DEFINE_DEBUGFS_ATTRIBUTE(counter_fops, counter_get, NULL, "%llu\n");

/* Does without, if there is no debugfs. */
void caisson_counters_init(void)
{
	directory = debugfs_create_dir("caisson", NULL);
	for (unsigned long i = 0; i < CAISSON_COUNTERS; i++)
		debugfs_create_file_unsafe(names[i], 0400, directory, (void *)i, &counter_fops);
}

void caisson_counters_done(void)
{
	debugfs_remove(directory);
}
