// SPDX-License-Identifier: Apache-2.0
#include "daemon/lender.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "daemon/function.h"
#include "daemon/growth.h"
#include "daemon/store.h"
#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/timeline.h"
#include "vmm/mem/backing.h"

#define RETRY_NS 1000000000ull /* after the first failure; twice as much after each other */
#define RETRY_MAX_NS 15000000000ull
#define QUARANTINE_RETRY_NS 5000000000ull
#define URGENT_JOBS_MAX 64u

struct unit {
	struct unit *next;
	struct slot *slot;
	struct parts parts;
	struct job *job;       /* NULL: none at work */
	int holder_fd;	       /* pidfd; -1: nobody to watch */
	int request_fd;	       /* function_watch(); -1: not open here */
	int spare_fd;	       /* another slot's memory that it gets; -1: none */
	struct growth *growth; /* of what has been taken; NULL: none, or over */
	bool granted;
	bool known; /* from the record */
	char token[STORE_TOKEN_LEN + 1];
};

static void random_hex(char *ret, size_t digits)
{
	uint8_t bytes[16];

	if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
		abort(); /* there has been a random pool since long before us */
	for (size_t i = 0; i < digits; i++)
		ret[i] = "0123456789abcdef"[bytes[i / 2] >> (i % 2 * 4) & 15];
	ret[digits] = 0;
}

static struct unit *unit_of(const struct slot *s)
{
	return s->unit;
}

static struct unit *add_unit(struct lender *l, struct slot *s)
{
	struct unit *u = calloc(1, sizeof(*u));

	if (!u)
		return NULL;
	*u = (struct unit){.next = l->units,
			   .slot = s,
			   .parts = PARTS_NONE,
			   .holder_fd = -1,
			   .request_fd = -1,
			   .spare_fd = -1};
	l->units = u;
	s->unit = u;
	return u;
}

static void unwatch_function(struct unit *u)
{
	cleanup_close(&u->request_fd);
	u->request_fd = -1;
}

static void remove_unit(struct lender *l, struct unit *u)
{
	struct unit **at = &l->units;

	while (*at != u)
		at = &(*at)->next;
	*at = u->next;
	cleanup_close(&u->holder_fd);
	unwatch_function(u);
	cleanup_close(&u->spare_fd);
	growth_free(u->growth);
	parts_done(&u->parts);
	pool_remove(&l->pool, u->slot);
	free(u);
	l->changed = true;
}

/* --- holders --- */

static int open_pidfd(const struct state_process *p)
{
	_cleanup_close_ int fd = (int)syscall(SYS_pidfd_open, p->pid, 0);

	/* Alive after the open: then the pid is still this process's. */
	return fd >= 0 && state_process_alive(p) ? steal_fd(&fd) : -1;
}

static void unwatch(struct unit *u)
{
	cleanup_close(&u->holder_fd);
	u->holder_fd = -1;
}

/* Watches the holder by its pidfd (taken over). */
static void watch(struct lender *l, struct unit *u, int pidfd)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = (uintptr_t)u};

	unwatch(u);
	u->holder_fd = pidfd;
	if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, pidfd, &ev) < 0)
		log_line("error", "watch a holder: %s", strerror(errno));
}

static void holder_gone(struct lender *l, struct unit *u)
{
	unwatch(u);
	if (u->growth)
		atomic_store(&u->growth->stop, true);
	l->returned += u->slot->lease.taken;
	slot_holder_gone(u->slot);
	timeline_mark("slot-holder-gone");
	l->changed = true;
}

/* --- the kernel wants it back --- */

static void watch_function(struct lender *l, struct unit *u)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = (uintptr_t)u};

	u->request_fd = u->parts.function.device_fd < 0 ? -1 : function_watch(&u->parts);
	if (u->request_fd >= 0 && epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, u->request_fd, &ev) < 0)
		log_line("error", "watch function %s: %s", u->slot->function.address,
			 strerror(errno));
}

/* --- the store of descriptors --- */

