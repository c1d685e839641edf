// SPDX-License-Identifier: Apache-2.0
#include "vmm/io.h"

#include <errno.h>
#include <semaphore.h>
#include <signal.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/condition.h"

#define ROUND_EVENTS 32

/* A callback, so that no other runs meanwhile. */
static void attend(struct io_watch *w, uint32_t events)
{
	struct io *io = w->arg;
	eventfd_t n;

	(void)events;
	eventfd_read(w->fd, &n);
	pthread_mutex_lock(&io->lock);
	io->parked = true;
	pthread_cond_broadcast(&io->changed);
	while (io->paused && !io->asked_to_stop)
		pthread_cond_wait(&io->changed, &io->lock);
	io->parked = false;
	io->stopping = io->asked_to_stop;
	pthread_mutex_unlock(&io->lock);
}

int io_init(struct io *io, struct error *err)
{
	*io = (struct io){.epoll_fd = epoll_create1(EPOLL_CLOEXEC)};
	pthread_mutex_init(&io->lock, NULL);
	condition_init(&io->changed);
	io->attention = (struct io_watch){
		.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
		.events = EPOLLIN,
		.ready = attend,
		.arg = io,
	};
	if (io->epoll_fd < 0 || io->attention.fd < 0 || io_add(io, &io->attention) < 0) {
		error_errno(err, "set up the I/O thread");
		io_done(io);
		return -err->code;
	}
	return 0;
}

void io_done(struct io *io)
{
	cleanup_close(&io->epoll_fd);
	cleanup_close(&io->attention.fd);
	io->epoll_fd = io->attention.fd = -1;
}

static int control(struct io *io, int op, struct io_watch *w)
{
	struct epoll_event e = {.events = w->events, .data.ptr = w};

	return epoll_ctl(io->epoll_fd, op, w->fd, &e) < 0 ? -errno : 0;
}

int io_add(struct io *io, struct io_watch *w)
{
	int rc;

	if (w->added)
		return 0;
	rc = control(io, EPOLL_CTL_ADD, w);
	w->added = rc == 0;
	return rc;
}

int io_modify(struct io *io, struct io_watch *w, uint32_t events)
{
	if (w->events == events)
		return 0;
	w->events = events;
	return w->added ? control(io, EPOLL_CTL_MOD, w) : 0;
}

void io_remove(struct io *io, struct io_watch *w)
{
	if (w->added)
		control(io, EPOLL_CTL_DEL, w);
	w->added = false;
}

int io_round(struct io *io, int timeout_ms)
{
	struct epoll_event events[ROUND_EVENTS];
	int n = epoll_wait(io->epoll_fd, events, ROUND_EVENTS, timeout_ms);

	for (int i = 0; i < n; i++) {
		struct io_watch *w = events[i].data.ptr;

		w->ready(w, events[i].events);
	}
	return n < 0 ? 0 : n;
}

struct start {
	struct io *io;
	sem_t entered;
	bool failed;
};

static void *thread_main(void *arg)
{
	struct start *s = arg;
	struct io *io = s->io; /* s is gone once we are seen to have entered */

	pthread_setname_np(pthread_self(), "io");
	s->failed = io->enter && io->enter(io->enter_arg, &io->enter_err) < 0;
	if (s->failed) {
		sem_post(&s->entered);
		return NULL;
	}
	sem_post(&s->entered);
	while (!io->stopping)
		io_round(io, -1);
	return NULL;
}

int io_start(struct io *io, int (*enter)(void *arg, struct error *err), void *arg,
	     struct error *err)
{
	struct start s = {.io = io};
	sigset_t all, before;
	int rc;

	io->enter = enter;
	io->enter_arg = arg;
	sem_init(&s.entered, 0, 0);
	/* Signals are the main thread's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&io->thread, NULL, thread_main, &s);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc == 0)
		while (sem_wait(&s.entered) < 0)
			;
	sem_destroy(&s.entered);
	if (rc)
		return error_set(err, rc, "start the I/O thread");
	if (s.failed) {
		pthread_join(io->thread, NULL);
		*err = io->enter_err;
		return error_wrap(err, "I/O thread");
	}
	io->started = true;
	return 0;
}

int io_pause(struct io *io, int timeout_ms)
{
	struct timespec until = condition_deadline(timeout_ms);
	int rc = 0;

	if (!io->started)
		return 0;
	pthread_mutex_lock(&io->lock);
	io->paused = true;
	eventfd_write(io->attention.fd, 1);
	while (!io->parked && rc == 0)
		rc = pthread_cond_timedwait(&io->changed, &io->lock, &until);
	if (rc) {
		io->paused = false;
		pthread_cond_broadcast(&io->changed);
	}
	pthread_mutex_unlock(&io->lock);
	return -rc;
}

void io_resume(struct io *io)
{
	pthread_mutex_lock(&io->lock);
	io->paused = false;
	pthread_cond_broadcast(&io->changed);
	pthread_mutex_unlock(&io->lock);
}

void io_stop(struct io *io)
{
	if (!io->started)
		return;
	pthread_mutex_lock(&io->lock);
	io->asked_to_stop = true;
	pthread_cond_broadcast(&io->changed);
	pthread_mutex_unlock(&io->lock);
	eventfd_write(io->attention.fd, 1);
	pthread_join(io->thread, NULL);
	io->started = false;
}
