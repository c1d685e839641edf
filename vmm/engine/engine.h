/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Engines: a machine description in, a running guest out.
 *
 * An engine knows how to run one guest on one kind of host: `emu` drives QEMU's
 * TCG as a child process; `kvm` runs vCPU threads in the monitor itself, as `cki`
 * does.  Nothing outside vmm/engine/NAME* knows how.
 *
 * Contract:
 *  - start() does all that takes privileges and makes no thread; it returns with a
 *    guest that is ready to go (or on its way already, in a process of its own), or
 *    with one sentence and nothing left behind.
 *  - launch() lets it go.  The monitor calls it in its jail, without privileges, and
 *    before its own seccomp filter: threads made here install filters of their own.
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
	const char *summary;	 /* one line for `caisson doctor` */
	enum spec_shares shares; /* how it carries the machine's shares */

	/* 0 when this host can run the engine, else -errno and the sentence that says what is
	 * missing.  Looks only; cheap; no side effects. */
	int (*probe)(struct error *err);
	/* NULL, or: how it would run on this host, a few words for `caisson doctor`. */
	void (*detail)(char *text, size_t size);

	/* Makes the guest.  The descriptors of disks and interfaces in `m` are the engine's when it
	 * returns 0; `m` outlives the guest. */
	int (*start)(const struct machine *m, struct guest **ret, struct error *err);
	/* Once; after an error only done() is left. */
	int (*launch)(struct guest *g, struct error *err);

	/* NULL where the engine cannot.  From the monitor's main thread only, after launch(); each
	 * may be repeated.  After pause() has returned 0 the guest does not run, and nothing it can
	 * see changes, until resume() or kill(); else it runs on.  Time goes on for it. */
	int (*pause)(struct guest *g, struct error *err);
	int (*resume)(struct guest *g, struct error *err);
	/* Asks the guest to do with so many bytes of its memory and to give the rest back to the
	 * host (all of it and more: to take back everything).  A guest may refuse or lie; this
	 * waits for nothing.  -EOPNOTSUPP: this machine cannot. */
	int (*resize)(struct guest *g, uint64_t bytes, struct error *err);

	int (*agent_fd)(const struct guest *g);	  /* stream socket, non-blocking */
	int (*console_fd)(const struct guest *g); /* stream socket, non-blocking; -1: none */
	int (*exit_fd)(const struct guest *g);

	/* After exit_fd: 0 for an orderly end, else -errno and why. */
	int (*wait)(struct guest *g, struct error *err);
	void (*kill)(struct guest *g);
	void (*done)(struct guest *g); /* NULL is allowed */
};

/* All engines of this build, best first (docs/configuration.md says why); NULL-terminated. */
extern const struct engine_ops *const engines[];

/* A channel to the guest: two ends of a stream socket, ours non-blocking. */
int engine_channel(int *ret_ours, int *ret_theirs, struct error *err);

/* By name ("emu"), or, with "auto", the first whose probe succeeds.  NULL with err set. */
const struct engine_ops *engine_choose(const char *name, struct error *err);
/* By name, without a probe: of what engine_choose() has chosen. */
const struct engine_ops *engine_find(const char *name, struct error *err);

#endif
