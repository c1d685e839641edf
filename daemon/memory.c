// SPDX-License-Identifier: Apache-2.0
#include "daemon/memory.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "vmm/mem/backing.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

#define HUGE (2ull << 20)
#define CHUNK (16ull << 20)
#define THREADS_MAX 64u

/* Threads that are at work without being urgent, of all memories: they share the CPU budget. */
static atomic_uint at_leisure;

struct filling {
	uint8_t *at;
	uint64_t size;
	atomic_uint_fast64_t next; /* first byte that nobody has begun with */
	atomic_int error;
	const struct memory_pace *pace;
};

static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Having used `used` of CPU time, sleeps until that was no more than this thread's share. */
static void rest(const struct memory_pace *p, uint64_t used)
{
	unsigned int n = atomic_load(&at_leisure);
	uint64_t whole, slept = 0;

	if (!p->cpu)
		return;
	whole = used * 100 * (n ? n : 1) / p->cpu;
	while (whole > used + slept && !atomic_load(p->urgent) && !atomic_load(p->stop)) {
		uint64_t left = whole - used - slept;
		struct timespec ts = {.tv_nsec = (long)(left < 50000000 ? left : 50000000)};

		nanosleep(&ts, NULL);
		slept += (uint64_t)ts.tv_nsec;
	}
}

static void *fill(void *arg)
{
	struct filling *f = arg;

	for (;;) {
		uint64_t at = atomic_fetch_add(&f->next, CHUNK), n, start;
		bool leisure = !atomic_load(f->pace->urgent);

		if (at >= f->size || atomic_load(&f->error))
			return NULL;
		if (atomic_load(f->pace->stop)) {
			atomic_store(&f->error, ECANCELED);
			return NULL;
		}
		n = f->size - at < CHUNK ? f->size - at : CHUNK;
		atomic_fetch_add(&at_leisure, leisure);
		start = cpu_ns();
		if (madvise(f->at + at, n, MADV_POPULATE_WRITE) < 0)
			atomic_store(&f->error, errno);
		else if (leisure)
			rest(f->pace, cpu_ns() - start);
		atomic_fetch_sub(&at_leisure, leisure);
	}
}

static int fill_all(uint8_t *at, uint64_t size, const struct memory_pace *pace)
{
	struct filling f = {.at = at, .size = size, .pace = pace};
	uint64_t chunks = (size + CHUNK - 1) / CHUNK;
	pthread_t threads[THREADS_MAX];
	unsigned int n = 0, want = atomic_load(pace->urgent) ? pace->threads : 1;

	if (want > chunks)
		want = (unsigned int)chunks;
	if (want > THREADS_MAX)
		want = THREADS_MAX;
	/* This one is a thread, too; with fewer than wanted it takes longer. */
	while (n + 1 < want && pthread_create(&threads[n], NULL, fill, &f) == 0)
		n++;
	fill(&f);
	while (n > 0)
		pthread_join(threads[--n], NULL);
	return atomic_load(&f.error);
}

static int no_huge_pages(uint64_t size, struct error *err)
{
	return error_set(err, ENOMEM,
			 "not enough free 2 MiB pages (%llu needed): see "
			 "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages",
			 (unsigned long long)(size / HUGE));
}

static int make(uint64_t size, bool hugepages, const struct memory_pace *pace, int *ret_fd,
		struct error *err)
{
	_cleanup_close_ int fd = mem_backing_open(size, hugepages, err);
	void *at;
	int why;

	if (fd < 0)
		return fd;
	at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED && errno == ENOMEM && hugepages)
		return no_huge_pages(size, err);
	if (at == MAP_FAILED)
		return error_errno(err, "map a memfd");
	why = fill_all(at, size, pace);
	munmap(at, size);
	if (why == ECANCELED)
		return error_set(err, ECANCELED, "caissond is ending");
	if (why && hugepages)
		return no_huge_pages(size, err);
	if (why)
		return error_set(err, why, "fill it: %s", strerrordesc_np(why));
	*ret_fd = steal_fd(&fd);
	return 0;
}

int memory_make(uint64_t size, bool hugepages, const struct memory_pace *pace, int *ret_fd,
		struct error *err)
{
	if (make(size, hugepages, pace, ret_fd, err) < 0)
		return error_wrap(err, "guest memory of %llu bytes", (unsigned long long)size);
	return 0;
}
