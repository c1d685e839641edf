/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every payload that travels in a frame, for tests that go through all of them: which codec
 * belongs to which type, and one filled-in example of each.
 */
#ifndef CAISSON_TESTS_FUZZ_PAYLOAD_H
#define CAISSON_TESTS_FUZZ_PAYLOAD_H

#include <sys/stat.h>

#include "lib/spec.h"
#include "lib/wire.h"
#include "tests/fuzz/literals.h"

static const uint8_t payload_types[] = {
	WIRE_SETUP,  WIRE_CREATE, WIRE_START,  WIRE_EXEC,	    WIRE_SIGNAL,
	WIRE_FREEZE, WIRE_PS,	  WIRE_UPDATE, WIRE_RESIZE,	    WIRE_CREDIT,
	WIRE_READY,  WIRE_RESULT, WIRE_EXITED, WIRE_MACHINE_MEMORY,
};

struct payload {
	union {
		struct wire_ready ready;
		struct wire_result result;
		struct wire_exited exited;
		struct wire_start start;
		struct wire_exec exec;
		struct wire_signal signal;
		struct wire_freeze freeze;
		struct wire_target target;
		struct wire_update update;
		struct wire_resize resize;
		struct wire_machine_memory machine_memory;
		struct wire_credit credit;
		struct spec_sandbox sandbox;
		struct spec_container container;
	};
	struct spec_process process;	 /* after exec */
	struct spec_resources resources; /* after update */
};

/* False: this type has no structure (no payload, or plain bytes). */
static inline bool payload_codec(struct msg *m, uint8_t type, struct payload *p)
{
	switch (type) {
	case WIRE_SETUP:
		spec_sandbox_codec(m, &p->sandbox);
		return true;
	case WIRE_CREATE:
		spec_container_codec(m, &p->container);
		return true;
	case WIRE_START:
		wire_start_codec(m, &p->start);
		return true;
	case WIRE_EXEC:
		wire_exec_codec(m, &p->exec);
		spec_process_codec(m, &p->process);
		return true;
	case WIRE_SIGNAL:
		wire_signal_codec(m, &p->signal);
		return true;
	case WIRE_FREEZE:
		wire_freeze_codec(m, &p->freeze);
		return true;
	case WIRE_PS:
	case WIRE_STATS:
		wire_target_codec(m, &p->target);
		return true;
	case WIRE_UPDATE:
		wire_update_codec(m, &p->update);
		spec_resources_codec(m, &p->resources);
		return true;
	case WIRE_MACHINE_MEMORY:
		wire_machine_memory_codec(m, &p->machine_memory);
		return true;
	case WIRE_RESIZE:
		wire_resize_codec(m, &p->resize);
		return true;
	case WIRE_CREDIT:
		wire_credit_codec(m, &p->credit);
		return true;
	case WIRE_READY:
		wire_ready_codec(m, &p->ready);
		return true;
	case WIRE_RESULT:
		wire_result_codec(m, &p->result);
		return true;
	case WIRE_EXITED:
		wire_exited_codec(m, &p->exited);
		return true;
	default:
		return false;
	}
}

static inline void sample_process(struct spec_process *p)
{
	static char *args[] = {"sh", "-c", "true", ""};
	static char *env[] = {"PATH=/bin", "HOME=/root"};
	static uint32_t gids[] = {0, 5, 4294967294u};
	static struct spec_rlimit rlimits[] = {{7, 1024, UINT64_MAX}, {4, 0, 0}};
	static uint8_t filter[] = {6, 0, 0, 0, 0, 0, 0xff, 0x7f};

	*p = (struct spec_process){
		.terminal = true,
		.rows = 24,
		.columns = 80,
		.args = {args, 4},
		.env = {env, 2},
		.cwd = "/",
		.uid = 1000,
		.gid = 1000,
		.gids = gids,
		.gids_n = 3,
		.umask = UINT32_MAX,
		.caps = {1, 2, 3, 4, 1ull << 40},
		.rlimits = rlimits,
		.rlimits_n = 2,
		.no_new_privileges = true,
		.oom_score_adj_set = true,
		.oom_score_adj = -1000,
		.seccomp = {filter, sizeof(filter)},
		.seccomp_flags = 1,
		.extra_fds = 2,
	};
}

static inline void sample_resources(struct spec_resources *r)
{
	static struct spec_pair unified[] = {{"memory.high", "1000"}};

	*r = (struct spec_resources){
		.memory_max = 1 << 20,
		.memory_low = -1,
		.memory_swap_max = 0,
		.pids_max = INT64_MAX,
		.cpu_quota_us = 5000,
		.cpu_period_us = 10000,
		.cpu_weight = 100,
		.unified = unified,
		.unified_n = 1,
	};
}

