// SPDX-License-Identifier: Apache-2.0
#include "lib/lease.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "lib/cleanup.h"

/* What the daemon may take for a request besides the time it was told to wait. */
#define ANSWER_MS 30000u
/* No reply to LIST has more: they fit in a packet whatever their texts are. */
#define SLOTS_MAX 32u
#define REASON_MAX 1024u

const char *lease_state_name(uint8_t state)
{
	static const char *const names[SLOT_STATES] = {
		[SLOT_COLD] = "cold",	[SLOT_PREPARING] = "preparing",
		[SLOT_READY] = "ready", [SLOT_LEASED] = "leased",
		[SLOT_DIRTY] = "dirty", [SLOT_QUARANTINED] = "quarantined",
	};

	return state < SLOT_STATES ? names[state] : "unknown";
}

/* A string that lies in a field of fixed size. */
static void code_name(struct msg *m, char *field, size_t size)
{
	char *s = field;

	msg_str(m, &s);
	if (m->encode)
		return;
	*field = 0;
	if (!s || strlen(s) >= size)
		m->broken = true;
	else
		memcpy(field, s, strlen(s) + 1);
}

/* A string with a bound and without control characters; may be NULL. */
static void code_text(struct msg *m, char **s, size_t max)
{
	msg_str(m, s);
	if (!*s)
		return;
	for (const char *p = *s; *p; p++)
		if (iscntrl((unsigned char)*p))
			m->broken = true;
	if (strlen(*s) > max)
		m->broken = true;
	if (m->broken && !m->encode)
		*s = NULL;
}

static void code_head(struct msg *m, struct lease_head *h)
{
	msg_u16(m, &h->version);
	msg_u8(m, &h->op);
	if (h->version != LEASE_VERSION || h->op < LEASE_LEASE || h->op > LEASE_STATUS)
		m->broken = true;
}

static void code_function(struct msg *m, struct lease_function *f)
{
	code_name(m, f->address, sizeof(f->address));
	code_name(m, f->pf, sizeof(f->pf));
	msg_u32(m, &f->vf);
	msg_bytes(m, f->mac, sizeof(f->mac));
}

static void code_want(struct msg *m, struct lease_want *w)
{
	code_text(m, &w->owner, LEASE_OWNER_MAX);
	msg_bool(m, &w->function);
	code_text(m, &w->pf, LEASE_NAME_MAX);
	msg_u64(m, &w->memory);
	msg_bool(m, &w->kept);
	code_text(m, &w->engine, LEASE_NAME_MAX);
	msg_u32(m, &w->wait_ms);
	if (!w->owner || !*w->owner || w->wait_ms > LEASE_WAIT_MAX_MS)
		m->broken = true;
}

void lease_request_codec(struct msg *m, struct lease_request *r)
{
	code_head(m, &r->head);
	switch (r->head.op) {
	case LEASE_LEASE:
		code_want(m, &r->want);
		break;
	case LEASE_TAKE:
		code_text(m, &r->id, LEASE_ID_LEN);
		msg_u64(m, &r->memory);
		msg_u64(m, &r->memory_max);
		code_text(m, &r->engine, LEASE_NAME_MAX);
		msg_u32(m, &r->wait_ms);
		if (!r->id || !r->engine || r->wait_ms > LEASE_WAIT_MAX_MS)
			m->broken = true;
		break;
	case LEASE_HOLD:
		code_text(m, &r->id, LEASE_ID_LEN);
		if (!r->id)
			m->broken = true;
		break;
	case LEASE_RELEASE:
		code_text(m, &r->id, LEASE_ID_LEN);
		code_text(m, &r->owner, LEASE_OWNER_MAX);
		if (!r->id == !r->owner)
			m->broken = true;
		break;
	case LEASE_LIST:
		code_text(m, &r->owner, LEASE_OWNER_MAX);
		msg_u32(m, &r->first);
		break;
	case LEASE_DRAIN:
		msg_bool(m, &r->drain);
		code_text(m, &r->what, LEASE_NAME_MAX);
		break;
	case LEASE_RETRY:
		code_text(m, &r->what, LEASE_NAME_MAX);
		break;
	}
}