static void fd_name(const struct unit *u, char kind, char ret[static 64])
{
	snprintf(ret, 64, "slot-%" PRIu32 "-%s-%c", u->slot->number, u->token, kind);
}

static void store_parts(struct lender *l, struct unit *u)
{
	const struct parts *p = &u->parts;
	const int fds[] = {p->memory_fd, p->function.space.fd, p->function.group_fd,
			   p->function.device_fd};
	char name[64];

	random_hex(u->token, STORE_TOKEN_LEN);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		fd_name(u, "mcgd"[i], name);
		notify_store(l->notify, name, fds[i]);
	}
}

static void unstore_parts(struct lender *l, struct unit *u)
{
	char name[64];

	for (size_t i = 0; *u->token && i < 4; i++) {
		fd_name(u, "mcgd"[i], name);
		notify_remove(l->notify, name);
	}
	*u->token = 0;
}

/* The parts that a daemon before us left with systemd, if all of them are there. */
static bool adopt_parts(struct lender *l, struct unit *u, const struct store_slot *from)
{
	struct parts p = PARTS_NONE;
	int *const fds[] = {&p.memory_fd, &p.function.space.fd, &p.function.group_fd,
			    &p.function.device_fd};
	struct stat st;
	char name[64];
	bool whole;

	if (!from->slot.clean || !*from->token)
		return false;
	memcpy(u->token, from->token, sizeof(u->token));
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		fd_name(u, "mcgd"[i], name);
		*fds[i] = notify_take(l->notify, name);
	}
	p.memory = from->slot.memory;
	whole = from->in_place == l->config.in_place &&
		(!p.memory || (p.memory_fd >= 0 && fstat(p.memory_fd, &st) == 0 &&
			       (uint64_t)st.st_size == p.memory));
	if (from->slot.open) {
		snprintf(p.function.address, sizeof(p.function.address), "%.*s",
			 VFIO_ADDRESS_SIZE - 1, from->slot.function.address);
		p.function.space.kind = from->slot.iommu;
		p.function.space.ioas = from->ioas;
		whole = whole && p.function.space.fd >= 0 && p.function.device_fd >= 0 &&
			p.function.space.kind != VFIO_AUTO &&
			(l->config.iommu == VFIO_AUTO ||
			 l->config.iommu == p.function.space.kind) &&
			(p.function.space.kind != VFIO_TYPE1 || p.function.group_fd >= 0);
	}
	if (!whole) {
		unstore_parts(l, u);
		parts_done(&p);
		return false;
	}
	u->parts = p;
	watch_function(l, u);
	return true;
}

/* --- the record --- */

int lender_save(struct lender *l, struct error *err)
{
	struct store store = {.next_number = l->pool.next_number, .draining = l->pool.draining};
	int rc;

	store.v = calloc(l->pool.n + 1, sizeof(*store.v));
	if (!store.v)
		return error_set(err, ENOMEM, "out of memory");
	for (uint32_t i = 0; i < l->pool.n; i++) {
		const struct unit *u = unit_of(l->pool.v[i]);
		struct store_slot *e = &store.v[store.n++];

		e->slot = *u->slot;
		e->in_place = l->config.in_place;
		e->ioas = u->parts.function.space.ioas;
		memcpy(e->token, u->token, sizeof(e->token));
		if (!u->granted)
			e->slot.lease = (struct slot_lease){0};
	}
	rc = store_write(l->dir_fd, &store, err);
	free(store.v);
	if (rc < 0)
		return error_wrap(err, "record in '%s'", l->config.directory);
	l->changed = false;
	l->saves++;
	return 0;
}

/* The configured slot that a recorded one was. */
static struct unit *find_match(struct lender *l, const struct slot *s)
{
	for (struct unit *u = l->units; u; u = u->next) {
		if (u->known || slot_has_function(s) != slot_has_function(u->slot))
			continue;
		if (slot_has_function(s)
			    ? strcmp(s->function.address, u->slot->function.address) == 0
			    : !s->on_demand && s->configured == u->slot->configured &&
				      s->hugepages == u->slot->hugepages)
			return u;
	}
	return NULL;
}

