/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client of a sandbox: connects to its monitor and makes requests (lib/wire.h).
 * Answers come from the guest, through a monitor that has only bounded them: text
 * is printable when it gets here, nothing else about it is to be believed.
 */
#ifndef CAISSON_RUNTIME_CLIENT_H
#define CAISSON_RUNTIME_CLIENT_H

#include <stdbool.h>

#include "lib/error.h"
#include "lib/frames.h"
#include "lib/msg.h"
#include "lib/spec.h"

#define CLIENT_TIMEOUT_MS 60000

/* The listening socket ROOT/ID/agent.sock. */
int client_listen(int dir_fd, struct error *err);
/* Connects to it (non-blocking).  -ECONNREFUSED, -ENOENT: the sandbox is not running. */
int client_connect(int dir_fd, struct error *err);

/*
 * Sends one request and waits for its result.  0, the guest's error with its sentence in err, or
 * -EPIPE when the sandbox ended, -ETIMEDOUT.  With ret_text, the answer's text (to be freed).
 */
int client_request(struct frames *f, uint8_t type, const struct msg *request, int timeout_ms,
		   char **ret_text, struct error *err);

/* A result's payload.  As client_request() returns it. */
int client_result(const struct wire_header *h, const uint8_t *payload, char **ret_text,
		  struct error *err);

/* Connect, one request, disconnect; waits for CLIENT_TIMEOUT_MS. */
int client_call(int dir_fd, uint8_t type, const struct msg *request, char **ret_text,
		struct error *err);
int client_call_within(int dir_fd, uint8_t type, const struct msg *request, int timeout_ms,
		       char **ret_text, struct error *err);

/*
 * Runs a process in a container to its end, with `input` (at most WIRE_DATA_MAX bytes) on its
 * standard input; what it prints is thrown away.  Its exit status, 128 and the number of the signal
 * that killed it, or -errno; -ETIMEDOUT: it was killed.  timeout_ms -1: none.
 */
int client_exec(int dir_fd, const char *container, struct spec_process *process, const char *input,
		int timeout_ms, struct error *err);

#endif
