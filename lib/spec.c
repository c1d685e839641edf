// SPDX-License-Identifier: Apache-2.0
#include "lib/spec.h"

#include <linux/filter.h>

static void code_pairs(struct msg *m, struct spec_pair **list, uint32_t *n)
{
	msg_list(m, list, n, sizeof(**list));
	for (uint32_t i = 0; i < *n; i++) {
		msg_str(m, &(*list)[i].key);
		msg_str(m, &(*list)[i].value);
		if (!(*list)[i].key || !(*list)[i].value)
			m->broken = true;
	}
}

/* A string that has to be there. */
static void code_required(struct msg *m, char **s)
{
	msg_str(m, s);
	if (!*s)
		m->broken = true;
}

static void code_absolute(struct msg *m, char **s)
{
	msg_str(m, s);
	if (!*s || **s != '/')
		m->broken = true;
}

void spec_process_codec(struct msg *m, struct spec_process *p)
{
	msg_bool(m, &p->terminal);
	msg_u16(m, &p->rows);
	msg_u16(m, &p->columns);
	msg_strv(m, &p->args);
	if (!p->args.n)
		m->broken = true;
	msg_strv(m, &p->env);
	code_absolute(m, &p->cwd);
	msg_u32(m, &p->uid);
	msg_u32(m, &p->gid);
	msg_list(m, &p->gids, &p->gids_n, sizeof(*p->gids));
	for (uint32_t i = 0; i < p->gids_n; i++)
		msg_u32(m, &p->gids[i]);
	msg_u32(m, &p->umask);
	for (int i = 0; i < CAPS_SETS; i++)
		msg_u64(m, &p->caps[i]);
	msg_list(m, &p->rlimits, &p->rlimits_n, sizeof(*p->rlimits));
	for (uint32_t i = 0; i < p->rlimits_n; i++) {
		msg_u32(m, &p->rlimits[i].resource);
		msg_u64(m, &p->rlimits[i].soft);
		msg_u64(m, &p->rlimits[i].hard);
	}
	msg_bool(m, &p->no_new_privileges);
	msg_bool(m, &p->oom_score_adj_set);
	msg_i32(m, &p->oom_score_adj);
	msg_blob(m, &p->seccomp);
	if (p->seccomp.size % sizeof(struct sock_filter) ||
	    p->seccomp.size > BPF_MAXINSNS * sizeof(struct sock_filter))
		m->broken = true;
	msg_u32(m, &p->seccomp_flags);
	msg_u32(m, &p->extra_fds);
}

static void code_mount(struct msg *m, struct spec_mount *mnt)
{
	msg_str(m, &mnt->source);
	code_absolute(m, &mnt->destination);
	msg_str(m, &mnt->type);
	msg_u64(m, &mnt->flags);
	msg_u64(m, &mnt->propagation);
	msg_str(m, &mnt->data);
	msg_i32(m, &mnt->share);
	if (mnt->share < -1)
		m->broken = true;
	msg_bool(m, &mnt->share_is_dir);
	msg_bool(m, &mnt->copy_up);
}

void spec_resources_codec(struct msg *m, struct spec_resources *r)
{
	msg_i64(m, &r->memory_max);
	msg_i64(m, &r->memory_low);
	msg_i64(m, &r->memory_swap_max);
	msg_i64(m, &r->pids_max);
	msg_i64(m, &r->cpu_quota_us);
	msg_i64(m, &r->cpu_period_us);
	msg_u64(m, &r->cpu_weight);
	code_pairs(m, &r->unified, &r->unified_n);
}

static void code_rootfs(struct msg *m, struct spec_rootfs *r)
{
	msg_str(m, &r->lower_serial);
	msg_i32(m, &r->lower_share);
	if (!r->lower_serial && r->lower_share < 0)
		m->broken = true;
	msg_str(m, &r->scratch_serial);
	msg_u64(m, &r->upper_size);
	msg_bool(m, &r->readonly);
	msg_u64(m, &r->propagation);
}

