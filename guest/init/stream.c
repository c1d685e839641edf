// SPDX-License-Identifier: Apache-2.0
#include "guest/init/stream.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "guest/init/channel.h"
#include "lib/wire.h"

/* Credit is given in pieces of this size, or when the queue is empty. */
#define CREDIT_STEP (WIRE_WINDOW / 4)
/* More credit than this at once is not credit but nonsense. */
#define CREDIT_MAX (1ULL << 32)
/* More than a terminal holds between its two sides; it does not tell how much is there. */
#define TERMINAL_LEFT (128u << 10)

static void give_credit(struct stream *s, bool all)
{
	struct wire_credit c = {.bytes = s->in.uncredited};
	struct msg m;

	if (!c.bytes || (!all && c.bytes < CREDIT_STEP))
		return;
	s->in.uncredited = 0;
	msg_init_encode(&m);
	wire_credit_codec(&m, &c);
	channel_send(WIRE_CREDIT, s->number, s->session, m.data, (uint32_t)m.size);
	msg_done(&m);
}

/* The process takes no more input: whatever is queued or comes is dropped. */
static void sink_close(struct stream *s)
{
	struct sink *in = &s->in;

	loop_remove(&in->watch);
	if (in->watch.fd >= 0) {
		if (s->socket)
			shutdown(in->watch.fd, SHUT_WR);
		close(in->watch.fd);
	}
	in->watch.fd = -1;
	in->keep = false;
	in->uncredited += in->used;
	in->used = 0;
	free(in->queue);
	in->queue = NULL;
}

/* Bytes written, 0 if none can be now, or -1 if none ever will be. */
static ssize_t sink_write(const struct sink *in, const uint8_t *data, size_t size)
{
	ssize_t n;

	if (in->watch.fd < 0)
		return 0;
	do
		n = write(in->watch.fd, data, size);
	while (n < 0 && errno == EINTR);
	return n < 0 && errno == EAGAIN ? 0 : n;
}

static void sink_flush(struct stream *s)
{
	struct sink *in = &s->in;

	while (in->used && in->watch.fd >= 0) {
		uint32_t run = in->used < WIRE_WINDOW - in->head ? in->used
								 : WIRE_WINDOW - in->head;
		ssize_t n = sink_write(in, in->queue + in->head, run);

		if (n == 0)
			break;
		if (n < 0) {
			sink_close(s);
			break;
		}
		in->head = (in->head + (uint32_t)n) % WIRE_WINDOW;
		in->used -= (uint32_t)n;
		in->uncredited += (uint32_t)n;
	}
	if (in->used && in->watch.fd >= 0 && !in->watch.added)
		loop_add(&in->watch, EPOLLOUT);
	if (!in->used)
		loop_remove(&in->watch);
	if (!in->used && in->eof && in->watch.fd >= 0)
		sink_close(s);
	give_credit(s, !in->used);
}

static void sink_ready(struct watch *w, uint32_t events)
{
	(void)events; /* an error shows when written to */
	sink_flush(container_of(w, struct stream, in.watch));
}

static void sink_queue(struct sink *in, const uint8_t *data, uint32_t size)
{
	uint32_t at = (in->head + in->used) % WIRE_WINDOW;
	uint32_t run = size < WIRE_WINDOW - at ? size : WIRE_WINDOW - at;

	memcpy(in->queue + at, data, run);
	memcpy(in->queue, data + run, size - run);
	in->used += size;
}

static void source_close(struct stream *s)
{
	loop_remove(&s->out.watch);
	if (s->out.watch.fd >= 0)
		close(s->out.watch.fd);
	s->out.watch.fd = -1;
	if (!s->out.muted)
		channel_send(WIRE_DATA, s->number, s->session, NULL, 0);
	s->ended(s);
}

/* Nobody reads on the other side any more: the process is to get SIGPIPE. */
static int source_abandon(struct stream *s)
{
	if (s->out.watch.fd >= 0) {
		s->out.muted = true;
		source_close(s); /* may be the end of s */
	}
	return 0;
}

