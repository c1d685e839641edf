// SPDX-License-Identifier: Apache-2.0
#include "daemon/job.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "daemon/function.h"
#include "lib/cleanup.h"
#include "lib/timeline.h"

static void close_memory(struct parts *p)
{
	cleanup_close(&p->memory_fd);
	p->memory_fd = -1;
	p->memory = 0;
}

void parts_done(struct parts *p)
{
	vfio_close(&p->function);
	close_memory(p);
}

static int return_function(struct job *j, struct error *err)
{
	int rc = function_return(&j->function, j->vfs, j->return_ms, err);

	/* Nobody has what is not there. */
	j->function_clean = rc == -ENODEV;
	if (rc == 0)
		timeline_mark("slot-proven");
	return rc;
}

static int make_function(struct job *j, struct error *err)
{
	if (!*j->function.address) {
		j->function_clean = true;
		return 0;
	}
	if (j->suspect) {
		vfio_close(&j->parts.function);
		if (return_function(j, err) < 0)
			return -err->code;
	}
	if (!j->open) {
		vfio_close(&j->parts.function);
		if (function_bind(&j->function, err) < 0)
			return -err->code;
	} else if (j->parts.function.device_fd < 0) {
		if (function_open(&j->function, j->iommu, &j->parts.function, err) < 0)
			return -err->code;
		timeline_mark("slot-open");
	}
	j->function_clean = true;
	return 0;
}

static int make_memory(struct job *j, struct error *err)
{
	const struct memory_pace pace = {
		.threads = j->threads, .cpu = j->cpu, .urgent = &j->urgent, .stop = &j->stop};

	if (j->parts.memory != j->memory && j->parts.function.device_fd >= 0 && j->parts.memory &&
	    vfio_unmap(&j->parts.function, err) < 0)
		return -err->code;
	if (j->parts.memory != j->memory)
		close_memory(&j->parts);
	if (!j->memory || j->parts.memory)
		return 0;
	j->parts.memory_fd = steal_fd(&j->spare_fd);
	if (j->parts.memory_fd < 0 &&
	    (j->in_place
		     ? memory_make_in_place(j->memory, &pace, &j->parts.memory_fd, err)
		     : memory_make(j->memory, j->hugepages, &pace, &j->parts.memory_fd, err)) < 0)
		return -err->code;
	j->parts.memory = j->memory;
	timeline_mark("slot-memory");
	if (j->parts.function.device_fd >= 0 &&
	    (j->in_place ? vfio_map_in_place : vfio_map)(&j->parts.function, j->parts.memory_fd,
							 j->memory, err) < 0) {
		close_memory(&j->parts);
		return -err->code;
	}
	return 0;
}

static int work(struct job *j, struct error *err)
{
	/* What somebody has had goes first: with huge pages, there may be no others. */
	if (j->suspect || j->empty)
		close_memory(&j->parts);
	if (j->empty && !j->suspect) {
		vfio_close(&j->parts.function);
		return 0;
	}
	if (j->empty) {
		vfio_close(&j->parts.function);
		if (*j->function.address && return_function(j, err) < 0)
			return -err->code;
		j->function_clean = true;
		return 0;
	}
	if (make_function(j, err) < 0)
		return -err->code;
	return make_memory(j, err);
}

static void *run(void *arg)
{
	const uint64_t one = 1;
	struct job *j = arg;

	timeline_mark("slot-begin");
	j->rc = work(j, &j->error);
	cleanup_close(&j->spare_fd);
	timeline_mark("slot-done");
	atomic_store(&j->done, true);
	if (write(j->done_fd, &one, sizeof(one)) < 0)
		return NULL; /* the loop looks for itself now and then */
	return NULL;
}

int job_start(struct job *j, struct error *err)
{
	int rc;

	atomic_store(&j->done, false);
	rc = pthread_create(&j->thread, NULL, run, j);
	return rc ? error_set(err, rc, "make a thread: %s", strerrordesc_np(rc)) : 0;
}

void job_join(struct job *j)
{
	pthread_join(j->thread, NULL);
}
