// SPDX-License-Identifier: GPL-2.0-only
/* What has happened since the module was loaded: /sys/kernel/debug/caisson. */
#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/percpu.h>

#include "monitor.h"

struct counts {
	u64 of[CAISSON_COUNTERS];
};

static DEFINE_PER_CPU(struct counts, counts);
static struct dentry *directory;

static const char *const names[CAISSON_COUNTERS] = {
	[COUNT_ENTER] = "enter",
	[COUNT_EVENT] = "event",
	[COUNT_HYPERCALL] = "hypercall",
	[COUNT_CHANGES] = "changes",
	[COUNT_INTERRUPT] = "interrupt",
	[COUNT_NMI] = "nmi",
	[COUNT_NMI_ENTERING] = "nmi_entering",
	[COUNT_NMI_ENTRY_CODE] = "nmi_entry_code",
	[COUNT_KILL] = "kill",
	[COUNT_SHOOTDOWN] = "shootdown",
	[COUNT_RAISE] = "raise",
	[COUNT_IRQ] = "irq",
	[COUNT_DOORBELL] = "doorbell",
	[COUNT_SANDBOX] = "sandbox",
};

void caisson_count(enum caisson_counter which)
{
	this_cpu_inc(counts.of[which]);
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