static void restore_lease(struct lender *l, struct unit *u, const struct slot *from)
{
	struct slot *s = u->slot;
	int pidfd = -1;

	if (!slot_has_lease(from))
		return;
	u->granted = true;
	s->lease = from->lease;
	s->target = from->target;
	s->target_open = slot_has_function(s);
	if (s->lease.taken) {
		/* As it was handed out: nothing of it is ours. */
		s->state = SLOT_LEASED;
		s->memory = from->memory;
		s->growth = from->growth;
		s->suspect = slot_has_function(s);
		s->clean = s->open = false;
	}
	if (s->lease.holder.pid)
		pidfd = open_pidfd(&s->lease.holder);
	if (pidfd >= 0)
		watch(l, u, pidfd);
	else if (s->lease.holder.pid)
		holder_gone(l, u);
}

static int restore_slot(struct lender *l, const struct store_slot *from)
{
	struct unit *u = find_match(l, &from->slot);
	struct slot *s;

	if (!u) {
		struct slot model = {
			.on_demand = true,
			.hugepages = from->slot.hugepages,
			.configured = from->slot.configured,
			.function = from->slot.function,
			.suspect = slot_has_function(&from->slot),
			.state = slot_has_function(&from->slot) ? SLOT_DIRTY : SLOT_COLD,
		};

		/* No longer configured and nobody's: forgotten. */
		if (!slot_has_lease(&from->slot))
			return 0;
		s = pool_add(&l->pool, &model);
		u = s ? add_unit(l, s) : NULL;
		if (!u)
			return -ENOMEM;
	}
	s = u->slot;
	u->known = true;
	s->number = from->slot.number;
	s->lent = from->slot.lent;
	s->iommu = from->slot.iommu;
	memcpy(s->function.mac, from->slot.function.mac, sizeof(s->function.mac));
	slot_drain(s, from->slot.drained);
	restore_lease(l, u, &from->slot);
	if (!s->lease.taken && s->state != SLOT_LEASED && adopt_parts(l, u, from)) {
		/* As if its work had just been done. */
		s->state = SLOT_PREPARING;
		slot_prepared(s, u->parts.memory, u->parts.function.device_fd >= 0);
	}
	return 0;
}

static int restore(struct lender *l, struct error *err)
{
	struct store store;
	uint32_t next = 0;
	int rc = 0;

	if (store_read(l->dir_fd, &store, err) < 0)
		return -err->code;
	l->pool.next_number = store.next_number;
	l->pool.draining = store.draining;
	for (uint32_t i = 0; rc == 0 && i < l->config.slots_n; i++) {
		struct slot *s = pool_add(&l->pool, &l->config.slots[i]);

		rc = s && add_unit(l, s) ? 0 : -ENOMEM;
	}
	for (uint32_t i = 0; rc == 0 && i < store.n; i++)
		rc = restore_slot(l, &store.v[i]);
	for (uint32_t i = 0; i < l->pool.n; i++)
		next = l->pool.v[i]->number >= next ? l->pool.v[i]->number + 1 : next;
	l->pool.next_number = next;
	for (uint32_t i = 0; l->pool.draining && i < l->pool.n; i++)
		slot_drain(l->pool.v[i], true);
	free(store.v);
	notify_settle(l->notify);
	return rc < 0 ? error_set(err, -rc, "restore the slots: out of memory") : 0;
}

/* --- start and end --- */

