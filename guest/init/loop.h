/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event loop: one epoll instance, callbacks, and a few timers.  A watch or
 * timer is embedded in what it belongs to and may be removed, and its owner freed,
 * from any callback.
 */
#ifndef CAISSON_INIT_LOOP_H
#define CAISSON_INIT_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

struct watch {
	int fd; /* owned by whoever owns the watch */
	bool added;
	void (*ready)(struct watch *w, uint32_t events);
};

struct timer {
	struct timer *next;
	uint64_t at_ms; /* CLOCK_MONOTONIC */
	bool armed;
	void (*fire)(struct timer *t);
};

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

int loop_init(void);
/* 0 or -errno.  Adding what is there already changes its events. */
int loop_add(struct watch *w, uint32_t events);
void loop_remove(struct watch *w);
void timer_start(struct timer *t, uint32_t after_ms);
void timer_stop(struct timer *t);
/* Waits for events and handles them once. */
void loop_turn(void);
uint64_t loop_now_ms(void);

#endif
