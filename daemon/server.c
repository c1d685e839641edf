// SPDX-License-Identifier: Apache-2.0
#include "daemon/server.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/timeline.h"
#include "vmm/mem/layout.h"

#define TRIES_MAX 3u
#define LIST_MAX 32u

struct peer {
	struct peer *next;
	int fd;
	struct state_process process;
	bool hungup;

	/* While a request waits: */
	bool waiting;
	uint8_t op;
	uint64_t deadline; /* CLOCK_MONOTONIC ns */
	struct lease_want want;
	char owner[LEASE_OWNER_MAX + 1], pf[LEASE_NAME_MAX + 1];
	char lease[LEASE_ID_LEN + 1]; /* that it waits with; "": none yet */
	uint64_t max;		      /* TAKE: bytes to grow to */
	uint32_t failures;	      /* of that lease's slot when the wait began */
	unsigned int tries;
	struct error why; /* the last failure of a slot of its */
};

/* --- replies --- */

static int reply(struct peer *p, struct lease_reply *r, const int *fds, unsigned int fds_n)
{
	struct msg m;
	int rc;

	p->waiting = false;
	r->head.version = LEASE_VERSION;
	r->head.op = p->op;
	msg_init_encode(&m);
	lease_reply_codec(&m, r);
	rc = lease_send(p->fd, &m, fds, fds_n);
	msg_done(&m);
	if (rc < 0)
		p->hungup = true;
	return rc;
}

static void reply_ok(struct peer *p)
{
	struct lease_reply r = {0};

	reply(p, &r, NULL, 0);
}

static void reply_error(struct server *s, struct peer *p, const struct error *err)
{
	struct lease_reply r = {.code = err->code, .text = (char *)err->text};

	s->lender->refused += p->op == LEASE_LEASE;
	reply(p, &r, NULL, 0);
}

/* Behind all others: first come is who asked first, not who connected first. */
static void queue_up(struct server *s, struct peer *p, uint64_t deadline)
{
	struct peer **at = &s->peers;

	p->waiting = true;
	p->deadline = deadline;
	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	p->next = NULL;
	while (*at)
		at = &(*at)->next;
	*at = p;
}

/* --- LEASE --- */

static void grant(struct server *s, struct peer *p, struct slot *slot)
{
	struct lease_reply r = {0};
	struct error err;

	if (lender_grant(s->lender, slot, &err) < 0) {
		lender_cancel(s->lender, slot);
		reply_error(s, p, &err);
		return;
	}
	memcpy(r.grant.id, slot->lease.id, sizeof(r.grant.id));
	r.grant.memory = slot->memory;
	r.grant.function = slot->function;
	/* Whoever is not there any more has not got it. */
	if (reply(p, &r, NULL, 0) < 0)
		lender_cancel(s->lender, slot);
	timeline_mark("lease-sent");
}

static int none_free(const struct server *s, const struct peer *p, struct error *err)
{
	if (p->why.code)
		return error_set(err, p->why.code, "%s", p->why.text);
	if (s->lender->pool.draining)
		return error_set(err, EAGAIN,
				 "caissond is being drained (`caisson slots undrain`)");
	return error_set(err, EAGAIN,
			 "no slot %s%s is free: `caisson slots list` shows who has them",
			 p->want.function ? "with a function" : "of that memory",
			 p->want.wait_ms ? " became free in time, or" : "");
}

/* Its slot has failed: another one, if there is. */
static void slot_has_failed(struct server *s, struct peer *p, struct slot *slot)
{
	if (slot) {
		error_set(&p->why, EAGAIN, "slot %" PRIu32 ": %s", slot->number, slot->reason);
		lender_cancel(s->lender, slot);
	} else if (!p->why.code) {
		error_set(&p->why, EAGAIN, "the slot went into quarantine");
	}
	*p->lease = 0;
	p->tries++;
}

