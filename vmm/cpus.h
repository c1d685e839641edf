/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine's CPUs as threads, on every engine that runs them in the monitor: their
 * start, pause and stop, and the machine's end.
 *
 * Lifetime: cpus_init(); cpus_start() makes the threads; whoever sees the end first, a
 * thread or cpus_end()'s caller, writes it down once and end_fd becomes readable;
 * cpus_stop() ends the threads.  In between cpus_pause() keeps them out of the guest,
 * and cpus_resume() lets them go on.
 */
#ifndef CAISSON_CPUS_H
#define CAISSON_CPUS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/error.h"

#define CPUS_MAX 64u /* as many as the guest kernel is built for */

/* The engine's; `cpu` is a number below n. */
struct cpus_ops {
	/* First of all in the thread: its seccomp filter. */
	int (*enter)(void *arg, uint32_t cpu, struct error *err);
	/* Into the guest, and what follows from its coming out; false: the machine has ended. */
	bool (*run)(void *arg, uint32_t cpu);
	/* From now on run() comes back at once (if it is in the guest, when a signal comes); or
	 * not any more.  Any thread. */
	void (*hold)(void *arg, uint32_t cpu, bool hold);
	/* The thread goes on after a pause.  NULL: nothing to do. */
	void (*resumed)(void *arg, uint32_t cpu);
};

struct cpus;

struct cpu_thread {
	struct cpus *all;
	uint32_t id;
	pthread_t thread;
	bool started;
};

struct cpus {
	const struct cpus_ops *ops;
	void *arg;
	int end_fd; /* an eventfd; readable: the machine has ended */
	uint32_t n;
	struct cpu_thread *cpu;
	atomic_bool stopping, paused;
	/* For `parked`, and the first end counts. */
	pthread_mutex_t lock;
	pthread_cond_t changed; /* parked, paused, stopping */
	uint32_t parked;	/* threads that wait outside of the guest */
	bool ended;
	struct error end; /* code 0: an orderly one */
};

/* `n` of them, 1 to CPUS_MAX; no thread yet.  On error nothing is left behind. */
int cpus_init(struct cpus *c, uint32_t n, const struct cpus_ops *ops, void *arg, struct error *err);
/* After cpus_stop().  Harmless after an error of cpus_init(). */
void cpus_done(struct cpus *c);

/* Makes the threads; each confines itself before it enters the guest, and ends the machine if it
 * cannot.  On error those that were made still run: cpus_stop(). */
int cpus_start(struct cpus *c, struct error *err);
/* Ends the machine for the reason given, or (NULL) in order; the first end counts.  Any thread. */
void cpus_end(struct cpus *c, const struct error *reason);
/*
 * Takes all threads out of the guest and keeps them out; on 0 none is in it, or at work for it, any
 * more.  -ETIMEDOUT: one did not come within timeout_ms, and all go on.  Harmless when paused.  Not
 * from a CPU's thread; not together with cpus_stop().
 */
int cpus_pause(struct cpus *c, int timeout_ms, struct error *err);
void cpus_resume(struct cpus *c);
/* Takes all threads out of the guest, for good, and waits for them.  Not from a CPU's thread; may
 * be called again. */
void cpus_stop(struct cpus *c);

#endif