void spec_container_codec(struct msg *m, struct spec_container *c)
{
	code_required(m, &c->id);
	msg_str(m, &c->hostname);
	msg_str(m, &c->domainname);
	msg_u64(m, &c->unshare);
	msg_str(m, &c->pid_of);
	code_rootfs(m, &c->rootfs);
	msg_list(m, &c->mounts, &c->mounts_n, sizeof(*c->mounts));
	for (uint32_t i = 0; i < c->mounts_n; i++)
		code_mount(m, &c->mounts[i]);
	msg_list(m, &c->devices, &c->devices_n, sizeof(*c->devices));
	for (uint32_t i = 0; i < c->devices_n; i++) {
		struct spec_device *d = &c->devices[i];

		code_absolute(m, &d->path);
		msg_u32(m, &d->mode);
		msg_u32(m, &d->major);
		msg_u32(m, &d->minor);
		msg_u32(m, &d->uid);
		msg_u32(m, &d->gid);
	}
	code_pairs(m, &c->sysctl, &c->sysctl_n);
	msg_strv(m, &c->masked_paths);
	msg_strv(m, &c->readonly_paths);
	spec_resources_codec(m, &c->resources);
	spec_process_codec(m, &c->process);
}

static void code_address(struct msg *m, struct spec_address *a)
{
	msg_u8(m, &a->family);
	msg_u8(m, &a->prefix);
	msg_bytes(m, a->addr, sizeof(a->addr));
	msg_bytes(m, a->broadcast, sizeof(a->broadcast));
	msg_u32(m, &a->flags);
	msg_u8(m, &a->scope);
}

static void code_route(struct msg *m, struct spec_route *r)
{
	msg_u8(m, &r->family);
	msg_u8(m, &r->dst_prefix);
	msg_bytes(m, r->dst, sizeof(r->dst));
	msg_bool(m, &r->has_gateway);
	msg_bool(m, &r->has_source);
	msg_bytes(m, r->gateway, sizeof(r->gateway));
	msg_bytes(m, r->source, sizeof(r->source));
	msg_u32(m, &r->metric);
	msg_u32(m, &r->mtu);
	msg_u8(m, &r->scope);
	msg_u8(m, &r->protocol);
	msg_u8(m, &r->type);
	msg_u32(m, &r->flags);
}

static void code_nic(struct msg *m, struct spec_nic *nic)
{
	code_required(m, &nic->name);
	msg_bytes(m, nic->mac, sizeof(nic->mac));
	msg_u32(m, &nic->mtu);
	msg_bool(m, &nic->late);
	msg_list(m, &nic->addresses, &nic->addresses_n, sizeof(*nic->addresses));
	for (uint32_t i = 0; i < nic->addresses_n; i++)
		code_address(m, &nic->addresses[i]);
	msg_list(m, &nic->routes, &nic->routes_n, sizeof(*nic->routes));
	for (uint32_t i = 0; i < nic->routes_n; i++)
		code_route(m, &nic->routes[i]);
	msg_list(m, &nic->neighbours, &nic->neighbours_n, sizeof(*nic->neighbours));
	for (uint32_t i = 0; i < nic->neighbours_n; i++) {
		msg_u8(m, &nic->neighbours[i].family);
		msg_bytes(m, nic->neighbours[i].addr, sizeof(nic->neighbours[i].addr));
		msg_bytes(m, nic->neighbours[i].mac, sizeof(nic->neighbours[i].mac));
	}
}

void spec_sandbox_codec(struct msg *m, struct spec_sandbox *s)
{
	msg_str(m, &s->hostname);
	msg_i64(m, &s->realtime_ns);
	msg_bytes(m, s->entropy, sizeof(s->entropy));
	msg_u8(m, &s->shares);
	if (s->shares >= SPEC_SHARES_KINDS)
		m->broken = true;
	msg_list(m, &s->nics, &s->nics_n, sizeof(*s->nics));
	for (uint32_t i = 0; i < s->nics_n; i++)
		code_nic(m, &s->nics[i]);
	msg_u32(m, &s->network_wait_ms);
}