int stream_data(struct stream *s, const uint8_t *data, uint32_t size)
{
	struct sink *in = &s->in;
	ssize_t n;

	if (size > WIRE_WINDOW - in->used - in->uncredited)
		return -EPROTO;
	if (size == 0 && !s->terminal && (s->number == 1 || s->number == 2))
		return source_abandon(s);
	if (size == 0) { /* a terminal has no end of input but what is typed */
		in->eof = !s->terminal;
	} else if (in->eof) {
		return -EPROTO;
	} else if (!in->keep) {
		in->uncredited += size;
	} else {
		n = in->used ? 0 : sink_write(in, data, size);
		if (n < 0) {
			in->uncredited += size;
			sink_close(s);
		} else if ((uint32_t)n == size) {
			in->uncredited += size;
		} else {
			in->uncredited += (uint32_t)n;
			if (!in->queue)
				in->queue = malloc(WIRE_WINDOW);
			if (in->queue)
				sink_queue(in, data + n, size - (uint32_t)n);
			else
				sink_close(s);
		}
	}
	sink_flush(s);
	return 0;
}

/* Reads once: bytes, 0 for none now, -1 at the end. */
static ssize_t source_read(struct stream *s)
{
	static uint8_t drop[4096];
	struct source *out = &s->out;
	uint32_t want = out->credit < WIRE_DATA_MAX ? (uint32_t)out->credit : WIRE_DATA_MAX;
	uint8_t *room = out->muted ? drop : channel_data_reserve(want);
	ssize_t n;

	if (out->muted)
		want = sizeof(drop);
	if (!room)
		return 0;
	do
		n = read(out->watch.fd, room, want);
	while (n < 0 && errno == EINTR);
	if (n > 0 && !out->muted) {
		out->credit -= (uint64_t)n;
		channel_data_commit(s->number, s->session, (uint32_t)n);
	}
	if (n > 0) {
		out->left -= out->left < n ? out->left : (uint32_t)n;
		return out->draining && !out->left ? -1 : n;
	}
	return n < 0 && errno == EAGAIN && !out->draining ? 0 : -1;
}

static bool source_may_read(const struct source *out)
{
	return out->watch.fd >= 0 && out->enabled &&
	       (out->muted || (out->credit && !channel_is_full()));
}

/* Polls the source exactly when it may be read. */
static void source_update(struct stream *s)
{
	struct source *out = &s->out;
	ssize_t n = 1;

	while (out->draining && n > 0 && source_may_read(out))
		n = source_read(s);
	if (n < 0) {
		source_close(s);
	} else if (source_may_read(out) && !out->draining) {
		if (!out->watch.added)
			loop_add(&out->watch, EPOLLIN);
	} else {
		loop_remove(&out->watch);
	}
}

static void source_ready(struct watch *w, uint32_t events)
{
	struct stream *s = container_of(w, struct stream, out.watch);

	(void)events;
	if (source_may_read(&s->out) && source_read(s) < 0)
		source_close(s);
	else
		source_update(s);
}

int stream_credit(struct stream *s, uint32_t bytes)
{
	if (s->out.credit + bytes > CREDIT_MAX)
		return -EPROTO;
	s->out.credit += bytes;
	source_update(s);
	return 0;
}

void stream_init(struct stream *s, uint32_t session, uint8_t number, bool keep_input)
{
	*s = (struct stream){
		.session = session,
		.number = number,
		.in = {.watch = {.fd = -1, .ready = sink_ready}, .keep = keep_input},
		.out = {.watch = {.fd = -1, .ready = source_ready}, .credit = WIRE_WINDOW},
	};
}

void stream_attach(struct stream *s, int in_fd, int out_fd)
{
	s->in.watch.fd = in_fd;
	s->out.watch.fd = out_fd;
	if (in_fd >= 0)
		sink_flush(s);
	source_update(s);
}

void stream_done(struct stream *s)
{
	loop_remove(&s->in.watch);
	loop_remove(&s->out.watch);
	if (s->in.watch.fd >= 0)
		close(s->in.watch.fd);
	if (s->out.watch.fd >= 0)
		close(s->out.watch.fd);
	free(s->in.queue);
	s->in.queue = NULL;
	s->in.watch.fd = s->out.watch.fd = -1;
}

void stream_enable(struct stream *s)
{
	s->out.enabled = true;
	source_update(s);
}

void stream_mute(struct stream *s)
{
	s->out.muted = true;
	source_update(s);
}

void stream_drain(struct stream *s)
{
	int left = 0;

	if (s->in.keep)
		sink_close(s);
	if (s->out.watch.fd < 0)
		return;
	if (s->terminal)
		left = TERMINAL_LEFT;
	else if (ioctl(s->out.watch.fd, FIONREAD, &left) < 0)
		left = 0;
	s->out.draining = true;
	s->out.enabled = true;
	s->out.left = (uint32_t)left;
	if (left)
		source_update(s);
	else
		source_close(s);
}

void stream_resume(struct stream *s)
{
	source_update(s);
}
