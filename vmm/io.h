/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The I/O thread: one epoll loop in which all devices of a sandbox do their work.
 *
 * A watch is embedded in its owner's structure; the loop allocates nothing.
 * io_add(), io_modify() and io_remove() may be called by any thread.  A callback
 * runs in the I/O thread, one at a time, and may be called once more after another
 * thread has removed its watch (the event was on its way): so a watch's memory
 * lives until io_stop() has returned, and a callback looks at its owner's state,
 * under its owner's lock, before it does anything.
 */
#ifndef CAISSON_IO_H
#define CAISSON_IO_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "lib/error.h"

struct io_watch {
	int fd;		 /* set by the owner; never closed here */
	uint32_t events; /* EPOLLIN | EPOLLOUT, level triggered; 0: only errors */
	void (*ready)(struct io_watch *w, uint32_t events); /* in the I/O thread */
	void *arg;					    /* the owner's */
	bool added;
};

struct io {
	int epoll_fd;
	struct io_watch attention; /* an eventfd: the thread is to pause, or to stop */
	bool stopping;		   /* the I/O thread's own */
	pthread_mutex_t lock;	   /* the next three */
	bool asked_to_stop, paused;
	bool parked; /* it has seen that */
	pthread_cond_t changed;
	pthread_t thread;
	bool started;
	int (*enter)(void *arg, struct error *err);
	void *enter_arg;
	struct error enter_err;
};

int io_init(struct io *io, struct error *err);
/* After io_stop(). */
void io_done(struct io *io);

/*
 * Starts the thread, named "io".  If `enter` is given it runs first in the new thread (its seccomp
 * filter goes there); if it fails the thread ends, and io_start() returns that error.
 */
int io_start(struct io *io, int (*enter)(void *arg, struct error *err), void *arg,
	     struct error *err);
/* Ends the loop and waits for the thread.  Harmless when it does not run. */
void io_stop(struct io *io);

/*
 * On return no callback runs, and none begins until io_resume().  -ETIMEDOUT: one did not return
 * within timeout_ms, and all goes on.  Harmless when paused, or when the thread does not run.  Not
 * from a callback; not together with io_stop().
 */
int io_pause(struct io *io, int timeout_ms);
void io_resume(struct io *io);

/* 0 or -errno.  Adding twice and removing what is not there are harmless. */
int io_add(struct io *io, struct io_watch *w);
int io_modify(struct io *io, struct io_watch *w, uint32_t events);
void io_remove(struct io *io, struct io_watch *w);

/* One round: waits up to timeout_ms (-1: for ever) and calls what is ready.  For tests that want
 * no thread, and for the loop itself.  Returns the number of callbacks made. */
int io_round(struct io *io, int timeout_ms);

#endif