static int open_directory(struct lender *l, struct error *err)
{
	const char *dir = l->config.directory;

	if (mkdir(dir, 0755) < 0 && errno != EEXIST)
		return error_errno(err, "create '%s'", dir);
	l->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (l->dir_fd < 0)
		return error_errno(err, "open '%s'", dir);
	l->lock_fd = openat(l->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (l->lock_fd < 0)
		return error_errno(err, "open '%s/lock'", dir);
	if (flock(l->lock_fd, LOCK_EX | LOCK_NB) < 0)
		return error_set(err, EBUSY, "another caissond is at work in '%s'", dir);
	return 0;
}

int lender_init(struct lender *l, const char *config, struct notify *n, int epoll_fd,
		struct error *err)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = LENDER_DONE};
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	*l = (struct lender){.notify = n,
			     .dir_fd = -1,
			     .lock_fd = -1,
			     .epoll_fd = epoll_fd,
			     .done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
			     .since = now.tv_sec};
	if (l->done_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, l->done_fd, &ev) < 0)
		return error_errno(err, "make an eventfd");
	if (daemon_config_read(&l->config, config, err) < 0 || open_directory(l, err) < 0)
		return -err->code;
	l->pool.on_demand = l->config.on_demand;
	l->pool.hugepages = l->config.hugepages;
	l->pool.lazy_memory = l->config.lazy_memory;
	if (restore(l, err) < 0)
		return -err->code;
	return lender_save(l, err);
}

/* What the work has come to. */
static void reap(struct lender *l, struct unit *u)
{
	struct job *j = u->job;
	struct slot *s = u->slot;
	uint64_t wait;

	job_join(j);
	u->parts = j->parts;
	u->job = NULL;
	watch_function(l, u);
	l->jobs--;
	l->changed = true;
	if (u->parts.function.device_fd >= 0)
		s->iommu = u->parts.function.space.kind;
	if (j->rc == 0) {
		slot_prepared(s, u->parts.memory, u->parts.function.device_fd >= 0);
		/* The MAC as the work found or made it. */
		memcpy(s->function.mac, j->function.mac, sizeof(s->function.mac));
		if (s->clean)
			store_parts(l, u);
	} else {
		slot_failed(s, j->function_clean, u->parts.memory, u->parts.function.device_fd >= 0,
			    j->error.text);
		wait = RETRY_NS << (s->failures < 6 ? s->failures - 1 : 6);
		if (s->state == SLOT_QUARANTINED) {
			wait = wait < QUARANTINE_RETRY_NS ? QUARANTINE_RETRY_NS : wait;
			l->quarantined += s->failures == 1;
			u->granted = false;
			unwatch(u);
		}
		s->not_before = monotonic_ns() + (wait < RETRY_MAX_NS ? wait : RETRY_MAX_NS);
		if (s->failures == 1 && j->error.code != ECANCELED)
			log_line("warning", "slot %" PRIu32 ": %s", s->number, j->error.text);
	}
	free(j);
}

/* What came is the holder's; what did not come any more, it has to do without. */
static void end_growth(struct lender *l, struct unit *u)
{
	const struct growth *g = u->growth;

	if (g->error.code && !atomic_load(&g->stop))
		log_line("warning", "slot %" PRIu32 ": its memory grows no more: %s",
			 u->slot->number, g->error.text);
	growth_free(u->growth);
	u->growth = NULL;
	u->slot->growing = false;
	l->changed = true;
}

static void reap_done(struct lender *l)
{
	for (struct unit *u = l->units; u; u = u->next) {
		if (u->job && atomic_load(&u->job->done))
			reap(l, u);
		if (u->growth && u->slot->growing && atomic_load(&u->growth->done))
			end_growth(l, u);
	}
}

void lender_done(struct lender *l)
{
	struct error err;

	l->stopping = true;
	for (struct unit *u = l->units; u; u = u->next)
		if (u->job)
			atomic_store(&u->job->stop, true);
	for (struct unit *u = l->units; u; u = u->next)
		if (u->job)
			reap(l, u);
	for (struct unit *u = l->units; u; u = u->next) {
		growth_free(u->growth);
		u->growth = NULL;
	}
	if (l->dir_fd >= 0 && l->lock_fd >= 0 && l->units && lender_save(l, &err) < 0)
		log_line("error", "%s", err.text);
	while (l->units) {
		struct unit *u = l->units;

		l->units = u->next;
		cleanup_close(&u->holder_fd);
		unwatch_function(u);
		cleanup_close(&u->spare_fd);
		parts_done(&u->parts);
		free(u);
	}
	pool_done(&l->pool);
	daemon_config_free(&l->config);
	cleanup_close(&l->done_fd);
	cleanup_close(&l->lock_fd);
	cleanup_close(&l->dir_fd);
}

