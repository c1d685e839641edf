/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the host asks for: frames to calls, and the answers.
 */
#ifndef CAISSON_INIT_REQUEST_H
#define CAISSON_INIT_REQUEST_H

#include <stdint.h>

#include "lib/wire.h"

/* Nonzero: the frame is malformed or out of place. */
int request_handle(const struct wire_header *h, const uint8_t *payload);

/* Set by WIRE_SHUTDOWN: the session that waits for its answer. */
struct shutdown_request {
	bool asked;
	uint32_t session;
};

extern struct shutdown_request shutdown_request;

#endif
