/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The work on a slot: from whatever it is to what it should be, in a thread of its own.  While the
 * slot is PREPARING its parts are the job's and nobody else's.
 *
 * Steps are marks of lib/timeline.h, so that a test can stop the daemon at each.
 */
#ifndef CAISSON_DAEMON_JOB_H
#define CAISSON_DAEMON_JOB_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "daemon/config.h"
#include "daemon/memory.h"
#include "daemon/slot.h"
#include "vmm/vfio/lend.h"

/* What a slot holds of the host. */
struct parts {
	int memory_fd;
	uint64_t memory;	   /* bytes */
	struct vfio_lent function; /* open, or VFIO_LENT_NONE */
};

#define PARTS_NONE ((struct parts){.memory_fd = -1, .function = VFIO_LENT_NONE})

void parts_done(struct parts *p);

struct job {
	/* Given. */
	struct lease_function function; /* address "": none.  The MAC is found out */
	uint64_t memory;		/* bytes to have at the end */
	bool hugepages;
	bool in_place; /* memory is where the host has it, and mapped there */
	bool open;     /* have the function open at the end, else only bound */
	bool empty;    /* have nothing at the end */
	uint32_t vfs;  /* how many its physical function is to have, if it has none; 0: as it is */
	bool suspect;  /* the function must be proven to be nowhere else, and reset */
	uint32_t return_ms, threads, cpu;
	enum vfio_kind iommu; /* how it is opened */
	int done_fd;	      /* eventfd that is written to at the end */
	atomic_bool urgent, stop;
	/* Memory of that size, clean: used instead of making some.  -1: none. */
	int spare_fd;
	/* Both ways; the job's until it is done. */
	struct parts parts;
	/* The result. */
	bool function_clean; /* also when it failed: nobody else has it, and it is reset */
	int rc;
	struct error error;
	atomic_bool done;
	pthread_t thread;
};

/* parts are taken over.  0, or -errno: they are the caller's again. */
int job_start(struct job *j, struct error *err);
/* Waits for the thread's end. */
void job_join(struct job *j);

#endif