/* --- the work --- */

static int begin(struct lender *l, struct slot *s, struct error *err)
{
	struct unit *u = unit_of(s);
	struct job *j = calloc(1, sizeof(*j));

	if (!j)
		return error_set(err, ENOMEM, "out of memory");
	*j = (struct job){
		.function = s->function,
		.memory = s->target,
		.hugepages = s->hugepages,
		.in_place = l->config.in_place,
		.open = s->target_open,
		.empty = !slot_has_lease(s) && (s->drained || s->on_demand),
		.suspect = s->suspect,
		.vfs = s->vfs,
		.return_ms = l->config.return_ms,
		.iommu = l->config.iommu,
		.threads = l->config.threads,
		.cpu = l->config.cpu,
		.done_fd = l->done_fd,
		.spare_fd = steal_fd(&u->spare_fd),
		.parts = u->parts,
	};
	atomic_store(&j->urgent, slot_has_lease(s));
	/* A copy with systemd would look like one that somebody kept. */
	unstore_parts(l, u);
	unwatch_function(u);
	if (slot_begin(s) < 0 || job_start(j, err) < 0) {
		cleanup_close(&j->spare_fd);
		free(j);
		if (s->state != SLOT_PREPARING)
			return error_set(err, EINVAL, "slot %" PRIu32 " is %s", s->number,
					 lease_state_name((uint8_t)s->state));
		slot_failed(s, false, u->parts.memory, u->parts.function.device_fd >= 0, err->text);
		s->not_before = monotonic_ns() + RETRY_NS;
		return -err->code;
	}
	u->parts = PARTS_NONE;
	u->job = j;
	l->jobs++;
	l->changed = true;
	return 0;
}

static void forget(struct lender *l)
{
	for (struct unit *u = l->units, *next; u; u = next) {
		next = u->next;
		/* Nobody wants it any more while it is being made. */
		if (u->job && u->slot->on_demand && !slot_has_lease(u->slot))
			atomic_store(&u->job->stop, true);
		if (slot_is_over(u->slot) && !u->job)
			remove_unit(l, u);
	}
}

/* Functions in quarantine are looked after now and then: their last holder may be gone by now. */
static uint64_t retry_quarantined(struct lender *l, uint64_t now)
{
	uint64_t when = UINT64_MAX;

	for (uint32_t i = 0; i < l->pool.n; i++) {
		struct slot *s = l->pool.v[i];

		if (s->state != SLOT_QUARANTINED)
			continue;
		if (s->not_before <= now)
			slot_retry(s);
		else if (s->not_before < when)
			when = s->not_before;
	}
	return when;
}

int lender_step(struct lender *l)
{
	uint64_t now = monotonic_ns(), when, other;
	struct error err;
	struct slot *s;

	if (l->stopping)
		return -1;
	reap_done(l);
	forget(l);
	other = retry_quarantined(l, now);
	while ((s = pool_work(&l->pool, now, &when))) {
		unsigned int max = slot_has_lease(s) ? URGENT_JOBS_MAX : l->config.threads;

		if (l->jobs >= max)
			break;
		if (begin(l, s, &err) < 0)
			log_line("error", "%s", err.text);
	}
	if (l->changed && lender_save(l, &err) < 0)
		log_line("error", "%s", err.text);
	if (other < when)
		when = other;
	if (when == UINT64_MAX)
		return -1;
	return when > now ? (int)((when - now) / 1000000) + 1 : 0;
}

static bool is_readable(int fd)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};

	return fd >= 0 && poll(&pfd, 1, 0) == 1;
}