static void code_slot(struct msg *m, struct lease_slot *s)
{
	msg_u32(m, &s->number);
	msg_u8(m, &s->state);
	msg_bool(m, &s->drained);
	msg_bool(m, &s->hugepages);
	msg_bool(m, &s->on_demand);
	msg_u64(m, &s->memory);
	msg_u64(m, &s->growth);
	msg_u64(m, &s->lent);
	msg_i64(m, &s->since);
	code_function(m, &s->function);
	code_text(m, &s->lease, LEASE_ID_LEN);
	code_text(m, &s->owner, LEASE_OWNER_MAX);
	msg_bool(m, &s->kept);
	msg_i32(m, &s->holder);
	code_text(m, &s->iommu, LEASE_NAME_MAX);
	code_text(m, &s->reason, REASON_MAX);
	if (s->state >= SLOT_STATES)
		m->broken = true;
}

static void code_status(struct msg *m, struct lease_status *s)
{
	msg_u32(m, &s->pid);
	msg_i64(m, &s->since);
	msg_bool(m, &s->draining);
	for (unsigned int i = 0; i < SLOT_STATES; i++)
		msg_u32(m, &s->slots[i]);
	msg_u32(m, &s->waiting);
	msg_u64(m, &s->granted);
	msg_u64(m, &s->refused);
	msg_u64(m, &s->returned);
	msg_u64(m, &s->quarantined);
}

void lease_reply_codec(struct msg *m, struct lease_reply *r)
{
	code_head(m, &r->head);
	msg_i32(m, &r->code);
	code_text(m, &r->text, REASON_MAX);
	if (r->code)
		return;
	switch (r->head.op) {
	case LEASE_LEASE:
		code_name(m, r->grant.id, sizeof(r->grant.id));
		msg_u64(m, &r->grant.memory);
		code_function(m, &r->grant.function);
		break;
	case LEASE_TAKE:
		msg_u64(m, &r->taken.memory);
		msg_bool(m, &r->taken.hugepages);
		code_function(m, &r->taken.function);
		msg_u64(m, &r->taken.growth);
		break;
	case LEASE_LIST:
		msg_u32(m, &r->next);
		msg_list(m, &r->slots, &r->slots_n, sizeof(*r->slots));
		if (r->slots_n > SLOTS_MAX)
			m->broken = true;
		for (uint32_t i = 0; i < r->slots_n && !m->broken; i++)
			code_slot(m, &r->slots[i]);
		break;
	case LEASE_STATUS:
		code_status(m, &r->status);
		break;
	}
}

