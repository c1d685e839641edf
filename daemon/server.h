/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who asks: connections, their requests (lib/lease.h), and those that wait for a slot.  First come,
 * first served; each that waits has a slot of its own that is being made ready, or none is left.
 */
#ifndef CAISSON_DAEMON_SERVER_H
#define CAISSON_DAEMON_SERVER_H

#include "daemon/lender.h"

#define SERVER_LISTEN 1u
#define SERVER_PEERS_MAX 512u

struct peer;

struct server {
	struct lender *lender;
	struct peer *peers; /* those that wait: who asked first is first */
	unsigned int peers_n;
	int listen_fd;
};

int server_init(struct server *s, struct lender *l, struct error *err);
void server_done(struct server *s);

/* Events with data SERVER_LISTEN or a peer's address; false: not the server's. */
bool server_event(struct server *s, uint64_t data);
/* Answers who can be answered now.  Returns ms until somebody's patience ends, -1: nobody waits. */
int server_step(struct server *s);

#endif
