// SPDX-License-Identifier: Apache-2.0
#include "guest/init/container.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "guest/init/cgroup.h"
#include "guest/init/channel.h"
#include "guest/init/path.h"
#include "guest/init/process.h"
#include "lib/cleanup.h"

#ifndef PIDFD_GET_MNT_NAMESPACE /* linux/pidfd.h of 6.11; close-on-exec */
#define PIDFD_GET_MNT_NAMESPACE _IO(0xFF, 3)
#endif
#define CONTAINERS_MAX 256
#define ID_MAX 255
#define UNSHARABLE (CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP | CLONE_NEWNET)
#define FREEZE_TIMEOUT_MS 10000
/* Long enough for what has been said to be on its way to the host. */
#define UNMOUNT_AFTER_MS 5
/* What of a process list fits into one result. */
#define PS_MAX (WIRE_GUEST_PAYLOAD_MAX - 64)

static struct container *containers;
static unsigned int containers_n;

static struct container *container_find(const char *id)
{
	struct container *c = containers;

	while (c && strcmp(c->id, id) != 0)
		c = c->next;
	return c;
}

static struct container *container_get(const char *id, struct error *err)
{
	struct container *c = container_find(id);

	if (!c || !c->first)
		error_set(err, ENOENT, "container '%s' does not exist", id);
	return c && c->first ? c : NULL;
}

/* One that can take requests for its processes. */
static struct container *container_get_alive(const char *id, struct error *err)
{
	struct container *c = container_get(id, err);

	if (c && c->dying) {
		error_set(err, ESRCH, "container '%s' is not running", id);
		return NULL;
	}
	return c;
}

int container_pids(const struct container *c)
{
	const struct container *other = c->pid_of ? container_find(c->pid_of) : NULL;

	return other && other->first ? other->first->pidfd : -1;
}

/* From here on the id is free again and nobody finds the container. */
static void container_detach(struct container *c)
{
	for (struct container **at = &containers; *at; at = &(*at)->next) {
		if (*at == c) {
			*at = c->next;
			containers_n--;
			break;
		}
	}
	if (c->freeze_reply_to)
		channel_result(c->freeze_reply_to, ESRCH, "the container has ended");
	c->freeze_reply_to = 0;
	timer_stop(&c->freeze_timer);
	loop_remove(&c->events);
	if (c->events.fd >= 0)
		close(c->events.fd);
	c->events.fd = -1;
	if (c->group >= 0) {
		container_check_oom(c);
		close(c->group);
		cgroup_remove(c->id);
	}
	c->group = -1;
	c->first = NULL;
}

static void on_mounts_timer(struct timer *t)
{
	struct container *c = container_of(t, struct container, mounts_timer);

	if (c->mounts >= 0)
		close(c->mounts);
	free(c->pid_of);
	free(c->id);
	free(c);
}

static void container_free(struct container *c)
{
	container_detach(c);
	timer_start(&c->mounts_timer, c->mounts < 0 ? 0 : UNMOUNT_AFTER_MS);
}

/*
 * Unmounting all that the container had takes longer than anything else at its
 * end, and its first process would have to do it before anyone learns that it has
 * ended.  Holding the namespace puts it off until that has been told; a guest that
 * is then shut down never does it.
 */
void container_first_ready(struct container *c)
{
	c->mounts = ioctl(c->first->pidfd, PIDFD_GET_MNT_NAMESPACE, 0);
}

bool container_check_oom(struct container *c)
{
	if (!c->oom && c->group >= 0)
		c->oom = cgroup_saw_oom(c->group);
	return c->oom;
}

/*
 * When the first process and all others have ended, the first may be told: from
 * then on nothing can write to its streams.  c may be gone after this.
 */
static void check_empty(struct container *c, struct cgroup_state now)
{
	if (c->dying && !now.populated && !c->first->released)
		process_release(c->first);
}

static void check_frozen(struct container *c, struct cgroup_state now)
{
	uint32_t session = c->freeze_reply_to;

	if (!session || now.frozen != c->freeze_wanted)
		return;
	c->freeze_reply_to = 0;
	timer_stop(&c->freeze_timer);
	channel_result(session, 0, NULL);
}

static void on_events(struct watch *w, uint32_t events)
{
	struct container *c = container_of(w, struct container, events);
	struct cgroup_state now = cgroup_events_read(w->fd);

	(void)events;
	check_frozen(c, now);
	check_empty(c, now);
}

