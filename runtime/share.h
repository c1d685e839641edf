/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shares that come and go while a guest runs.  The directory that an engine's file
 * server exports is /shares in that server's own mount namespace (vmm/jail.h); an
 * entry "N" there is a mount, which root may make and take away from outside.
 *
 * Trust: the server belongs to the guest as far as we know.  What it gets to see is
 * mounted with its flags set before, and nothing of its is followed: its /shares is
 * on a file system it cannot write.
 */
#ifndef CAISSON_RUNTIME_SHARE_H
#define CAISSON_RUNTIME_SHARE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/error.h"
#include "runtime/state.h"

struct share_source {
	int fd;		  /* a file, when path is NULL */
	const char *path; /* absolute */
	bool readonly, recursive;
};

/* The file server among the children of that monitor; -ESRCH with a sentence when there is none. */
pid_t share_server(const struct state_process *monitor, struct error *err);

/* Entry `number`, which is not there yet, becomes a view of the source. */
int share_attach(pid_t server, uint32_t number, const struct share_source *s, struct error *err);

/* Takes entries away, those that are there; files a guest has open stay open. */
int share_detach(pid_t server, uint32_t first, uint32_t n, struct error *err);

#endif