/* It waits for us in the kernel, and everything behind it does. */
static void give_back(struct lender *l, struct unit *u)
{
	unwatch_function(u);
	unstore_parts(l, u);
	if (slot_lost(u->slot) < 0)
		return;
	parts_done(&u->parts);
	log_line("warning", "slot %" PRIu32 ": the kernel wants function %s back", u->slot->number,
		 u->slot->function.address);
	u->slot->not_before = monotonic_ns() + RETRY_NS;
	l->changed = true;
}

void lender_event(struct lender *l, uint64_t data)
{
	uint64_t count;

	if (data == LENDER_DONE) {
		if (read(l->done_fd, &count, sizeof(count)) < 0)
			return; /* lender_step() looks for itself */
		return;
	}
	/* The unit may be gone by an event that came before in the same batch. */
	for (struct unit *u = l->units; u; u = u->next)
		if ((uintptr_t)u == data) {
			if (is_readable(u->holder_fd))
				holder_gone(l, u);
			if (is_readable(u->request_fd))
				give_back(l, u);
			return;
		}
}

/* --- leases --- */

struct slot *lender_reserve(struct lender *l, const struct lease_want *want,
			    const struct state_process *holder, bool soon)
{
	struct slot *s = pool_ready(&l->pool, want);
	char id[LEASE_ID_LEN + 1];
	struct unit *u;
	int pidfd;

	if (!s && soon)
		s = pool_soon(&l->pool, want);
	if (!s)
		return NULL;
	/* It may have been made just now. */
	u = s->unit ? s->unit : add_unit(l, s);
	if (!u)
		return NULL;
	random_hex(id, LEASE_ID_LEN);
	if (slot_reserve(s, id, want->owner, want->kept, holder) < 0)
		return NULL;
	u->granted = false;
	s->not_before = 0;
	if (u->job)
		atomic_store(&u->job->urgent, true);
	if (want->kept)
		return s;
	pidfd = open_pidfd(holder);
	if (pidfd < 0) {
		lender_cancel(l, s);
		return NULL;
	}
	watch(l, u, pidfd);
	return s;
}

int lender_grant(struct lender *l, struct slot *s, struct error *err)
{
	unit_of(s)->granted = true;
	timeline_mark("lease-reserved");
	if (lender_save(l, err) < 0)
		return -err->code;
	timeline_mark("lease-recorded");
	l->granted++;
	return 0;
}

/* Memory of a slot that has nothing else and is ready, instead of making some. */
static void borrow_memory(struct lender *l, struct unit *u, uint64_t memory)
{
	struct slot *donor = pool_donor(&l->pool, memory, u->slot->hugepages);

	if (!donor || u->spare_fd >= 0 || slot_give(donor) < 0)
		return;
	unstore_parts(l, unit_of(donor));
	u->spare_fd = steal_fd(&unit_of(donor)->parts.memory_fd);
	parts_done(&unit_of(donor)->parts);
}

int lender_want(struct lender *l, struct slot *s, uint64_t memory, struct error *err)
{
	struct unit *u = unit_of(s);

	if (slot_want(s, memory) < 0)
		return error_set(err, EBUSY, "lease %s has been taken", s->lease.id);
	s->not_before = 0;
	if (u->job)
		atomic_store(&u->job->urgent, true);
	else if (s->state == SLOT_COLD)
		borrow_memory(l, u, memory);
	return 0;
}

/* The room for it, and who fills it: begun when the parts have left. */
static int promise(struct lender *l, struct unit *u, uint64_t max, int *ret_fd, struct error *err)
{
	struct slot *s = u->slot;

	if (max <= s->memory)
		return 0;
	if (pool_may_grow(&l->pool, max - s->memory, err) < 0 ||
	    growth_new(&u->parts, max, s->hugepages, &u->growth, ret_fd, err) < 0)
		return -err->code;
	u->growth->threads = l->config.threads;
	u->growth->done_fd = l->done_fd;
	return 0;
}

