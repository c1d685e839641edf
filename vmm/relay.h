/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The relay: carries frames between the clients on the sandbox's socket and the
 * agent on the channel (lib/wire.h).
 *
 * Trust: clients are the command and its proxies (root's own, by the mode of the
 * socket); the agent's side is the guest's and hostile.  From the guest only what
 * was asked for is passed on: a result to a session with a request outstanding,
 * data within the credit its client gave.  Anything else ends the sandbox with a
 * reason.  What is held in memory is bounded by that credit and by RELAY_QUEUE_MAX
 * towards the guest.
 */
#ifndef CAISSON_RELAY_H
#define CAISSON_RELAY_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/error.h"
#include "lib/frames.h"

#define RELAY_CLIENTS_MAX 256u
#define RELAY_QUEUE_MAX (2u << 20) /* bytes to the guest, after which no client is read */

struct client {
	struct frames frames; /* fd -1: free */
	uint32_t session;
	bool owner;	/* made a container: the sandbox lives for it */
	bool requested; /* a request is outstanding */
	bool has_process;
	bool ending; /* the process has exited: close when everything is written */
	int64_t window[WIRE_STREAMS_MAX]; /* bytes the guest may still send */
};

enum relay_phase {
	RELAY_BOOTING,	  /* the agent has not spoken */
	RELAY_SETTING_UP, /* WIRE_SETUP is with the agent */
	RELAY_RUNNING,
};

/* What the relay asks of the monitor. */
struct relay_machine {
	int (*pause)(void *arg, struct error *err);
	int (*resume)(void *arg, struct error *err);
	int (*resize)(void *arg, uint64_t bytes, struct error *err);
	void *arg;
};

struct relay {
	int epoll_fd, listen_fd;
	struct frames agent;
	struct client clients[RELAY_CLIENTS_MAX];
	uint32_t next_session;
	enum relay_phase phase;
	bool had_owner;
	unsigned int owners;
	const struct spec_sandbox *sandbox;
	const struct relay_machine *machine;
	bool paused;		  /* the machine is: who asks something of the guest is told so */
	uint64_t guest_uptime_us; /* when the agent spoke first */
};

/* epoll data of what the relay watches; the monitor's own events use values below RELAY_EVENT. */
#define RELAY_EVENT 1000u

/* Takes both descriptors; sandbox and machine outlive it. */
int relay_init(struct relay *r, int epoll_fd, int listen_fd, int agent_fd,
	       const struct spec_sandbox *sandbox, const struct relay_machine *machine,
	       struct error *err);
void relay_done(struct relay *r);

/* Handles one epoll event of the relay.  0; -errno with err set: the sandbox must end. */
int relay_event(struct relay *r, uint64_t data, uint32_t events, struct error *err);

#endif