static inline void sample_container(struct spec_container *c)
{
	static struct spec_mount mounts[] = {
		{.source = "proc",
		 .destination = "/proc",
		 .type = "proc",
		 .flags = 14,
		 .share = -1},
		{.destination = "/data",
		 .type = "bind",
		 .flags = 0x5001,
		 .propagation = 1 << 18,
		 .share = 0,
		 .share_is_dir = true},
		{.source = "tmpfs",
		 .destination = "/t",
		 .type = "tmpfs",
		 .data = "size=1m",
		 .share = -1,
		 .copy_up = true},
	};
	static struct spec_device devices[] = {{"/dev/fuse", S_IFCHR | 0666, 10, 229, 0, 5}};
	static struct spec_pair sysctl[] = {{"net.ipv4.ip_forward", "1"}};
	static char *masked[] = {"/proc/kcore"};
	static char *readonly[] = {"/proc/sys", "/proc/bus"};

	*c = (struct spec_container){
		.id = "web-1",
		.hostname = "web",
		.unshare = 0x2c000000,
		.pid_of = "pod",
		.rootfs = {.lower_serial = "image0",
			   .lower_share = -1,
			   .scratch_serial = "scratch0",
			   .upper_size = 1 << 30,
			   .readonly = true,
			   .propagation = 1 << 18},
		.mounts = mounts,
		.mounts_n = 3,
		.devices = devices,
		.devices_n = 1,
		.sysctl = sysctl,
		.sysctl_n = 1,
		.masked_paths = {masked, 1},
		.readonly_paths = {readonly, 2},
	};
	sample_resources(&c->resources);
	sample_process(&c->process);
}

static inline void sample_sandbox(struct spec_sandbox *s)
{
	static struct spec_address addresses[] = {
		{2, 24, {10, 0, 0, 2}, {10, 0, 0, 255}, 0, 0},
		{10, 64, {0xfd, 0, 1}, {0}, 2, 0},
	};
	static struct spec_route routes[] = {
		{.family = 2,
		 .has_gateway = true,
		 .gateway = {10, 0, 0, 1},
		 .metric = 100,
		 .protocol = 4,
		 .type = 1,
		 .flags = 4},
	};
	static struct spec_neighbour neighbours[] = {{2, {10, 0, 0, 1}, {2, 0, 0, 0, 0, 1}}};
	static struct spec_nic nics[] = {
		{"eth0", {2, 0, 0, 0, 0, 2}, 1500, true, addresses, 2, routes, 1, neighbours, 1},
		{.name = "eth1", .mtu = 9000},
	};

	*s = (struct spec_sandbox){.hostname = "pod",
				   .realtime_ns = 1700000000000000000,
				   .entropy = {1, 2, 3},
				   .shares = SPEC_SHARES_VIRTIOFS,
				   .nics = nics,
				   .nics_n = 2,
				   .network_wait_ms = 10000};
}

/* An example with every kind of member in use. */
static inline void payload_sample(uint8_t type, struct payload *p)
{
	*p = (struct payload){0};
	switch (type) {
	case WIRE_SETUP:
		sample_sandbox(&p->sandbox);
		break;
	case WIRE_CREATE:
		sample_container(&p->container);
		break;
	case WIRE_EXEC:
		p->exec.container = "web-1";
		sample_process(&p->process);
		break;
	case WIRE_SIGNAL:
		p->signal = (struct wire_signal){"web-1", 15, true};
		break;
	case WIRE_FREEZE:
		p->freeze = (struct wire_freeze){"web-1", true};
		break;
	case WIRE_UPDATE:
		p->update.container = "web-1";
		sample_resources(&p->resources);
		break;
	case WIRE_MACHINE_MEMORY:
		p->machine_memory.bytes = 96 << 20;
		break;
	case WIRE_RESIZE:
		p->resize = (struct wire_resize){24, 80};
		break;
	case WIRE_CREDIT:
		p->credit.bytes = WIRE_WINDOW;
		break;
	case WIRE_READY:
		p->ready = (struct wire_ready){WIRE_VERSION, 123456};
		break;
	case WIRE_RESULT:
		p->result = (struct wire_result){2, "exec 'sh': No such file or directory"};
		break;
	case WIRE_EXITED:
		p->exited = (struct wire_exited){0, 9, true};
		break;
	default:
		p->target.container = "web-1"; /* WIRE_START, WIRE_PS */
	}
}

#endif
