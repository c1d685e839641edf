/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process that the agent has started: a container's first one or one that was
 * put into it.  It belongs to the session that asked for it.
 *
 *	PREPARING --ready--> PREPARED --go--> STARTING --exec'd--> RUNNING --> ENDED
 *
 * (an exec'd process is not told to go: PREPARING --ready--> STARTING.)  A process
 * that ends before it is RUNNING answers the pending request with the error; if it
 * was not PREPARED by then nothing more is said of it, else WIRE_EXITED follows.
 */
#ifndef CAISSON_INIT_PROCESS_H
#define CAISSON_INIT_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "guest/init/loop.h"
#include "guest/init/stream.h"
#include "lib/error.h"
#include "lib/spec.h"
#include "lib/wire.h"

struct container;

enum process_state { PROCESS_PREPARING, PROCESS_PREPARED, PROCESS_STARTING, PROCESS_RUNNING };

struct process {
	struct process *next;
	uint32_t session;
	struct container *container;
	bool is_first; /* of its container */
	enum process_state state;
	pid_t pid;
	int pidfd;
	int status;	      /* as from waitpid(2), once ended */
	bool ended;	      /* and reaped */
	bool settled;	      /* nothing more is sent for it once its output is */
	bool released;	      /* drained: goes when the last stream ends */
	uint32_t reply_to;    /* session of the request that waits for it; 0: none */
	struct error failure; /* what it said of itself before it ended */
	struct watch sync;
	bool terminal;
	uint32_t streams_n;
	int held; /* callbacks in progress that still use it */
	struct stream streams[];
};

/*
 * Starts a container's first process (spec set) or another in c (spec NULL).  The
 * answer to the session's request is sent when it is known.
 */
int process_start(struct container *c, uint32_t session, const struct spec_container *spec,
		  const struct spec_process *p, struct error *err);
/* Lets a PREPARED one go; the answer goes to that session. */
void process_go(struct process *p, uint32_t reply_to);
/* The container of an ended first process is empty: nothing keeps it from being told. */
void process_release(struct process *p);

struct process *process_of_session(uint32_t session);
/* Any process of c but its first. */
struct process *process_in_container(const struct container *c);

int process_signal(struct process *p, int signal, struct error *err);
void process_resize(struct process *p, uint16_t rows, uint16_t columns);
/* The client is gone. */
void process_hangup(struct process *p);
void process_hangup_all(void);

int process_stream_data(uint32_t session, uint8_t stream, const uint8_t *data, uint32_t size);
int process_stream_credit(uint32_t session, uint8_t stream, uint32_t bytes);
/* The channel has room again. */
void process_resume_all(void);
/* Collects every child that has ended. */
void process_reap_all(void);

#endif
