/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The framed channel to the host (lib/wire.h) over a transport.
 *
 * What comes in is believed as far as its form goes: a malformed frame means that
 * the two sides have lost each other, and the channel reports that as fatal.
 * What goes out is queued without blocking; whoever produces a lot (stdio) asks
 * channel_is_full() first and goes on when `drained` is called.
 */
#ifndef CAISSON_INIT_CHANNEL_H
#define CAISSON_INIT_CHANNEL_H

#include <stdbool.h>
#include <stdint.h>

#include "guest/init/transport.h"
#include "lib/wire.h"

struct channel_events {
	/* A frame; the payload is valid during the call.  Nonzero: the frame is malformed. */
	int (*frame)(const struct wire_header *h, const uint8_t *payload);
	void (*drained)(void);		  /* it was full and is not any more */
	void (*lost)(const char *reason); /* nothing will ever come again */
};

int channel_open(const struct transport *t, const struct channel_events *events, struct error *err);
/* Starts to receive. */
int channel_listen(void);

bool channel_is_full(void);
void channel_send(uint8_t type, uint8_t stream, uint32_t session, const void *payload,
		  uint32_t size);
void channel_result(uint32_t session, int code, const char *text);

/* Room for up to `size` bytes of WIRE_DATA, to be committed; NULL: the channel is lost. */
uint8_t *channel_data_reserve(uint32_t size);
void channel_data_commit(uint8_t stream, uint32_t session, uint32_t size);

/* Writes what can be written now. */
void channel_flush(void);
/* Waits until all is written, at most timeout_ms. */
void channel_drain(int timeout_ms);

#endif
