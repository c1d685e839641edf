/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One standard stream of a process, in each direction it has.
 *
 * To the process ("sink"): what the host sends is written at once if the process
 * takes it, else queued; at most WIRE_WINDOW bytes, because the host gets credit
 * only for what was written.  A process that has closed its end is fed no more:
 * the bytes are dropped and credited, so that the host is not held up by them.
 *
 * From the process ("source"): read only as far as the host's credit and the
 * channel's queue go; a source that may not be read is not polled.  `draining`
 * means that the process has ended: what is there at that moment is read and then
 * the stream ends, though others may hold the other side and go on writing.
 */
#ifndef CAISSON_INIT_STREAM_H
#define CAISSON_INIT_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "guest/init/loop.h"

struct stream;

struct sink {
	struct watch watch; /* fd -1: not there yet, or closed */
	uint8_t *queue;	    /* WIRE_WINDOW bytes, a ring; NULL until needed */
	uint32_t head, used;
	uint32_t uncredited; /* consumed, but the host has not been told */
	bool keep;	     /* bytes are worth keeping: fd is there or will come */
	bool eof;	     /* the host has ended the stream */
};

struct source {
	struct watch watch; /* fd -1: not there yet, or closed */
	uint64_t credit;
	bool enabled; /* the process runs: its output may be sent */
	bool draining;
	uint32_t left; /* draining: bytes that are still to be read */
	bool muted;    /* the client is gone: read and drop */
};

struct stream {
	uint32_t session;
	uint8_t number;
	bool terminal, socket;
	struct sink in;
	struct source out;
	void (*ended)(struct stream *s); /* the source is closed */
};

/* `keep_input`: there is or will be a sink. */
void stream_init(struct stream *s, uint32_t session, uint8_t number, bool keep_input);
void stream_done(struct stream *s);
/* Takes the descriptors over (-1: none). */
void stream_attach(struct stream *s, int in_fd, int out_fd);

/* From the host.  -EPROTO: more than the window. */
int stream_data(struct stream *s, const uint8_t *data, uint32_t size);
int stream_credit(struct stream *s, uint32_t bytes);

void stream_enable(struct stream *s);
void stream_mute(struct stream *s);
/* The process has ended. */
void stream_drain(struct stream *s);
/* The channel has room again. */
void stream_resume(struct stream *s);

#endif
