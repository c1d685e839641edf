/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tracepoints: /sys/kernel/tracing/events/caisson; what each says is in docs/cki.md.
 *
 * None is in the inner loop, where the CPU is still set up for the guest and no barrier stands yet
 * between its branches and ours: a tracer is called by pointers.  Who traces hypercalls has each of
 * them end its stay.
 *
 * Texts and numbers come from guests and monitor processes: data, of fixed size.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM caisson

#if !defined(CAISSON_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define CAISSON_TRACE_H

#include <linux/tracepoint.h>

#include "monitor.h"

#define CAISSON_TRACE_TEXT 128
static_assert(CAISSON_TRACE_TEXT == sizeof_field(struct caisson_run, text));

/* clang-format off */
TRACE_EVENT(caisson_enter,
	TP_PROTO(const struct caisson_vcpu *v),
	TP_ARGS(v),
	TP_STRUCT__entry(
		__field(u32, vcpu)
		__field(u64, rip)
	),
	TP_fast_assign(
		__entry->vcpu = v->number;
		__entry->rip = v->registers.rip;
	),
	TP_printk("vcpu=%u rip=%#llx", __entry->vcpu, __entry->rip)
);

TRACE_EVENT(caisson_leave,
	TP_PROTO(const struct caisson_vcpu *v),
	TP_ARGS(v),
	TP_STRUCT__entry(
		__field(u32, vcpu)
		__field(u32, vector)
		__field(u32, stays)
		__field(u32, answered)
		__field(u32, ring)
		__field(u64, rip)
	),
	TP_fast_assign(
		__entry->vcpu = v->number;
		__entry->vector = v->vector;
		__entry->stays = v->stays;
		__entry->answered = v->answered;
		__entry->ring = v->registers.cs & 3;
		__entry->rip = v->registers.rip;
	),
	TP_printk("vcpu=%u vector=%#x ring=%u rip=%#llx stays=%u gate=%u", __entry->vcpu,
		  __entry->vector, __entry->ring, __entry->rip, __entry->stays, __entry->answered)
);

TRACE_EVENT(caisson_hypercall,
	TP_PROTO(const struct caisson_vcpu *v),
	TP_ARGS(v),
	TP_STRUCT__entry(
		__field(u32, vcpu)
		__field(u64, call)
		__field(u64, a)
		__field(u64, b)
		__field(s64, result)
	),
	TP_fast_assign(
		__entry->vcpu = v->number;
		__entry->call = v->call;
		__entry->a = v->registers.rdi;
		__entry->b = v->registers.rsi;
		__entry->result = v->registers.rax;
	),
	TP_printk("vcpu=%u call=%llu a=%#llx b=%#llx result=%lld", __entry->vcpu, __entry->call,
		  __entry->a, __entry->b, __entry->result)
);

TRACE_EVENT(caisson_monitor,
	TP_PROTO(const struct caisson_vcpu *v, const u64 *argument),
	TP_ARGS(v, argument),
	TP_STRUCT__entry(
		__field(u32, vcpu)
		__array(u64, argument, 4)
	),
	TP_fast_assign(
		__entry->vcpu = v->number;
		memcpy(__entry->argument, argument, sizeof(__entry->argument));
	),
	TP_printk("vcpu=%u call=%#llx a=%#llx b=%#llx c=%#llx", __entry->vcpu,
		  __entry->argument[0], __entry->argument[1], __entry->argument[2],
		  __entry->argument[3])
);

TRACE_EVENT(caisson_raise,
	TP_PROTO(const struct caisson_vcpu *v, unsigned int event),
	TP_ARGS(v, event),
	TP_STRUCT__entry(
		__field(u32, vcpu)
		__field(u32, event)
	),
	TP_fast_assign(
		__entry->vcpu = v->number;
		__entry->event = event;
	),
	TP_printk("vcpu=%u event=%u", __entry->vcpu, __entry->event)
);

TRACE_EVENT(caisson_shootdown,
	TP_PROTO(u64 set, unsigned int cpus),
	TP_ARGS(set, cpus),
	TP_STRUCT__entry(
		__field(u64, set)
		__field(u32, cpus)
	),
	TP_fast_assign(
		__entry->set = set;
		__entry->cpus = cpus;
	),
	TP_printk("set=%#llx cpus=%u", __entry->set, __entry->cpus)
);

TRACE_EVENT(caisson_kill,
	TP_PROTO(const struct caisson_vcpu *v),
	TP_ARGS(v),
	TP_STRUCT__entry(
		__field(u32, vcpu)
		__array(char, why, CAISSON_TRACE_TEXT)
	),
	TP_fast_assign(
		__entry->vcpu = v->number;
		/* The monitor process can write it meanwhile. */
		memcpy(__entry->why, v->run->text, CAISSON_TRACE_TEXT);
		__entry->why[CAISSON_TRACE_TEXT - 1] = 0;
	),
	TP_printk("vcpu=%u %s", __entry->vcpu, __entry->why)
);
/* clang-format on */

#endif

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
