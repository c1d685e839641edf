// SPDX-License-Identifier: Apache-2.0
#include "guest/init/channel.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "guest/init/loop.h"
#include "lib/cleanup.h"

/* Streams stop producing above FULL and go on below HALF. */
#define OUT_FULL (256u << 10)
#define OUT_HALF (128u << 10)
/* Replies are not subject to that, but a host that never reads them is no host. */
#define OUT_MAX (8u << 20)
#define IN_CHUNK (64u << 10)
/* How long the host may be away before the guest has lost its purpose. */
#define LOST_AFTER_MS 1000

struct buffer {
	uint8_t *data;
	size_t start, end, capacity; /* the bytes are data[start..end) */
};

static struct watch watch = {.fd = -1};
static struct timer lost_timer;
static const struct channel_events *events;
static struct buffer in, out;
static bool was_full, connected, dead;

/* Room for n more bytes at the end: a pointer to it, or NULL. */
static uint8_t *buffer_reserve(struct buffer *b, size_t n)
{
	size_t used = b->end - b->start;

	if (b->capacity - b->end >= n)
		return b->data + b->end;
	if (used)
		memmove(b->data, b->data + b->start, used);
	b->start = 0;
	b->end = used;
	if (b->capacity - used < n) {
		size_t cap = b->capacity ? b->capacity : IN_CHUNK;
		uint8_t *grown;

		while (cap < used + n)
			cap *= 2;
		grown = realloc(b->data, cap);
		if (!grown)
			return NULL;
		b->data = grown;
		b->capacity = cap;
	}
	return b->data + b->end;
}

/* Gives back what one large message took. */
static void buffer_relax(struct buffer *b)
{
	if (b->start != b->end)
		return;
	b->start = b->end = 0;
	if (b->capacity > 2 * OUT_FULL) {
		free(b->data);
		*b = (struct buffer){0};
	}
}

static void channel_fail(const char *reason)
{
	if (dead)
		return;
	dead = true;
	events->lost(reason);
}

/* Hands out the complete frames at the front of the input. */
static void take_frames(void)
{
	while (!dead && in.end - in.start >= WIRE_HEADER_SIZE) {
		struct wire_header h;

		if (wire_header_decode(&h, in.data + in.start, WIRE_PAYLOAD_MAX) < 0) {
			channel_fail("malformed frame header from the host");
			return;
		}
		if (in.end - in.start - WIRE_HEADER_SIZE < h.size)
			return;
		if (events->frame(&h, in.data + in.start + WIRE_HEADER_SIZE) != 0) {
			channel_fail("malformed frame from the host");
			return;
		}
		in.start += WIRE_HEADER_SIZE + h.size;
	}
}

static void receive(void)
{
	while (!dead) {
		uint8_t *room = buffer_reserve(&in, IN_CHUNK);
		ssize_t n;

		if (!room) {
			channel_fail("out of memory");
			return;
		}
		n = read(watch.fd, room, IN_CHUNK);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break; /* nothing now, or the host is away */
		connected = true;
		in.end += (size_t)n;
		take_frames();
	}
	buffer_relax(&in);
}

static void on_lost(struct timer *t)
{
	(void)t;
	channel_fail("the host is gone");
}

/* Edge-triggered, both directions at once: no epoll_ctl ever after. */
static void on_ready(struct watch *w, uint32_t ev)
{
	(void)w;
	if (ev & (EPOLLIN | EPOLLHUP))
		receive();
	if (!(ev & EPOLLHUP))
		timer_stop(&lost_timer);
	else if (connected && !lost_timer.armed)
		timer_start(&lost_timer, LOST_AFTER_MS);
}

int channel_open(const struct transport *t, const struct channel_events *callbacks,
		 struct error *err)
{
	int fd = t->open(err);

	if (fd < 0)
		return fd;
	events = callbacks;
	lost_timer.fire = on_lost;
	watch = (struct watch){.fd = fd, .ready = on_ready};
	return 0;
}

int channel_listen(void)
{
	return loop_add(&watch, EPOLLIN | EPOLLOUT | EPOLLHUP | EPOLLET);
}

bool channel_is_full(void)
{
	if (out.end - out.start < OUT_FULL)
		return false;
	was_full = true;
	return true;
}

static void put_header(uint8_t *p, uint8_t type, uint8_t stream, uint32_t session, uint32_t size)
{
	struct wire_header h = {.size = size, .type = type, .stream = stream, .session = session};

	wire_header_encode(p, &h);
}

void channel_send(uint8_t type, uint8_t stream, uint32_t session, const void *payload,
		  uint32_t size)
{
	uint8_t *p;

	if (dead)
		return;
	p = out.end - out.start > OUT_MAX ? NULL : buffer_reserve(&out, WIRE_HEADER_SIZE + size);
	if (!p) {
		channel_fail("the host does not read");
		return;
	}
	put_header(p, type, stream, session, size);
	if (size)
		memcpy(p + WIRE_HEADER_SIZE, payload, size);
	out.end += WIRE_HEADER_SIZE + size;
}

void channel_result(uint32_t session, int code, const char *text)
{
	struct wire_result r = {.code = code, .text = (char *)text};
	struct msg m;

	msg_init_encode(&m);
	wire_result_codec(&m, &r);
	if (!m.broken && m.size <= WIRE_GUEST_PAYLOAD_MAX)
		channel_send(WIRE_RESULT, 0, session, m.data, (uint32_t)m.size);
	else
		channel_fail("a result does not fit"); /* our bug: every text is bounded */
	msg_done(&m);
}

uint8_t *channel_data_reserve(uint32_t size)
{
	uint8_t *p = dead ? NULL : buffer_reserve(&out, WIRE_HEADER_SIZE + size);

	if (!p)
		channel_fail("out of memory");
	return p ? p + WIRE_HEADER_SIZE : NULL;
}

void channel_data_commit(uint8_t stream, uint32_t session, uint32_t size)
{
	put_header(out.data + out.end, WIRE_DATA, stream, session, size);
	out.end += WIRE_HEADER_SIZE + size;
}

void channel_flush(void)
{
	while (out.start < out.end) {
		ssize_t n = write(watch.fd, out.data + out.start, out.end - out.start);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break; /* EPOLLOUT will come */
		connected = true;
		out.start += (size_t)n;
	}
	buffer_relax(&out);
	if (was_full && out.end - out.start < OUT_HALF) {
		was_full = false;
		events->drained();
	}
}

void channel_drain(int timeout_ms)
{
	uint64_t end = loop_now_ms() + (uint64_t)timeout_ms;

	while (channel_flush(), out.start < out.end) {
		struct pollfd p = {.fd = watch.fd, .events = POLLOUT};
		uint64_t now = loop_now_ms();

		if (now >= end || poll(&p, 1, (int)(end - now)) <= 0 || (p.revents & POLLHUP))
			return;
	}
}
