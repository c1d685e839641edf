// SPDX-License-Identifier: Apache-2.0
#include "guest/init/loop.h"

#include <errno.h>
#include <stddef.h>
#include <time.h>

#define LOOP_BATCH 16

static int epoll_fd = -1;
static struct timer *timers;
/* The batch being handled: loop_remove() takes a watch out of what is still to come. */
static struct epoll_event batch[LOOP_BATCH];
static int batch_n;

int loop_init(void)
{
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	return epoll_fd < 0 ? -errno : 0;
}

int loop_add(struct watch *w, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = w};

	if (epoll_ctl(epoll_fd, w->added ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, w->fd, &ev) < 0)
		return -errno;
	w->added = true;
	return 0;
}

void loop_remove(struct watch *w)
{
	if (!w->added)
		return;
	w->added = false;
	epoll_ctl(epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
	for (int i = 0; i < batch_n; i++)
		if (batch[i].data.ptr == w)
			batch[i].data.ptr = NULL;
}

uint64_t loop_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

void timer_start(struct timer *t, uint32_t after_ms)
{
	timer_stop(t);
	t->at_ms = loop_now_ms() + after_ms;
	t->armed = true;
	t->next = timers;
	timers = t;
}

void timer_stop(struct timer *t)
{
	if (!t->armed)
		return;
	for (struct timer **p = &timers; *p; p = &(*p)->next) {
		if (*p == t) {
			*p = t->next;
			break;
		}
	}
	t->armed = false;
}

static int next_timeout(void)
{
	uint64_t now, first = UINT64_MAX;

	if (!timers)
		return -1;
	for (struct timer *t = timers; t; t = t->next)
		if (t->at_ms < first)
			first = t->at_ms;
	now = loop_now_ms();
	return first <= now ? 0 : (int)(first - now + 1);
}

static void fire_timers(void)
{
	uint64_t now;
	struct timer *t;

	if (!timers)
		return;
	now = loop_now_ms();
again: /* a callback may change the list in any way */
	for (t = timers; t; t = t->next) {
		if (t->at_ms <= now) {
			timer_stop(t);
			t->fire(t);
			goto again;
		}
	}
}

void loop_turn(void)
{
	batch_n = epoll_wait(epoll_fd, batch, LOOP_BATCH, next_timeout());
	for (int i = 0; i < batch_n; i++) {
		struct watch *w = batch[i].data.ptr;

		if (w)
			w->ready(w, batch[i].events);
	}
	batch_n = 0;
	fire_timers();
}
