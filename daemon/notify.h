/* SPDX-License-Identifier: Apache-2.0 */
/*
 * systemd, if it runs us: when we are ready, and its store of descriptors, which outlives us
 * (sd_notify(3), "FDSTORE=1").  In it are the parts of slots that are ready and were not handed
 * out, so that a daemon that is started again need not prepare them again.  A name holds a token
 * that is made when the slot is prepared and is in the record: descriptors of another time, which
 * somebody may have had, are not taken for these.
 *
 * Without systemd the parts are gone with the daemon, and are prepared again.
 */
#ifndef CAISSON_DAEMON_NOTIFY_H
#define CAISSON_DAEMON_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

struct notify_fd {
	char *name;
	int fd;
};

struct notify {
	int fd;		       /* -1: nobody to tell */
	struct notify_fd *fds; /* from before; taken ones are -1 */
	unsigned int n;
};

/* Reads and clears the environment's NOTIFY_SOCKET, LISTEN_FDS and LISTEN_FDNAMES. */
void notify_init(struct notify *n);
/* Closes the descriptors that nobody took, and removes them from the store. */
void notify_settle(struct notify *n);
void notify_done(struct notify *n);

void notify_ready(struct notify *n);
void notify_stopping(struct notify *n);
/* Keeps a copy of fd under that name. */
void notify_store(struct notify *n, const char *name, int fd);
void notify_remove(struct notify *n, const char *name);
/* A kept one, which is the caller's now (and still in the store); -1: none of that name. */
int notify_take(struct notify *n, const char *name);

#endif
