/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Engines: a machine description in, a running guest out.
 *
 * An engine knows how to run one guest on one kind of host: `emu` drives QEMU's
 * TCG as a child process; `kvm` and `cki` will run vCPU threads in the monitor
 * itself.  Nothing outside vmm/engine/NAME* knows how.
 *
 * Contract:
 *  - engine_start() returns with the guest on its way, or with one sentence and
 *    nothing left behind.
 *  - The guest talks to the monitor through `agent_fd` only (frames of lib/wire.h,
 *    bytes written by the guest: hostile) and `console_fd` (text, hostile).
 *  - `exit_fd` becomes readable when the guest has ended for whatever reason;
 *    engine_wait() then says how.
 *  - engine_kill() ends the guest now; may be called at any time, more than once.
 *  - The engine owns all it opened; engine_done() frees it, killing if need be.
 */
#ifndef CAISSON_ENGINE_H
#define CAISSON_ENGINE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/error.h"
#include "vmm/machine.h"

struct guest; /* the engine's own */

struct engine_ops {
	const char *name;
	const char *summary; /* one line for `caisson doctor` */

	/* 0 when this host can run the engine, else -errno and the sentence that says what is
	 * missing.  Looks only; cheap; no side effects. */
	int (*probe)(struct error *err);

	/* Starts the guest.  fds in `m` stay the caller's. */
	int (*start)(const struct machine *m, struct guest **ret, struct error *err);

	int (*agent_fd)(const struct guest *g);	  /* stream socket, non-blocking */
	int (*console_fd)(const struct guest *g); /* stream socket, non-blocking; -1: none */
	int (*exit_fd)(const struct guest *g);

	/* After exit_fd: 0 for an orderly end, else -errno and why. */
	int (*wait)(struct guest *g, struct error *err);
	void (*kill)(struct guest *g);
	void (*done)(struct guest *g); /* NULL is allowed */
};

/* All engines of this build, best first; NULL-terminated. */
extern const struct engine_ops *const engines[];

/* By name ("emu"), or, with "auto", the first whose probe succeeds.  NULL with err set. */
const struct engine_ops *engine_choose(const char *name, struct error *err);

#endif
