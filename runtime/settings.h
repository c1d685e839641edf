/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Settings: how a sandbox is run.  Defaults, then /etc/caisson/config.json (the
 * machine's owner), then the container's annotations `io.caisson.KEY` (whoever
 * writes pods: only the keys that the owner allows).
 */
#ifndef CAISSON_RUNTIME_SETTINGS_H
#define CAISSON_RUNTIME_SETTINGS_H

#include <stdint.h>

#include "lib/error.h"
#include "runtime/config.h"

#define SETTINGS_FILE "/etc/caisson/config.json"
/* Bytes for the guest's kernel and agent, beside what a container may use up to its limit. */
#define SETTINGS_GUEST_OVERHEAD (64ull << 20)

struct settings {
	char *engine;			 /* "auto", or an engine's name */
	char *kernel, *initrd, *monitor; /* paths */
	char *kernel_cmdline;		 /* added to the engine's own */
	char *cache;			 /* directory of root file system images */
	uint64_t cache_size; /* bytes, above which images not used for long are removed */
	uint32_t vcpus;
	uint64_t memory;       /* bytes of guest RAM; grown to hold linux.resources.memory.limit */
	uint64_t memory_start; /* of it, so much before the guest starts, if lent; 0: all */
	uint32_t hugepages;    /* 1: 2 MiB pages of hugetlbfs behind it */
	uint64_t scratch;      /* bytes that the container may write; 0: half of the guest's RAM */
	uint64_t scratch_disk; /* bytes of a disk for what it writes, in place of RAM; 0: none */
	uint32_t boot_timeout; /* seconds */
	char *slots;	       /* of caissond: auto (what is ready), no, memory, function */
	char *slots_socket;    /* where it listens */
	uint32_t slots_wait;   /* seconds, for a slot that was asked for expressly */
	char *timelines;       /* absolute directory where timelines of starts stay; "": none */
	char *network; /* "start", or "wait": containers start when their functions are up */
	uint32_t network_timeout; /* seconds that such a start waits at most */
	struct strv annotations;  /* keys that annotations may set */
	struct msg_chunk *arena;
};

/*
 * Reads `path` (NULL: SETTINGS_FILE, which need not exist).  0 or -errno with a sentence that names
 * the file, the key and the value.
 */
int settings_load(struct settings *ret, const char *path, struct error *err);
/* Adds what the container's annotations and limits say. */
int settings_apply(struct settings *s, const struct config *c, struct error *err);
void settings_done(struct settings *s);

/* "64", "64K", "64M", "64G" (powers of 1024) to bytes; 0 or -EINVAL. */
int settings_parse_size(const char *text, uint64_t *ret);

#endif