static void try_lease(struct server *s, struct peer *p, uint64_t now)
{
	struct slot *slot = *p->lease ? pool_by_lease(&s->lender->pool, p->lease) : NULL;
	struct error err;

	if (*p->lease && (!slot || (slot->failures > p->failures && slot->state == SLOT_COLD)))
		slot_has_failed(s, p, slot);
	if (!*p->lease && p->tries < TRIES_MAX) {
		slot = lender_reserve(s->lender, &p->want, &p->process, now < p->deadline);
		if (slot) {
			memcpy(p->lease, slot->lease.id, sizeof(p->lease));
			p->failures = slot->failures;
		}
	}
	if (*p->lease && slot && slot->state == SLOT_LEASED) {
		grant(s, p, slot);
		return;
	}
	if (now < p->deadline && p->tries < TRIES_MAX)
		return;
	if (*p->lease && slot)
		lender_cancel(s->lender, slot);
	none_free(s, p, &err);
	reply_error(s, p, &err);
}

static int check_engine(const struct server *s, const char *engine, int code, struct error *err)
{
	const char *ours = s->lender->config.engine;

	return strcmp(engine, ours) == 0
		       ? 0
		       : error_set(err, code, "slots are for engine %s, not '%s'", ours, engine);
}

static int check_want(const struct server *s, const struct lease_want *w, struct error *err)
{
	uint64_t page = s->lender->config.hugepages ? 2u << 20 : 4096u;

	if (w->engine && check_engine(s, w->engine, ENOENT, err) < 0)
		return -err->code;
	if (!w->function && !w->memory)
		return error_set(err, EINVAL, "neither a function nor memory is wanted");
	if (w->memory % page)
		return error_set(err, EINVAL, "memory %" PRIu64 " is no multiple of the page size",
				 w->memory);
	if (pool_by_owner(&s->lender->pool, w->owner))
		return error_set(err, EEXIST, "'%s' has a lease already", w->owner);
	return pool_possible(&s->lender->pool, w, err);
}

static void on_lease(struct server *s, struct peer *p, const struct lease_request *r)
{
	struct error err;

	if (check_want(s, &r->want, &err) < 0) {
		reply_error(s, p, &err);
		return;
	}
	queue_up(s, p, monotonic_ns() + r->want.wait_ms * 1000000ull);
	p->want = r->want;
	p->want.engine = NULL; /* it is ours */
	snprintf(p->owner, sizeof(p->owner), "%s", r->want.owner);
	p->want.owner = p->owner;
	if (r->want.pf) {
		snprintf(p->pf, sizeof(p->pf), "%s", r->want.pf);
		p->want.pf = p->pf;
	}
	*p->lease = 0;
	p->tries = 0;
	p->why.code = 0;
	/* In its turn: what has just become free is for who waits already.  server_step() is next,
	 * and finds the deadline of who does not wait passed. */
}

/* --- TAKE --- */

static void hand_over(struct server *s, struct peer *p, struct slot *slot)
{
	struct lease_reply r = {0};
	struct error err;
	unsigned int n = 0;
	int fds[LEASE_FDS_MAX];

	if (lender_take(s->lender, slot, &p->process, p->max, &r.taken, &err) < 0) {
		reply_error(s, p, &err);
		return;
	}
	if (r.taken.memory)
		fds[n++] = r.taken.memory_fd;
	if (*r.taken.function.address)
		fds[n++] = r.taken.device_fd;
	if (r.taken.growth)
		fds[n++] = r.taken.growth_fd;
	reply(p, &r, fds, n);
	cleanup_close(&r.taken.growth_fd);
	timeline_mark("take-sent");
	lender_taken(s->lender, slot);
}

static void try_take(struct server *s, struct peer *p, uint64_t now)
{
	struct slot *slot = pool_by_lease(&s->lender->pool, p->lease);
	struct error err;

	if (!slot)
		error_set(&err, ENOENT, "lease %s is over", p->lease);
	else if (slot->lease.taken)
		error_set(&err, EBUSY, "lease %s has been taken by process %d", p->lease,
			  slot->lease.holder.pid);
	else if (slot->state == SLOT_LEASED) {
		hand_over(s, p, slot);
		return;
	} else if (slot->failures > p->failures)
		error_set(&err, EAGAIN, "slot %" PRIu32 ": %s", slot->number, slot->reason);
	else if (now >= p->deadline)
		error_set(&err, EAGAIN, "slot %" PRIu32 " is still %s", slot->number,
			  lease_state_name((uint8_t)slot->state));
	else
		return;
	reply_error(s, p, &err);
}

