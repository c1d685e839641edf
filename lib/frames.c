// SPDX-License-Identifier: Apache-2.0
#include "lib/frames.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_SIZE 65536u

void frames_init(struct frames *f, int fd, uint32_t payload_max)
{
	*f = (struct frames){.fd = fd, .payload_max = payload_max};
}

void frames_done(struct frames *f)
{
	if (f->fd >= 0)
		close(f->fd);
	free(f->in);
	free(f->out);
	*f = (struct frames){.fd = -1};
}

static int reserve(uint8_t **buf, size_t *capacity, size_t need)
{
	size_t cap = *capacity ? *capacity : READ_SIZE;
	uint8_t *grown;

	if (need <= *capacity)
		return 0;
	while (cap < need)
		cap *= 2;
	grown = realloc(*buf, cap);
	if (!grown)
		return -ENOMEM;
	*buf = grown;
	*capacity = cap;
	return 0;
}

int frames_fill(struct frames *f)
{
	ssize_t n;

	if (f->in_taken) {
		memmove(f->in, f->in + f->in_taken, f->in_size - f->in_taken);
		f->in_size -= f->in_taken;
		f->in_taken = 0;
	}
	/* At most one frame is incomplete in the buffer, so it stays under one frame and a read. */
	if (reserve(&f->in, &f->in_capacity, f->in_size + READ_SIZE) < 0)
		return -ENOMEM;
	n = recv(f->fd, f->in + f->in_size, READ_SIZE, MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (n == 0)
		return -EPIPE;
	f->in_size += (size_t)n;
	return 1;
}

int frames_next(struct frames *f, struct wire_header *ret, const uint8_t **ret_payload)
{
	size_t have = f->in_size - f->in_taken;

	if (have < WIRE_HEADER_SIZE)
		return 0;
	if (wire_header_decode(ret, f->in + f->in_taken, f->payload_max) < 0)
		return -EPROTO;
	if (have - WIRE_HEADER_SIZE < ret->size)
		return 0;
	*ret_payload = f->in + f->in_taken + WIRE_HEADER_SIZE;
	f->in_taken += WIRE_HEADER_SIZE + ret->size;
	return 1;
}

int frames_put(struct frames *f, const struct wire_header *h, const void *payload)
{
	size_t need = WIRE_HEADER_SIZE + (size_t)h->size;

	if (f->out_start) {
		memmove(f->out, f->out + f->out_start, f->out_end - f->out_start);
		f->out_end -= f->out_start;
		f->out_start = 0;
	}
	if (reserve(&f->out, &f->out_capacity, f->out_end + need) < 0)
		return -ENOMEM;
	wire_header_encode(f->out + f->out_end, h);
	if (h->size)
		memcpy(f->out + f->out_end + WIRE_HEADER_SIZE, payload, h->size);
	f->out_end += need;
	return 0;
}

int frames_put_msg(struct frames *f, uint8_t type, uint32_t session, uint8_t stream,
		   const struct msg *m)
{
	struct wire_header h = {
		.size = (uint32_t)m->size, .type = type, .stream = stream, .session = session};

	if (m->broken)
		return -EPROTO;
	return frames_put(f, &h, m->data);
}

size_t frames_queued(const struct frames *f)
{
	return f->out_end - f->out_start;
}

int frames_flush(struct frames *f)
{
	while (f->out_start < f->out_end) {
		ssize_t n = send(f->fd, f->out + f->out_start, f->out_end - f->out_start,
				 MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		f->out_start += (size_t)n;
	}
	f->out_start = f->out_end = 0;
	return 0;
}
