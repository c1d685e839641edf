// SPDX-License-Identifier: Apache-2.0
#include "runtime/lent.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "vmm/mem/layout.h"

enum wish { WISH_NONE, WISH_READY, WISH_MEMORY, WISH_FUNCTION, WISHES };

static int parse_wish(const char *text, enum wish *ret, struct error *err)
{
	static const char *const names[WISHES] = {"no", "auto", "memory", "function"};

	for (*ret = 0; *ret < WISHES; (*ret)++)
		if (strcmp(text, names[*ret]) == 0)
			return 0;
	return error_set(err, EINVAL, "slots '%.64s' is not auto, no, memory or function", text);
}

/* The lease of the pod's function: a guest's memory is mapped for one. */
static int find_lease(const struct network *n, const char **ret_id, const char **ret_name,
		      struct error *err)
{
	*ret_id = NULL;
	for (uint32_t i = 0; i < n->n; i++) {
		if (!n->leases[i])
			continue;
		if (*ret_id)
			return error_set(err, EOPNOTSUPP,
					 "interfaces '%s' and '%s' are both leased functions: a "
					 "sandbox can have one",
					 *ret_name, n->nics[i].name);
		*ret_id = n->leases[i];
		*ret_name = n->nics[i].name;
	}
	return 0;
}

static int connect_daemon(const struct settings *s, struct error *err)
{
	int fd = lease_connect(s->slots_socket, err);

	if (fd == -ENOENT || fd == -ECONNREFUSED)
		return error_set(err, -fd, "caissond is not running (no one listens on '%s')",
				 s->slots_socket);
	return fd;
}

static bool uses_slots(const struct settings *s)
{
	return strcmp(s->engine, "kvm") == 0 || strcmp(s->engine, "cki") == 0;
}

/* What the guest begins with; the rest is to be something that it can grow by. */
static uint64_t start_of(const struct settings *s)
{
	return s->memory_start && s->memory_start < s->memory ? s->memory_start : s->memory;
}

static int check_growth(const struct settings *s, struct error *err)
{
	const uint64_t start = start_of(s);
	struct mem_extent growth;

	if (start == s->memory || mem_growth(start, s->memory, &growth))
		return 0;
	return error_set(
		err, EINVAL,
		"memory_start %" PRIu64 ": a guest of %" PRIu64
		" bytes can begin with a multiple of 2 MiB, and grow by multiples of %llu MiB",
		start, s->memory, MEM_GROWTH_STEP >> 20);
}

static int lease_slot(struct lent *l, const struct settings *s, enum wish wish, const char *id,
		      struct error *err)
{
	char owner[LEASE_OWNER_MAX + 1];
	struct lease_want want = {
		.owner = owner,
		.function = wish == WISH_FUNCTION,
		.memory = start_of(s),
		.engine = s->engine,
		.wait_ms = wish == WISH_READY ? 0 : s->slots_wait * 1000,
	};
	struct lease_grant grant;
	int rc;

	/* Not the ID alone: a sandbox of that name may have ended just now. */
	snprintf(owner, sizeof(owner), "sandbox %s %d", id, getpid());
	rc = lease_lease(l->fd, &want, &grant, err);
	if (rc == 0)
		memcpy(l->id, grant.id, sizeof(l->id));
	return rc;
}

int lent_lease(struct lent *ret, const struct settings *s, const struct network *n, const char *id,
	       struct error *err)
{
	const char *lease, *name = NULL;
	enum wish wish;

	*ret = LENT_NONE;
	if (parse_wish(s->slots, &wish, err) < 0 || find_lease(n, &lease, &name, err) < 0)
		return -err->code;
	if (!lease && (wish == WISH_NONE || (wish == WISH_READY && !uses_slots(s))))
		return 0;
	if (!uses_slots(s))
		return error_set(err, EOPNOTSUPP, "engine '%s' cannot use what caissond lends: %s",
				 s->engine,
				 lease ? "the network is a leased function" : "choose kvm or cki");
	if (check_growth(s, err) < 0)
		return -err->code;
	ret->fd = connect_daemon(s, err);
	if (ret->fd >= 0 && lease)
		snprintf(ret->id, sizeof(ret->id), "%s", lease);
	else if (ret->fd >= 0)
		lease_slot(ret, s, wish, id, err);
	if (ret->fd >= 0 && *ret->id)
		return 0;
	lent_done(ret);
	if (!lease && wish == WISH_READY)
		return 0;
	return lease ? error_wrap(err, "interface '%s' is a leased function", name)
		     : error_wrap(err, "slots '%s'", s->slots);
}

int lent_take(struct lent *l, const struct settings *s, struct machine *m, struct error *err)
{
	if (l->fd < 0)
		return 0;
	if (lease_take(l->fd, l->id, s->engine, start_of(s), s->memory, s->slots_wait * 1000,
		       &l->parts, err) < 0)
		return error_wrap(err, "lent slot");
	m->memory = l->parts.memory;
	m->memory_max = l->parts.memory + l->parts.growth;
	m->memory_fd = l->parts.memory_fd;
	m->growth_fd = l->parts.growth_fd;
	m->hugepages = l->parts.hugepages;
	if (l->parts.device_fd < 0)
		return 0;
	l->function = (struct machine_function){.name = l->parts.function.address,
						.device_fd = l->parts.device_fd};
	memcpy(l->function.mac, l->parts.function.mac, sizeof(l->function.mac));
	m->functions = &l->function;
	m->functions_n = 1;
	return 0;
}

int lent_hold(struct lent *l, pid_t monitor, struct error *err)
{
	_cleanup_close_ int pidfd = -1;

	if (l->fd < 0)
		return 0;
	pidfd = (int)syscall(SYS_pidfd_open, monitor, 0);
	if (pidfd < 0)
		return error_errno(err, "open the monitor's pidfd");
	if (lease_hold(l->fd, l->id, pidfd, err) < 0)
		return error_wrap(err, "lent slot");
	return 0;
}

void lent_done(struct lent *l)
{
	cleanup_close(&l->fd);
	lease_taken_done(&l->parts);
	*l = LENT_NONE;
}