static void on_take(struct server *s, struct peer *p, const struct lease_request *r)
{
	struct slot *slot = pool_by_lease(&s->lender->pool, r->id);
	uint64_t memory = r->memory, now = monotonic_ns();
	struct mem_extent growth;
	struct error err;
	int rc = 0;

	if (!slot)
		rc = error_set(&err, ENOENT, "there is no lease '%s'", r->id);
	else if (check_engine(s, r->engine, ENOTSUP, &err) < 0)
		rc = -err.code;
	else if (memory % (slot->hugepages ? 2u << 20 : 4096u))
		rc = error_set(&err, EINVAL, "memory %" PRIu64 " is no multiple of the page size",
			       memory);
	else if (!memory && !slot_has_function(slot))
		memory = slot->configured;
	if (rc == 0 && r->memory_max > memory && s->lender->config.in_place)
		rc = error_set(&err, ENOTSUP, "memory for engine cki cannot grow");
	if (rc == 0 && r->memory_max > memory && !mem_growth(memory, r->memory_max, &growth))
		rc = error_set(&err, EINVAL,
			       "memory of %" PRIu64 " bytes cannot grow to %" PRIu64
			       ": it begins with a multiple of 2 MiB and grows by %llu MiB",
			       memory, r->memory_max, MEM_GROWTH_STEP >> 20);
	if (rc == 0 && lender_want(s->lender, slot, memory, &err) < 0)
		rc = -err.code;
	if (rc < 0) {
		reply_error(s, p, &err);
		return;
	}
	queue_up(s, p, r->wait_ms ? now + r->wait_ms * 1000000ull : 0);
	p->failures = slot->failures;
	p->max = r->memory_max;
	memcpy(p->lease, slot->lease.id, sizeof(p->lease));
	try_take(s, p, now);
}

/* --- the others --- */

static void on_hold(struct server *s, struct peer *p, const struct lease_request *r, int *fd)
{
	struct slot *slot = pool_by_lease(&s->lender->pool, r->id);
	struct error err;
	int rc;

	if (!slot)
		rc = error_set(&err, ENOENT, "there is no lease '%s'", r->id);
	else if (*fd < 0)
		rc = error_set(&err, EINVAL, "HOLD came without a pidfd");
	else
		rc = lender_hold(s->lender, slot, steal_fd(fd), &err);
	if (rc < 0)
		reply_error(s, p, &err);
	else
		reply_ok(p);
}

static void on_release(struct server *s, struct peer *p, const struct lease_request *r)
{
	struct slot *slot = r->id ? pool_by_lease(&s->lender->pool, r->id)
				  : pool_by_owner(&s->lender->pool, r->owner);
	struct error err;

	if (slot)
		lender_release(s->lender, slot);
	if (slot && lender_save(s->lender, &err) < 0)
		reply_error(s, p, &err);
	else
		reply_ok(p);
}

static void describe(const struct slot *s, struct lease_slot *ret)
{
	*ret = (struct lease_slot){
		.number = s->number,
		.state = (uint8_t)s->state,
		.drained = s->drained,
		.hugepages = s->hugepages,
		.on_demand = s->on_demand,
		.memory = s->state == SLOT_READY || s->state == SLOT_LEASED ? s->memory : s->target,
		.growth = s->growth,
		.lent = s->lent,
		.since = s->since,
		.function = s->function,
		.lease = slot_has_lease(s) ? (char *)s->lease.id : NULL,
		.owner = slot_has_lease(s) ? (char *)s->lease.owner : NULL,
		.kept = s->lease.kept,
		.holder = s->lease.holder.pid,
		.iommu = s->iommu == VFIO_AUTO ? NULL : (char *)vfio_kind_name(s->iommu),
		.reason = *s->reason ? (char *)s->reason : NULL,
	};
}

