// SPDX-License-Identifier: Apache-2.0
#include "vmm/virtio/vhost_user.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

/* The protocol's numbers; there is no header to take them from. */
enum request {
	GET_FEATURES = 1,
	SET_FEATURES = 2,
	SET_OWNER = 3,
	SET_MEM_TABLE = 5,
	SET_VRING_NUM = 8,
	SET_VRING_ADDR = 9,
	SET_VRING_BASE = 10,
	GET_VRING_BASE = 11,
	SET_VRING_KICK = 12,
	SET_VRING_CALL = 13,
	GET_PROTOCOL_FEATURES = 15,
	SET_PROTOCOL_FEATURES = 16,
	SET_VRING_ENABLE = 18,
};

#define VERSION 1u
#define REGIONS_MAX 8 /* of memory, in one message */
#define REPLY 4u
#define NEED_REPLY 8u
#define F_PROTOCOL_FEATURES 30 /* VHOST_USER_F_PROTOCOL_FEATURES */
#define PROTOCOL_F_REPLY_ACK 3

struct message {
	uint32_t request, flags, size; /* of what follows */
	union {
		uint64_t u64;
		struct {
			uint32_t index, value;
		} state;
		struct {
			uint32_t index, flags;
			uint64_t desc, used, avail, log;
		} addr;
		struct {
			uint32_t n, zero;
			struct {
				uint64_t gpa, size, user, offset;
			} regions[REGIONS_MAX];
		} memory;
	};
} __attribute__((packed));

#define HEADER_SIZE offsetof(struct message, u64)

static int put(const struct vhost_user *v, struct message *m, const int *fds, unsigned int fds_n)
{
	struct iovec iov = {m, HEADER_SIZE + m->size};
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(REGIONS_MAX * sizeof(int))];
	} control = {0};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	if (fds_n) {
		msg.msg_control = control.room;
		msg.msg_controllen = CMSG_SPACE(fds_n * sizeof(int));
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(fds_n * sizeof(int));
		memcpy(CMSG_DATA(&control.align), fds, fds_n * sizeof(int));
	}
	n = sendmsg(v->fd, &msg, MSG_NOSIGNAL);
	if (n < 0)
		return -errno;
	return (size_t)n == iov.iov_len ? 0 : -EPIPE;
}

