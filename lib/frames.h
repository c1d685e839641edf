/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames over a non-blocking stream socket: one buffer to collect what arrives,
 * one queue for what has to leave.  Whoever reads decides how large a payload may
 * be; whoever queues asks frames_queued() before it takes more.
 */
#ifndef CAISSON_FRAMES_H
#define CAISSON_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/wire.h"

struct frames {
	int fd;
	uint32_t payload_max; /* of frames that are read */
	uint8_t *in;
	size_t in_size, in_capacity, in_taken;
	uint8_t *out;
	size_t out_start, out_end, out_capacity;
};

void frames_init(struct frames *f, int fd, uint32_t payload_max);
void frames_done(struct frames *f); /* closes fd */

/* Reads what is there.  1: something came; 0: nothing now; -EPIPE: end of file; -errno. */
int frames_fill(struct frames *f);

/*
 * The next whole frame of what was read.  1 and *ret_payload pointing into the buffer until the
 * next frames_fill(); 0: none yet; -EPROTO: malformed, nothing more can be read.
 */
int frames_next(struct frames *f, struct wire_header *ret, const uint8_t **ret_payload);

/* Queues a frame; payload is copied.  0 or -ENOMEM. */
int frames_put(struct frames *f, const struct wire_header *h, const void *payload);
/* Queues a frame whose payload is an encoded message.  -EPROTO when m is broken. */
int frames_put_msg(struct frames *f, uint8_t type, uint32_t session, uint8_t stream,
		   const struct msg *m);
size_t frames_queued(const struct frames *f);

/* Writes as much of the queue as goes.  0 (perhaps with a rest queued) or -errno. */
int frames_flush(struct frames *f);

#endif
