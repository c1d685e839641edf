// SPDX-License-Identifier: Apache-2.0
/*
 * linux.resources.  The guest gets the limits on what is its own (memory, processes, CPU
 * time) as cgroup v2 files; the host's cgroup of the sandbox gets CPU time and placement.
 *
 * Read and dropped: `devices` (there are no host devices behind a guest kernel),
 * `hugepageLimits`, `blockIO`, `network`, `rdma` (of the host's kernel, whose pages, disks, links
 * and adapters the container does not see), kernel memory limits (gone from Linux), `swappiness`,
 * `disableOOMKiller`, realtime CPU time, `idle` and `burst` (no cgroup v2 file that is
 * the same, or no use on one guest).
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "runtime/config_parts.h"

/* 0 is "unset" in Go's hands; what is less than 0 takes a limit away. */
static int64_t limit_of(int64_t given)
{
	return given > 0 ? given : given < 0 ? SPEC_LIMIT_NONE : SPEC_LIMIT_UNSET;
}

static void read_memory(struct doc *d, struct json_object *o, struct config *c)
{
	struct spec_resources *r = &c->container.resources;
	size_t mark = doc_enter(d, "memory");
	int64_t limit = doc_int(d, o, "limit", -1, INT64_MAX, 0);
	int64_t low = doc_int(d, o, "reservation", -1, INT64_MAX, 0);
	int64_t swap = doc_int(d, o, "swap", -1, INT64_MAX, 0);

	r->memory_max = limit_of(limit);
	r->memory_low = limit_of(low);
	c->memory_limit = limit > 0 ? limit : -1;
	/* OCI has it as in cgroup v1, memory and swap together; v2 limits swap alone. */
	if (swap > 0 && limit <= 0)
		doc_fail(d, EINVAL, "swap", "%" PRId64 " needs memory.limit", swap);
	else if (swap > 0 && swap < limit)
		doc_fail(d, EINVAL, "swap", "%" PRId64 " is less than memory.limit %" PRId64, swap,
			 limit);
	else
		r->memory_swap_max = swap > 0 ? swap - limit : limit_of(swap);
	doc_leave(d, mark);
}

/* "0-3,7": decimal numbers and ranges; empty is NULL. */
static char *read_cpuset(struct doc *d, struct json_object *o, const char *field)
{
	char *set = doc_string(d, o, field);
	const char *p = set;
	bool ok = true;

	while (p && *p && ok) {
		size_t n = strspn(p, "0123456789");

		ok = n >= 1 && n <= 6;
		p += n;
		if (*p == '-') {
			n = strspn(++p, "0123456789");
			ok = ok && n >= 1 && n <= 6;
			p += n;
		}
		if (*p == ',')
			ok = ok && *++p;
		else
			ok = ok && !*p;
	}
	if (!ok)
		doc_fail(d, EINVAL, field, "'%.200s' is not a list of numbers and ranges", set);
	return set;
}

/* As the kernel's cgroup v1 does with what is written there. */
static uint64_t clamp_shares(uint64_t shares)
{
	return shares < 2 ? 2 : shares > 262144 ? 262144 : shares;
}

static void read_cpu(struct doc *d, struct json_object *o, struct config *c)
{
	struct spec_resources *r = &c->container.resources;
	struct config_host_resources *h = &c->host;
	size_t mark = doc_enter(d, "cpu");
	uint64_t shares = doc_uint(d, o, "shares", UINT64_MAX, 0);
	int64_t quota = doc_int(d, o, "quota", INT64_MIN, INT64_MAX, 0);
	int64_t period = doc_int(d, o, "period", 0, 1000000, 0);

	if (shares) {
		h->cpu_shares = clamp_shares(shares);
		/* [2, 262144] to [1, 10000], as crun and runc do. */
		r->cpu_weight = 1 + (h->cpu_shares - 2) * 9999 / 262142;
	}
	/* 1 ms: kernel/sched/core.c, min_cfs_quota_period. */
	if (quota > 0 && quota < 1000)
		doc_fail(d, ERANGE, "quota", "%" PRId64 " is less than 1000 microseconds", quota);
	if (period && period < 1000)
		doc_fail(d, ERANGE, "period", "%" PRId64 " is less than 1000 microseconds", period);
	h->cpu_quota_us = r->cpu_quota_us = limit_of(quota);
	h->cpu_period_us = r->cpu_period_us = limit_of(period);
	h->cpuset_cpus = read_cpuset(d, o, "cpus");
	h->cpuset_mems = read_cpuset(d, o, "mems");
	doc_leave(d, mark);
}

static void read_unified(struct doc *d, struct json_object *o, struct spec_resources *r)
{
	doc_pairs(d, o, "unified", &r->unified, &r->unified_n);
	for (uint32_t i = 0; i < r->unified_n && !d->rc; i++) {
		const char *key = r->unified[i].key;

		/* cgroup files are "controller.name", so a dot comes later than first. */
		if (!*key || *key == '.' || strchr(key, '/') || strlen(key) > 255)
			doc_fail(d, EINVAL, "unified", "has '%.200s', which is not a cgroup file",
				 key);
	}
}

void config_read_resources(struct doc *d, struct json_object *o, struct config *c)
{
	struct spec_resources *r = &c->container.resources;
	size_t mark;
	int64_t pids;
	uint32_t n;

	*r = (struct spec_resources){.memory_max = SPEC_LIMIT_UNSET,
				     .memory_low = SPEC_LIMIT_UNSET,
				     .memory_swap_max = SPEC_LIMIT_UNSET,
				     .pids_max = SPEC_LIMIT_UNSET,
				     .cpu_quota_us = SPEC_LIMIT_UNSET,
				     .cpu_period_us = SPEC_LIMIT_UNSET};
	c->host = (struct config_host_resources){.cpu_quota_us = SPEC_LIMIT_UNSET,
						 .cpu_period_us = SPEC_LIMIT_UNSET};
	c->memory_limit = -1;
	read_memory(d, doc_object(d, o, "memory"), c);
	read_cpu(d, doc_object(d, o, "cpu"), c);
	mark = doc_enter(d, "pids");
	pids = doc_int(d, doc_object(d, o, "pids"), "limit", INT64_MIN, INT64_MAX, 0);
	r->pids_max = limit_of(pids);
	doc_leave(d, mark);
	read_unified(d, o, r);
	doc_array(d, o, "devices", &n);
	doc_array(d, o, "hugepageLimits", &n);
	doc_object(d, o, "blockIO");
	doc_object(d, o, "network");
	doc_object(d, o, "rdma");
}