static void on_freeze_timeout(struct timer *t)
{
	struct container *c = container_of(t, struct container, freeze_timer);
	char text[64];

	snprintf(text, sizeof(text), "not %s after %d ms", c->freeze_wanted ? "frozen" : "thawed",
		 FREEZE_TIMEOUT_MS);
	channel_result(c->freeze_reply_to, ETIMEDOUT, text);
	c->freeze_reply_to = 0;
}

void container_kill(struct container *c)
{
	cgroup_kill(c->group);
}

bool container_kill_all(void)
{
	for (struct container *c = containers; c; c = c->next)
		container_kill(c);
	return !containers;
}

void container_first_ended(struct container *c)
{
	struct cgroup_state now = cgroup_events_read(c->events.fd);

	c->dying = true;
	if (now.populated)
		container_kill(c); /* and on_events() will see it empty */
	else
		check_empty(c, now);
}

void container_process_gone(struct container *c, bool first)
{
	if (first)
		container_detach(c);
	/* The output of others that were in it may still be on its way. */
	if (!c->first && !process_in_container(c))
		container_free(c);
}

/* The id names a directory of the cgroup file system. */
static int check_id(const char *id, struct error *err)
{
	if (!*id || *id == '.' || strlen(id) > ID_MAX || strchr(id, '/'))
		return error_set(err, EINVAL, "container id '%s': not allowed", id);
	if (container_find(id))
		return error_set(err, EEXIST, "container '%s' exists", id);
	if (containers_n >= CONTAINERS_MAX)
		return error_set(err, EAGAIN, "%u containers: too many", containers_n);
	return 0;
}

static int container_fill(struct container *c, const struct spec_container *spec, struct error *err)
{
	c->group = cgroup_create(c->id, err);
	if (c->group < 0)
		return c->group;
	if (cgroup_apply(c->group, &spec->resources, err) < 0)
		return -err->code;
	c->events.fd = cgroup_events_open(c->group, err);
	if (c->events.fd < 0)
		return c->events.fd;
	cgroup_events_read(c->events.fd);
	return loop_add(&c->events, EPOLLPRI);
}

int container_create(uint32_t session, const struct spec_container *spec, struct error *err)
{
	struct container *c;

	if (check_id(spec->id, err) < 0)
		return -err->code;
	if (spec->pid_of && !container_get_alive(spec->pid_of, err))
		return -err->code;
	if (spec->unshare & ~(uint64_t)UNSHARABLE)
		return error_set(err, EINVAL, "namespaces 0x%llx: not supported",
				 (unsigned long long)(spec->unshare & ~(uint64_t)UNSHARABLE));
	c = calloc(1, sizeof(*c));
	if (!c)
		return error_set(err, ENOMEM, "out of memory");
	c->group = c->mounts = -1;
	c->unshare = spec->unshare;
	c->events = (struct watch){.fd = -1, .ready = on_events};
	c->freeze_timer.fire = on_freeze_timeout;
	c->mounts_timer.fire = on_mounts_timer;
	c->next = containers;
	containers = c;
	containers_n++;
	c->id = strdup(spec->id);
	c->pid_of = spec->pid_of ? strdup(spec->pid_of) : NULL;
	if (!c->id || (spec->pid_of && !c->pid_of))
		error_set(err, ENOMEM, "out of memory");
	if (!c->id || (spec->pid_of && !c->pid_of) || container_fill(c, spec, err) < 0 ||
	    process_start(c, session, spec, &spec->process, err) < 0) {
		container_free(c);
		return -err->code;
	}
	return 0;
}

int container_start(uint32_t session, const char *id, struct error *err)
{
	struct container *c = container_get_alive(id, err);

	if (!c)
		return -err->code;
	if (c->first->state != PROCESS_PREPARED)
		return error_set(err, EBUSY, "container '%s' is %s", id,
				 c->first->state == PROCESS_PREPARING ? "being created"
								      : "already started");
	process_go(c->first, session);
	return 0;
}

int container_exec(uint32_t session, const char *id, const struct spec_process *p,
		   struct error *err)
{
	struct container *c = container_get_alive(id, err);