static void on_list(struct server *s, struct peer *p, const struct lease_request *r)
{
	const struct pool *pool = &s->lender->pool;
	struct lease_slot slots[LIST_MAX];
	struct lease_reply out = {.slots = slots};
	uint32_t i;

	for (i = r->first; i < pool->n && out.slots_n < LIST_MAX; i++)
		if (!r->owner ||
		    (slot_has_lease(pool->v[i]) && strcmp(pool->v[i]->lease.owner, r->owner) == 0))
			describe(pool->v[i], &slots[out.slots_n++]);
	out.next = i < pool->n ? i : 0;
	reply(p, &out, NULL, 0);
}

static bool any_named(const struct server *s, const char *what)
{
	for (uint32_t i = 0; i < s->lender->pool.n; i++)
		if (pool_named(s->lender->pool.v[i], what))
			return true;
	return !what;
}

static void on_drain(struct server *s, struct peer *p, const struct lease_request *r)
{
	struct error err;
	int rc = 0;

	if (!any_named(s, r->what))
		rc = error_set(&err, ENOENT, "'%s' is no slot, function or interface here",
			       r->what);
	else if (r->head.op == LEASE_DRAIN)
		lender_drain(s->lender, r->what, r->drain);
	for (uint32_t i = 0; rc == 0 && r->head.op == LEASE_RETRY && i < s->lender->pool.n; i++)
		if (pool_named(s->lender->pool.v[i], r->what))
			slot_retry(s->lender->pool.v[i]);
	if (rc == 0)
		rc = lender_save(s->lender, &err);
	if (rc < 0)
		reply_error(s, p, &err);
	else
		reply_ok(p);
}

static void on_status(struct server *s, struct peer *p)
{
	const struct lender *l = s->lender;
	struct lease_reply r = {
		.status =
			{
				.pid = (uint32_t)getpid(),
				.since = l->since,
				.draining = l->pool.draining,
				.granted = l->granted,
				.refused = l->refused,
				.returned = l->returned,
				.quarantined = l->quarantined,
			},
	};

	for (struct peer *other = s->peers; other; other = other->next)
		r.status.waiting += other->waiting;
	for (uint32_t i = 0; i < l->pool.n; i++)
		r.status.slots[l->pool.v[i]->state]++;
	reply(p, &r, NULL, 0);
}

static void serve(struct server *s, struct peer *p, const struct lease_request *r, int *fd)
{
	p->op = r->head.op;
	switch (r->head.op) {
	case LEASE_LEASE:
		on_lease(s, p, r);
		break;
	case LEASE_TAKE:
		on_take(s, p, r);
		break;
	case LEASE_HOLD:
		on_hold(s, p, r, fd);
		break;
	case LEASE_RELEASE:
		on_release(s, p, r);
		break;
	case LEASE_LIST:
		on_list(s, p, r);
		break;
	case LEASE_DRAIN:
	case LEASE_RETRY:
		on_drain(s, p, r);
		break;
	case LEASE_STATUS:
		on_status(s, p);
		break;
	}
}

/* --- connections --- */

static bool may_connect(const struct server *s, uid_t uid)
{
	const struct daemon_config *c = &s->lender->config;

	for (uint32_t i = 0; i < c->uids_n; i++)
		if (c->uids[i] == uid)
			return true;
	return uid == 0;
}

static void accept_peer(struct server *s)
{
	_cleanup_close_ int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct peer *p, **at = &s->peers;
	struct epoll_event ev = {.events = EPOLLIN};
	struct ucred who;
	socklen_t size = sizeof(who);

	if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) < 0 || who.pid <= 0)
		return;
	if (!may_connect(s, who.uid)) {
		log_line("warning", "user %u (process %d) may not connect", who.uid, who.pid);
		return;
	}
	if (s->peers_n == SERVER_PEERS_MAX) {
		log_line("warning", "more than %u connections: process %d is turned away",
			 SERVER_PEERS_MAX, who.pid);
		return;
	}
	p = calloc(1, sizeof(*p));
	if (!p)
		return;
	p->process = state_process_of(who.pid);
	ev.data.u64 = (uintptr_t)p;
	if (!p->process.start || epoll_ctl(s->lender->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0) {
		free(p);
		return;
	}
	p->fd = steal_fd(&fd);
	while (*at)
		at = &(*at)->next;
	*at = p;
	s->peers_n++;
}