static int get_bytes(const struct vhost_user *v, void *buf, size_t size)
{
	while (size) {
		ssize_t n = recv(v->fd, buf, size, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		if (n == 0)
			return -EPIPE;
		buf = (uint8_t *)buf + n;
		size -= (size_t)n;
	}
	return 0;
}

/* The answer to `request`, of just the size that *ret already says. */
static int get(const struct vhost_user *v, uint32_t request, struct message *ret)
{
	const uint32_t size = ret->size;
	int rc = get_bytes(v, ret, HEADER_SIZE);

	if (rc < 0)
		return rc;
	if (ret->request != request || !(ret->flags & REPLY) || ret->size != size)
		return -EPROTO;
	return get_bytes(v, (uint8_t *)ret + HEADER_SIZE, size);
}

/* Sends a message that has an answer of its own; it replaces *m. */
static int ask(const struct vhost_user *v, enum request request, struct message *m, uint32_t size,
	       uint32_t answer_size)
{
	int rc;

	m->request = request;
	m->flags = VERSION;
	m->size = size;
	rc = put(v, m, NULL, 0);
	m->size = answer_size;
	return rc < 0 ? rc : get(v, request, m);
}

/* Sends one that has none; waits until it is done where the back end can say so. */
static int tell(const struct vhost_user *v, enum request request, struct message *m, uint32_t size,
		const int *fds, unsigned int fds_n)
{
	struct message ack = {.size = sizeof(ack.u64)};
	int rc;

	m->request = request;
	m->flags = VERSION | (v->acks ? NEED_REPLY : 0);
	m->size = size;
	rc = put(v, m, fds, fds_n);
	if (rc < 0 || !v->acks)
		return rc;
	rc = get(v, request, &ack);
	return rc == 0 && ack.u64 ? -EREMOTEIO : rc;
}

static int tell_u64(const struct vhost_user *v, enum request request, uint64_t value)
{
	struct message m = {.u64 = value};

	return tell(v, request, &m, sizeof(m.u64), NULL, 0);
}

static int tell_state(const struct vhost_user *v, enum request request, uint32_t index,
		      uint32_t value)
{
	struct message m = {.state = {index, value}};

	return tell(v, request, &m, sizeof(m.state), NULL, 0);
}

static int tell_fd(const struct vhost_user *v, enum request request, uint32_t index, int fd)
{
	struct message m = {.u64 = index};

	return tell(v, request, &m, sizeof(m.u64), &fd, 1);
}

static int ask_u64(const struct vhost_user *v, enum request request, uint64_t *ret)
{
	struct message m = {0};
	int rc = ask(v, request, &m, 0, sizeof(m.u64));

	*ret = rc == 0 ? m.u64 : 0;
	return rc;
}

static int tell_memory(const struct vhost_user *v, const struct mem *mem)
{
	struct message m = {.memory = {.n = mem->regions_n}};
	int fds[REGIONS_MAX];

	if (mem->regions_n > REGIONS_MAX)
		return -E2BIG;
	for (unsigned int i = 0; i < mem->regions_n; i++) {
		const struct mem_region *r = &mem->regions[i];

		m.memory.regions[i].gpa = r->base.v;
		m.memory.regions[i].size = r->size;
		m.memory.regions[i].user = (uintptr_t)r->at;
		m.memory.regions[i].offset = r->offset;
		fds[i] = mem->fd;
	}
	return tell(v, SET_MEM_TABLE, &m,
		    (uint32_t)(8 + mem->regions_n * sizeof(m.memory.regions[0])), fds,
		    mem->regions_n);
}

static int negotiate(struct vhost_user *v)
{
	struct message none = {0};
	uint64_t protocol;
	int rc = ask_u64(v, GET_FEATURES, &v->features);

	if (rc == 0)
		rc = tell(v, SET_OWNER, &none, 0, NULL, 0);
	if (rc < 0 || !(v->features >> F_PROTOCOL_FEATURES & 1))
		return rc;
	rc = ask_u64(v, GET_PROTOCOL_FEATURES, &protocol);
	if (rc == 0)
		rc = tell_u64(v, SET_PROTOCOL_FEATURES, protocol & 1ull << PROTOCOL_F_REPLY_ACK);
	v->acks = rc == 0 && protocol >> PROTOCOL_F_REPLY_ACK & 1;
	return rc;
}

int vhost_user_init(struct vhost_user *v, int fd, const struct mem *m, struct error *err)
{
	const struct timeval timeout = {.tv_sec = VHOST_USER_TIMEOUT_S};
	int rc;

	*v = (struct vhost_user){.fd = fd};
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0)
		return error_errno(err, "vhost-user: set its time limit");
	rc = negotiate(v);
	if (rc == 0)
		rc = tell_memory(v, m);
	return rc < 0 ? error_set(err, -rc, "vhost-user: the back end does not answer: %s",
				  strerror(-rc))
		      : 0;
}

static int start_queue(const struct vhost_user *v, const struct virtio_device *d, unsigned int n)
{
	const struct virtio_queue *q = &d->queues[n];
	struct message addr = {.addr = {.index = n,
					.desc = (uintptr_t)q->vq.desc,
					.used = (uintptr_t)q->vq.used,
					.avail = (uintptr_t)q->vq.avail}};
	int rc = tell_state(v, SET_VRING_NUM, n, q->vq.size);

	if (rc == 0)
		rc = tell_state(v, SET_VRING_BASE, n, 0);
	if (rc == 0)
		rc = tell(v, SET_VRING_ADDR, &addr, sizeof(addr.addr), NULL, 0);
	if (rc == 0)
		rc = tell_fd(v, SET_VRING_CALL, n, d->irq_fd);
	if (rc == 0)
		rc = tell_fd(v, SET_VRING_KICK, n, q->kick.fd);
	if (rc == 0 && v->features >> F_PROTOCOL_FEATURES & 1)
		rc = tell_state(v, SET_VRING_ENABLE, n, 1);
	return rc;
}

int vhost_user_start(struct vhost_user *v, struct virtio_device *d)
{
	uint64_t features = d->features | (v->features & 1ull << F_PROTOCOL_FEATURES);
	int rc = tell_u64(v, SET_FEATURES, features);

	/* The back end writes the interrupt itself and cannot set a bit in our register. */
	virtio_device_interrupts_elsewhere(d, true);
	for (unsigned int n = 0; rc == 0 && n < d->queues_n; n++) {
		if (!d->queues[n].vq.ready)
			continue;
		io_remove(d->env.io, &d->queues[n].kick);
		rc = start_queue(v, d, n);
	}
	return rc;
}

int vhost_user_stop(struct vhost_user *v, struct virtio_device *d)
{
	int rc = 0;

	for (unsigned int n = 0; n < d->queues_n; n++) {
		struct message m = {.state = {.index = n}};

		if (d->queues[n].kick.added)
			continue;
		if (rc == 0)
			rc = ask(v, GET_VRING_BASE, &m, sizeof(m.state), sizeof(m.state));
		io_add(d->env.io, &d->queues[n].kick);
	}
	virtio_device_interrupts_elsewhere(d, false);
	return rc;
}
