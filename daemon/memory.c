// SPDX-License-Identifier: Apache-2.0
#include "daemon/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "vmm/mem/backing.h"
#include "vmm/mem/blocks.h"

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

static int fill_part(int fd, uint64_t offset, uint64_t size, bool hugepages,
		     const struct memory_pace *pace, struct error *err)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)offset);
	int why;

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
	return why ? error_set(err, why, "fill it: %s", strerrordesc_np(why)) : 0;
}

static int make(uint64_t size, bool hugepages, const struct memory_pace *pace, int *ret_fd,
		struct error *err)
{
	_cleanup_close_ int fd = mem_backing_make(size, hugepages, err);

	if (fd < 0)
		return fd;
	if (fill_part(fd, 0, size, hugepages, pace, err) < 0)
		return -err->code;
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

static int sort(int fd, uint64_t size, struct error *err)
{
	uint8_t *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	int rc;

	if (at == MAP_FAILED)
		return error_errno(err, "map a memfd");
	rc = mem_blocks_sort(at, fd, size, true, err);
	munmap(at, size);
	return rc;
}

int memory_make_in_place(uint64_t size, const struct memory_pace *pace, int *ret_fd,
			 struct error *err)
{
	/* What monitors lock, too (vmm/cki/sandbox.h). */
	_cleanup_close_ int lock = open("/dev/caisson", O_RDWR | O_CLOEXEC), fd = -1;

	if (lock < 0)
		return error_errno(err, "engine cki: open '/dev/caisson'");
	if (flock(lock, LOCK_EX) < 0)
		return error_errno(err, "lock '/dev/caisson'");
	if (memory_make(size, true, pace, &fd, err) < 0 || sort(fd, size, err) < 0)
		return -err->code;
	*ret_fd = steal_fd(&fd);
	return 0;
}

int memory_fill(int fd, uint64_t offset, uint64_t size, const struct memory_pace *pace,
		struct error *err)
{
	/* Pages of 2 MiB are reserved by now. */
	return fill_part(fd, offset, size, false, pace, err);
}

/* Of hugetlbfs, whoever maps a part reserves its pages, and they stay reserved when the mapping
 * goes: the file has them (mm/hugetlb.c, hugetlb_reserve_pages()). */
static int reserve(int fd, uint64_t offset, uint64_t size, struct error *err)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)offset);

	if (at == MAP_FAILED)
		return errno == ENOMEM ? no_huge_pages(size, err) : error_errno(err, "map a memfd");
	munmap(at, size);
	return 0;
}

int memory_resize(int fd, uint64_t size, uint64_t max, bool hugepages, struct error *err)
{
	if (ftruncate(fd, (off_t)max) < 0)
		return error_errno(err, "size a memfd");
	if (!hugepages || reserve(fd, size, max - size, err) == 0)
		return 0;
	if (ftruncate(fd, (off_t)size) < 0)
		return error_errno(err, "size a memfd");
	return -err->code;
}