static void receive(struct server *s, struct peer *p)
{
	static uint8_t buf[LEASE_PACKET_MAX];
	struct lease_request r = {0};
	int fds[LEASE_FDS_MAX], n = lease_recv(p->fd, buf, fds);
	struct msg m;

	if (n == -EAGAIN)
		return;
	/* One request at a time; who sends another is not one of ours. */
	if (n <= 0 || p->waiting) {
		p->hungup = true;
	} else {
		msg_init_decode(&m, buf, (size_t)n);
		lease_request_codec(&m, &r);
		if (msg_finish(&m) < 0) {
			struct error err;

			log_line("warning", "process %d sent a malformed request", p->process.pid);
			p->op = LEASE_STATUS;
			error_set(&err, EPROTO, "the request is malformed (another version?)");
			reply_error(s, p, &err);
			p->hungup = true;
		} else {
			serve(s, p, &r, &fds[0]);
		}
		msg_done(&m);
	}
	lease_close_fds(fds);
}

/* What it waited for is somebody else's now. */
static void give_up(struct server *s, struct peer *p)
{
	struct slot *slot = pool_by_lease(&s->lender->pool, p->lease);

	if (p->waiting && p->op == LEASE_LEASE && slot)
		lender_cancel(s->lender, slot);
	p->waiting = false;
}

static void remove_gone(struct server *s)
{
	for (struct peer **at = &s->peers; *at;) {
		struct peer *p = *at;

		if (!p->hungup) {
			at = &p->next;
			continue;
		}
		give_up(s, p);
		*at = p->next;
		close(p->fd);
		free(p);
		s->peers_n--;
	}
}

bool server_event(struct server *s, uint64_t data)
{
	if (data == SERVER_LISTEN) {
		accept_peer(s);
		return true;
	}
	for (struct peer *p = s->peers; p; p = p->next)
		if ((uintptr_t)p == data) {
			receive(s, p);
			return true;
		}
	return false;
}

int server_step(struct server *s)
{
	uint64_t now = monotonic_ns(), first = UINT64_MAX;

	for (struct peer *p = s->peers; p; p = p->next) {
		if (p->waiting && p->op == LEASE_LEASE)
			try_lease(s, p, now);
		else if (p->waiting)
			try_take(s, p, now);
		if (p->waiting && p->deadline < first)
			first = p->deadline;
	}
	remove_gone(s);
	if (first == UINT64_MAX)
		return -1;
	return first > now ? (int)((first - now) / 1000000) + 1 : 0;
}

int server_init(struct server *s, struct lender *l, struct error *err)
{
	const char *path = l->config.socket;
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = SERVER_LISTEN};
	mode_t mask;
	int rc;

	*s = (struct server){.lender = l,
			     .listen_fd = socket(AF_UNIX,
						 SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
	if (strlen(path) >= sizeof(a.sun_path))
		return error_set(err, ENAMETOOLONG, "'%.64s...' is too long for a socket", path);
	strcpy(a.sun_path, path);
	/* The lock of the directory is ours: what is there is of a daemon that died. */
	unlink(path);
	mask = umask(l->config.uids_n ? 0 : 0177);
	rc = bind(s->listen_fd, (struct sockaddr *)&a, sizeof(a));
	umask(mask);
	if (rc < 0 || listen(s->listen_fd, 128) < 0 ||
	    epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, s->listen_fd, &ev) < 0)
		return error_errno(err, "listen on '%s'", path);
	return 0;
}

void server_done(struct server *s)
{
	if (s->listen_fd < 0)
		return;
	close(s->listen_fd);
	s->listen_fd = -1;
	unlink(s->lender->config.socket);
	for (struct peer *p = s->peers; p; p = p->next)
		p->hungup = true;
	remove_gone(s);
}
