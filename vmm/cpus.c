// SPDX-License-Identifier: Apache-2.0
#include "vmm/cpus.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/condition.h"

/* Takes a thread out of the guest; its handler does nothing. */
#define SIGNAL_KICK SIGUSR1
/* A thread needs little more than a device's error path does. */
#define STACK_SIZE (128u << 10)

int cpus_init(struct cpus *c, uint32_t n, const struct cpus_ops *ops, void *arg, struct error *err)
{
	*c = (struct cpus){.ops = ops, .arg = arg, .end_fd = -1, .n = n};
	pthread_mutex_init(&c->lock, NULL);
	condition_init(&c->changed);
	if (n == 0 || n > CPUS_MAX)
		return error_set(err, EINVAL, "%u CPUs: 1 to %u can be had", n, CPUS_MAX);
	c->cpu = calloc(n, sizeof(*c->cpu));
	c->end_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!c->cpu || c->end_fd < 0) {
		cpus_done(c);
		return error_errno(err, "make CPUs");
	}
	for (uint32_t i = 0; i < n; i++)
		c->cpu[i] = (struct cpu_thread){.all = c, .id = i};
	return 0;
}

void cpus_done(struct cpus *c)
{
	free(c->cpu);
	cleanup_close(&c->end_fd);
	*c = (struct cpus){.end_fd = -1};
}

void cpus_end(struct cpus *c, const struct error *reason)
{
	uint64_t one = 1;

	pthread_mutex_lock(&c->lock);
	if (!c->ended) {
		c->ended = true;
		if (reason)
			c->end = *reason;
		if (write(c->end_fd, &one, sizeof(one)) < 0)
			abort(); /* an eventfd of ours, written once */
		pthread_cond_broadcast(&c->changed);
	}
	pthread_mutex_unlock(&c->lock);
}

/* Waits, outside of the guest, for the end of a pause. */
static void park(struct cpu_thread *t)
{
	struct cpus *c = t->all;

	pthread_mutex_lock(&c->lock);
	c->parked++;
	pthread_cond_broadcast(&c->changed);
	while (atomic_load(&c->paused) && !atomic_load(&c->stopping))
		pthread_cond_wait(&c->changed, &c->lock);
	c->parked--;
	pthread_mutex_unlock(&c->lock);
	if (c->ops->resumed)
		c->ops->resumed(c->arg, t->id);
}

static void *cpu_main(void *arg)
{
	struct cpu_thread *t = arg;
	struct cpus *c = t->all;
	struct error err = {0};
	char name[16];

	snprintf(name, sizeof(name), "vcpu%u", t->id);
	prctl(PR_SET_NAME, name);
	if (c->ops->enter(c->arg, t->id, &err) < 0) {
		cpus_end(c, &err);
		return NULL;
	}
	while (!atomic_load(&c->stopping)) {
		if (atomic_load(&c->paused))
			park(t);
		else if (!c->ops->run(c->arg, t->id))
			break;
	}
	return NULL;
}

static void on_kick(int sig)
{
	(void)sig;
}

int cpus_start(struct cpus *c, struct error *err)
{
	struct sigaction kick = {.sa_handler = on_kick};
	pthread_attr_t attr;
	int rc = 0;

	if (sigaction(SIGNAL_KICK, &kick, NULL) < 0)
		return error_errno(err, "catch a signal");
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	for (uint32_t i = 0; i < c->n && rc == 0; i++) {
		rc = pthread_create(&c->cpu[i].thread, &attr, cpu_main, &c->cpu[i]);
		c->cpu[i].started = rc == 0;
	}
	pthread_attr_destroy(&attr);
	return rc ? error_set(err, rc, "start a CPU's thread: %s", strerror(rc)) : 0;
}

/* Takes a thread out of the guest; if it is not in it, it does not get in any more. */
static void kick(struct cpu_thread *t)
{
	t->all->ops->hold(t->all->arg, t->id, true);
	pthread_kill(t->thread, SIGNAL_KICK);
}

/* With the lock held. */
static void let_go(struct cpus *c)
{
	for (uint32_t i = 0; i < c->n; i++)
		c->ops->hold(c->arg, i, false);
	atomic_store(&c->paused, false);
	pthread_cond_broadcast(&c->changed);
}

int cpus_pause(struct cpus *c, int timeout_ms, struct error *err)
{
	struct timespec until = condition_deadline(timeout_ms);
	int rc = 0;

	pthread_mutex_lock(&c->lock);
	atomic_store(&c->paused, true);
	for (uint32_t i = 0; i < c->n; i++)
		kick(&c->cpu[i]);
	/* A thread that has ended, has ended the machine. */
	while (c->parked < c->n && !c->ended && rc == 0)
		rc = pthread_cond_timedwait(&c->changed, &c->lock, &until);
	if (rc)
		let_go(c);
	pthread_mutex_unlock(&c->lock);
	return rc ? error_set(err, rc, "a CPU did not stop within %d ms", timeout_ms) : 0;
}

void cpus_resume(struct cpus *c)
{
	pthread_mutex_lock(&c->lock);
	let_go(c);
	pthread_mutex_unlock(&c->lock);
}

void cpus_stop(struct cpus *c)
{
	pthread_mutex_lock(&c->lock);
	atomic_store(&c->stopping, true);
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
	for (uint32_t i = 0; c->cpu && i < c->n; i++)
		if (c->cpu[i].started)
			kick(&c->cpu[i]);
	for (uint32_t i = 0; c->cpu && i < c->n; i++)
		if (c->cpu[i].started) {
			pthread_join(c->cpu[i].thread, NULL);
			c->cpu[i].started = false;
		}
}