int lease_send(int fd, const struct msg *m, const int *fds, unsigned int fds_n)
{
	union {
		char buf[CMSG_SPACE(LEASE_FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec iov = {.iov_base = m->data, .iov_len = m->size};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (m->broken || m->size > LEASE_PACKET_MAX || fds_n > LEASE_FDS_MAX)
		return -EPROTO;
	if (fds_n) {
		struct cmsghdr *c = &control.align;

		msg.msg_control = control.buf;
		msg.msg_controllen = CMSG_SPACE(fds_n * sizeof(int));
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(fds_n * sizeof(int));
		memcpy(CMSG_DATA(c), fds, fds_n * sizeof(int));
	}
	return sendmsg(fd, &msg, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static void collect(struct msghdr *msg, int ret_fds[static LEASE_FDS_MAX])
{
	unsigned int n = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t got = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < got; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (n < LEASE_FDS_MAX)
				ret_fds[n++] = fd;
			else
				close(fd);
		}
	}
}

static void no_fds(int fds[static LEASE_FDS_MAX])
{
	for (unsigned int i = 0; i < LEASE_FDS_MAX; i++)
		fds[i] = -1;
}

void lease_close_fds(int fds[static LEASE_FDS_MAX])
{
	for (unsigned int i = 0; i < LEASE_FDS_MAX; i++)
		cleanup_close(&fds[i]);
	no_fds(fds);
}

int lease_recv(int fd, uint8_t buf[static LEASE_PACKET_MAX], int ret_fds[static LEASE_FDS_MAX])
{
	union {
		char buf[CMSG_SPACE(LEASE_FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = {.iov_base = buf, .iov_len = LEASE_PACKET_MAX};
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.buf,
		.msg_controllen = sizeof(control.buf),
	};
	ssize_t n;

	no_fds(ret_fds);
	do {
		n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	collect(&msg, ret_fds);
	/* More descriptors than there is room for were closed by the kernel. */
	if (!(msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
		return (int)n;
	lease_close_fds(ret_fds);
	return -EMSGSIZE;
}

int lease_connect(const char *path, struct error *err)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	if (!path)
		path = LEASE_SOCKET;
	if (strlen(path) >= sizeof(a.sun_path))
		return error_set(err, ENAMETOOLONG, "'%.64s...' is too long for a socket", path);
	memcpy(a.sun_path, path, strlen(path) + 1);
	if (fd < 0)
		return error_errno(err, "make a socket");
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return error_errno(err, "connect to caissond at '%s'", path);
	return steal_fd(&fd);
}

static int set_timeout(int fd, uint32_t ms)
{
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	return setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
}

static int receive(int fd, struct msg *m, uint8_t op, struct lease_reply *ret,
		   int fds[static LEASE_FDS_MAX], struct error *err)
{
	/* What is decoded is copied into the message's arena; the packet is not kept. */
	uint8_t buf[LEASE_PACKET_MAX];
	int n = lease_recv(fd, buf, fds);

	if (n == -EAGAIN)
		return error_set(err, ETIMEDOUT, "caissond did not answer in time");
	if (n <= 0)
		return error_set(err, n ? -n : EPIPE, "caissond went away before it answered");
	msg_init_decode(m, buf, (size_t)n);
	lease_reply_codec(m, ret);
	n = msg_finish(m);
	m->data = NULL;
	if (n < 0 || ret->head.op != op)
		return error_set(err, EPROTO, "caissond's answer is malformed (another version?)");
	if (ret->code)
		return error_set(err, ret->code > 0 && ret->code < 4096 ? ret->code : EIO, "%s",
				 ret->text ? ret->text : "caissond gave no reason");
	return 0;
}

/* One request, one reply, which lives in m.  On error nothing is left but m, for msg_done(). */
static int exchange(int fd, struct lease_request *r, int pass_fd, struct msg *m,
		    struct lease_reply *ret, int fds[static LEASE_FDS_MAX], struct error *err)
{
	struct msg out;
	int rc;

	*ret = (struct lease_reply){0};
	no_fds(fds);
	r->head.version = LEASE_VERSION;
	msg_init_encode(&out);
	msg_init_decode(m, NULL, 0);
	lease_request_codec(&out, r);
	rc = set_timeout(fd, r->wait_ms + r->want.wait_ms + ANSWER_MS);
	if (rc == 0)
		rc = lease_send(fd, &out, &pass_fd, pass_fd >= 0);
	msg_done(&out);
	if (rc == -EPROTO)
		return error_set(err, EINVAL, "the request is out of bounds");
	if (rc < 0)
		return error_set(err, EPIPE, "caissond went away");
	rc = receive(fd, m, r->head.op, ret, fds, err);
	if (rc < 0 || r->head.op != LEASE_TAKE)
		lease_close_fds(fds);
	return rc;
}

int lease_lease(int fd, const struct lease_want *want, struct lease_grant *ret, struct error *err)
{
	struct lease_request r = {.head.op = LEASE_LEASE, .want = *want};
	struct lease_reply reply;
	struct msg m;
	int rc, fds[LEASE_FDS_MAX];

	rc = exchange(fd, &r, -1, &m, &reply, fds, err);
	*ret = reply.grant;
	msg_done(&m);
	return rc;
}

/* Memory first, then the device, then growth: of what there is. */
static int sort_fds(struct lease_taken *t, int fds[static LEASE_FDS_MAX], struct error *err)
{
	struct {
		bool wanted;
		int *fd;
	} const parts[LEASE_FDS_MAX] = {
		{t->memory != 0, &t->memory_fd},
		{*t->function.address, &t->device_fd},
		{t->growth != 0, &t->growth_fd},
	};
	unsigned int n = 0;
	bool lacks = false;

	t->memory_fd = t->device_fd = t->growth_fd = -1;
	for (unsigned int i = 0; i < LEASE_FDS_MAX; i++) {
		if (!parts[i].wanted)
			continue;
		lacks = lacks || fds[n] < 0;
		*parts[i].fd = steal_fd(&fds[n++]);
	}
	lease_close_fds(fds);
	if (!lacks)
		return 0;
	lease_taken_done(t);
	return error_set(err, EPROTO, "caissond's answer lacks descriptors");
}

int lease_take(int fd, const char *id, const char *engine, uint64_t memory, uint64_t max,
	       uint32_t wait_ms, struct lease_taken *ret, struct error *err)
{
	struct lease_request r = {.head.op = LEASE_TAKE,
				  .id = (char *)id,
				  .engine = (char *)engine,
				  .memory = memory,
				  .memory_max = max,
				  .wait_ms = wait_ms};
	struct lease_reply reply;
	struct msg m;
	int rc, fds[LEASE_FDS_MAX];

	rc = exchange(fd, &r, -1, &m, &reply, fds, err);
	msg_done(&m);
	if (rc < 0) {
		*ret = LEASE_TAKEN_NONE;
		return rc;
	}
	*ret = reply.taken;
	return sort_fds(ret, fds, err);
}

void lease_taken_done(struct lease_taken *t)
{
	cleanup_close(&t->memory_fd);
	cleanup_close(&t->device_fd);
	cleanup_close(&t->growth_fd);
	t->memory_fd = t->device_fd = t->growth_fd = -1;
}

/* A request whose reply says nothing but how it went. */
static int order(int fd, struct lease_request *r, int pass_fd, struct error *err)
{
	struct lease_reply reply;
	struct msg m;
	int rc, fds[LEASE_FDS_MAX];

	rc = exchange(fd, r, pass_fd, &m, &reply, fds, err);
	msg_done(&m);
	return rc;
}

int lease_hold(int fd, const char *id, int pidfd, struct error *err)
{
	struct lease_request r = {.head.op = LEASE_HOLD, .id = (char *)id};

	return order(fd, &r, pidfd, err);
}

int lease_release(int fd, const char *id, const char *owner, struct error *err)
{
	struct lease_request r = {.head.op = LEASE_RELEASE,
				  .id = (char *)id,
				  .owner = id ? NULL : (char *)owner};

	return order(fd, &r, -1, err);
}

int lease_drain(int fd, const char *what, bool drain, struct error *err)
{
	struct lease_request r = {.head.op = LEASE_DRAIN, .what = (char *)what, .drain = drain};

	return order(fd, &r, -1, err);
}

int lease_retry(int fd, const char *what, struct error *err)
{
	struct lease_request r = {.head.op = LEASE_RETRY, .what = (char *)what};

	return order(fd, &r, -1, err);
}

/* Puts a reply's slots behind those that are there, with copies of their texts. */
static int append(struct lease_slots *all, const struct lease_reply *reply, struct error *err)
{
	uint32_t n = all->n + reply->slots_n;
	struct lease_slot *v = arena_alloc(&all->arena, (n + 1) * sizeof(*v));

	if (!v)
		return error_set(err, ENOMEM, "out of memory");
	if (all->n)
		memcpy(v, all->v, all->n * sizeof(*v));
	for (uint32_t i = 0; i < reply->slots_n; i++) {
		struct lease_slot *s = &v[all->n + i];

		*s = reply->slots[i];
		s->lease = arena_strdup(&all->arena, s->lease);
		s->owner = arena_strdup(&all->arena, s->owner);
		s->reason = arena_strdup(&all->arena, s->reason);
	}
	all->v = v;
	all->n = n;
	return 0;
}

int lease_list(int fd, const char *owner, struct lease_slots *ret, struct error *err)
{
	struct lease_request r = {.head.op = LEASE_LIST, .owner = (char *)owner};
	struct lease_reply reply;
	struct msg m;
	int rc, fds[LEASE_FDS_MAX];

	*ret = (struct lease_slots){0};
	do {
		rc = exchange(fd, &r, -1, &m, &reply, fds, err);
		if (rc == 0 && reply.next && reply.next <= r.first)
			rc = error_set(err, EPROTO, "caissond's list does not end");
		if (rc == 0)
			rc = append(ret, &reply, err);
		r.first = reply.next;
		msg_done(&m);
	} while (rc == 0 && r.first);
	if (rc < 0) {
		arena_done(&ret->arena);
		*ret = (struct lease_slots){0};
	}
	return rc;
}

int lease_status(int fd, struct lease_status *ret, struct error *err)
{
	struct lease_request r = {.head.op = LEASE_STATUS};
	struct lease_reply reply;
	struct msg m;
	int rc, fds[LEASE_FDS_MAX];

	rc = exchange(fd, &r, -1, &m, &reply, fds, err);
	*ret = reply.status;
	msg_done(&m);
	return rc;
}
