// SPDX-License-Identifier: Apache-2.0
#include "daemon/growth.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/timeline.h"
#include "vmm/mem/layout.h"

#define NICE 10 /* starts that are under way go first */

static int grow(struct growth *g, const struct mem_extent *all, uint64_t at, struct error *err)
{
	const struct mem_extent piece = {.base = GPA(all->base.v + at),
					 .size = MEM_GROWTH_STEP,
					 .offset = all->offset + at};
	atomic_bool urgent = true;
	const struct memory_pace pace = {.threads = g->threads,
					 .urgent = &urgent,
					 .stop = &g->stop};
	const uint64_t grown = at + MEM_GROWTH_STEP;

	if (memory_fill(g->memory_fd, piece.offset, piece.size, &pace, err) < 0)
		return -err->code;
	timeline_mark("growth-filled");
	if (g->space.space.fd >= 0 && vfio_map_extent(&g->space, g->memory_fd, &piece, err) < 0)
		return -err->code;
	timeline_mark("growth-mapped");
	/* A pipe takes it whole, and a guest has less of them than a pipe holds. */
	if (write(g->tell_fd, &grown, sizeof(grown)) != (ssize_t)sizeof(grown))
		return error_errno(err, "tell the holder");
	timeline_mark("growth-told");
	return 0;
}

static void *run(void *arg)
{
	const uint64_t one = 1;
	struct growth *g = arg;
	struct mem_extent all;

	setpriority(PRIO_PROCESS, 0, NICE);
	mem_growth(g->memory, g->max, &all);
	for (uint64_t at = 0; at < all.size && !atomic_load(&g->stop); at += MEM_GROWTH_STEP)
		if (grow(g, &all, at, &g->error) < 0)
			break;
	/* Its end: no more comes. */
	cleanup_close(&g->tell_fd);
	g->tell_fd = -1;
	atomic_store(&g->done, true);
	if (write(g->done_fd, &one, sizeof(one)) < 0)
		return NULL; /* the loop looks for itself now and then */
	return NULL;
}

static void cleanup_growth(struct growth **g)
{
	growth_free(*g);
}

int growth_new(struct parts *p, uint64_t max, bool hugepages, struct growth **ret, int *ret_fd,
	       struct error *err)
{
	_cleanup_(cleanup_growth) struct growth *g = calloc(1, sizeof(*g));
	int ends[2];

	if (!g)
		return error_set(err, ENOMEM, "out of memory");
	g->tell_fd = -1;
	g->space = VFIO_LENT_NONE;
	g->memory = p->memory;
	g->max = max;
	g->memory_fd = fcntl(p->memory_fd, F_DUPFD_CLOEXEC, 0);
	if (g->memory_fd < 0)
		return error_errno(err, "duplicate a descriptor");
	if (p->function.space.fd >= 0 && vfio_dup_space(&p->function, &g->space, err) < 0)
		return -err->code;
	if (memory_resize(g->memory_fd, g->memory, max, hugepages, err) < 0)
		return -err->code;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return error_errno(err, "make a pipe");
	g->tell_fd = ends[1];
	*ret_fd = ends[0];
	*ret = steal_ptr(&g);
	return 0;
}

int growth_start(struct growth *g, struct error *err)
{
	int rc = pthread_create(&g->thread, NULL, run, g);

	if (rc)
		g->thread = 0;
	return rc ? error_set(err, rc, "make a thread: %s", strerrordesc_np(rc)) : 0;
}

void growth_cancel(struct growth *g)
{
	/* If it is sealed it was taken, and is not used again. */
	if (ftruncate(g->memory_fd, (off_t)g->memory) < 0)
		log_line("warning", "cut a memfd back: %s", strerror(errno));
	growth_free(g);
}

void growth_free(struct growth *g)
{
	if (!g)
		return;
	atomic_store(&g->stop, true);
	if (g->thread)
		pthread_join(g->thread, NULL);
	cleanup_close(&g->tell_fd);
	vfio_close(&g->space);
	cleanup_close(&g->memory_fd);
	free(g);
}