	if (!c)
		return -err->code;
	if (c->first->state == PROCESS_PREPARING)
		return error_set(err, EBUSY, "container '%s' is being created", id);
	return process_start(c, session, NULL, p, err);
}

int container_freeze(uint32_t session, const struct wire_freeze *f, struct error *err)
{
	struct container *c = container_get_alive(f->container, err);

	if (!c)
		return -err->code;
	if (c->freeze_reply_to)
		return error_set(err, EBUSY, "container '%s' is being frozen or thawed",
				 f->container);
	if (cgroup_freeze(c->group, f->frozen, err) < 0)
		return -err->code;
	c->freeze_reply_to = session;
	c->freeze_wanted = f->frozen;
	timer_start(&c->freeze_timer, FREEZE_TIMEOUT_MS);
	check_frozen(c, cgroup_events_read(c->events.fd));
	return 0;
}

static int signal_one(int pid, void *arg)
{
	kill(pid, *(const int *)arg);
	return 0;
}

int container_signal(const char *id, int signal, bool all, struct error *err)
{
	struct container *c = container_get_alive(id, err);

	if (!c)
		return -err->code;
	if (!all)
		return process_signal(c->first, signal, err);
	if (signal == SIGKILL)
		container_kill(c);
	else
		cgroup_each(c->group, signal_one, &signal);
	return 0;
}

int container_update(const char *id, const struct spec_resources *r, struct error *err)
{
	struct container *c = container_get_alive(id, err);

	return c ? cgroup_apply(c->group, r, err) : -err->code;
}

struct listing {
	char *text;
	size_t used;
};

/* The number after a field of /proc/PID/status; the last of the process's ids is the one in its own
 * namespace. */
static unsigned long field(const char *status, const char *name)
{
	const char *p = strstr(status, name), *end;

	if (!p)
		return 0;
	p += strlen(name);
	end = p + strcspn(p, "\n");
	for (const char *t = p; t < end; t++)
		if (*t == '\t')
			p = t + 1;
	return strtoul(p, NULL, 10);
}

/* User and system time, fields 14 and 15 of /proc/PID/stat; the second, a name, may hold anything.
 */
static unsigned long cpu_ms(int pid)
{
	char path[64], text[1024], *p;
	unsigned long ticks;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	if (path_read(AT_FDCWD, path, text, sizeof(text)) < 0 || !(p = strrchr(text, ')')))
		return 0;
	for (int field = 2; field < 14 && p; field++)
		p = strchr(p + 1, ' ');
	if (!p)
		return 0;
	ticks = strtoul(p, &p, 10);
	ticks += strtoul(p, NULL, 10);
	return ticks * 1000 / (unsigned long)sysconf(_SC_CLK_TCK);
}

static int list_one(int pid, void *arg)
{
	struct listing *l = arg;
	char path[64], status[4096], *name;
	int n;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	if (path_read(AT_FDCWD, path, status, sizeof(status)) < 0 || !strstr(status, "\nNSpid:"))
		return 0; /* it has ended meanwhile */
	name = status + strcspn(status, "\t");
	n = snprintf(l->text + l->used, PS_MAX - l->used, "%lu %lu %lu %.*s\n",
		     field(status, "\nNSpid:"), cpu_ms(pid), field(status, "\nVmRSS:"),
		     *name ? (int)strcspn(name + 1, "\n") : 0, name + 1);
	if (n < 0 || (size_t)n >= PS_MAX - l->used) {
		l->text[l->used] = '\0';
		return 1; /* as many as fit */
	}
	l->used += (size_t)n;
	return 0;
}

int container_ps(const char *id, char **ret, struct error *err)
{
	struct container *c = container_get_alive(id, err);
	struct listing l = {.text = calloc(1, PS_MAX)};

	*ret = NULL;
	if (!c || !l.text) {
		free(l.text);
		return c ? error_set(err, ENOMEM, "out of memory") : -err->code;
	}
	cgroup_each(c->group, list_one, &l);
	*ret = l.text;
	return 0;
}

int container_stats(const char *id, char **ret, struct error *err)
{
	struct container *c = container_get_alive(id, err);

	*ret = c ? malloc(PS_MAX) : NULL;
	if (!*ret)
		return c ? error_set(err, ENOMEM, "out of memory") : -err->code;
	cgroup_stats(c->group, *ret, PS_MAX);
	return 0;
}