static int take(struct lender *l, struct unit *u, const struct state_process *holder, uint64_t max,
		struct error *err)
{
	struct slot *s = u->slot;
	int pidfd = open_pidfd(holder);

	if (pidfd < 0)
		return error_set(err, ESRCH, "process %d, which asked, is gone", holder->pid);
	if (slot_take(s, holder) < 0) {
		close(pidfd);
		return error_set(err, EBUSY, "lease %s cannot be taken: its slot is %s",
				 s->lease.id, lease_state_name((uint8_t)s->state));
	}
	s->growth = u->growth ? max - s->memory : 0;
	watch(l, u, pidfd);
	unstore_parts(l, u);
	timeline_mark("take-begun");
	if (u->parts.memory_fd >= 0 && mem_backing_seal(u->parts.memory_fd, err) < 0)
		return -err->code;
	/* Not recorded, it must not leave; when its holder is gone it is cleaned for nothing. */
	if (lender_save(l, err) < 0)
		return -err->code;
	timeline_mark("take-recorded");
	return 0;
}

int lender_take(struct lender *l, struct slot *s, const struct state_process *holder, uint64_t max,
		struct lease_taken *ret, struct error *err)
{
	_cleanup_close_ int growth_fd = -1;
	struct unit *u = unit_of(s);

	if (promise(l, u, max, &growth_fd, err) < 0)
		return -err->code;
	if (take(l, u, holder, max, err) < 0) {
		s->growth = 0;
		if (u->growth)
			growth_cancel(u->growth);
		u->growth = NULL;
		return -err->code;
	}
	*ret = (struct lease_taken){
		.memory = s->memory,
		.hugepages = s->hugepages,
		.function = s->function,
		.growth = s->growth,
		.memory_fd = u->parts.memory_fd,
		.device_fd = u->parts.function.device_fd,
		.growth_fd = steal_fd(&growth_fd),
	};
	return 0;
}

void lender_taken(struct lender *l, struct slot *s)
{
	struct unit *u = unit_of(s);
	struct error err;

	/* The mapping for DMA lives as long as the device is open anywhere. */
	unwatch_function(u);
	parts_done(&u->parts);
	if (u->growth && growth_start(u->growth, &err) == 0) {
		s->growing = true;
	} else if (u->growth) {
		log_line("error", "slot %" PRIu32 ": %s", s->number, err.text);
		growth_free(u->growth);
		u->growth = NULL;
	}
	s->open = false;
	l->changed = true;
}

int lender_hold(struct lender *l, struct slot *s, int pidfd, struct error *err)
{
	_cleanup_close_ int fd = pidfd;
	struct state_process holder = {0};
	char path[64], line[128];
	_cleanup_fclose_ FILE *f = NULL;
	int pid = 0;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "Pid: %d", &pid) == 1)
			break;
	if (pid > 0)
		holder = state_process_of(pid);
	if (!holder.start)
		return error_set(err, ESRCH, "the descriptor is no pidfd of a living process");
	if (slot_hold(s, &holder) < 0)
		return error_set(err, EINVAL, "lease %s has not been taken", s->lease.id);
	watch(l, unit_of(s), steal_fd(&fd));
	timeline_mark("hold-begun");
	return lender_save(l, err);
}

void lender_release(struct lender *l, struct slot *s)
{
	slot_release(s);
	timeline_mark("release-begun");
	l->changed = true;
}

void lender_cancel(struct lender *l, struct slot *s)
{
	struct unit *u = unit_of(s);

	if (!slot_has_lease(s) || s->lease.taken)
		return;
	unwatch(u);
	s->lease.kept = false;
	if (slot_holder_gone(s) < 0)
		slot_release(s);
	u->granted = false;
	l->changed = true;
}

void lender_drain(struct lender *l, const char *what, bool drain)
{
	if (!what)
		l->pool.draining = drain;
	for (uint32_t i = 0; i < l->pool.n; i++)
		if (pool_named(l->pool.v[i], what))
			slot_drain(l->pool.v[i], drain);
	l->changed = true;
}
