/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a sandbox is run on that was ready before: memory, or a virtual function and memory, lent
 * by caissond (lib/lease.h).
 *
 * A lease of the sandbox's own lasts as long as the process that holds it, first the command and
 * then the monitor: however they end, it is over with them, and there is nothing to give back.
 * One that came with the network namespace is the CNI plugin's; the monitor only holds it.
 */
#ifndef CAISSON_RUNTIME_LENT_H
#define CAISSON_RUNTIME_LENT_H

#include <sys/types.h>

#include "lib/lease.h"
#include "runtime/network.h"
#include "runtime/settings.h"
#include "vmm/machine.h"

struct lent {
	int fd; /* connection to caissond; -1: there is nothing lent */
	char id[LEASE_ID_LEN + 1];
	struct lease_taken parts;
	struct machine_function function;
};

#define LENT_NONE ((struct lent){.fd = -1, .parts = LEASE_TAKEN_NONE})

/*
 * Leases what the settings and the namespace's placeholders ask for; 0 with ret->fd -1 when that is
 * nothing, or when nothing is ready and it was not asked for expressly.  id: the sandbox's.
 */
int lent_lease(struct lent *ret, const struct settings *s, const struct network *n, const char *id,
	       struct error *err);
/* Takes the parts and puts them into the machine; the lease is on record by now. */
int lent_take(struct lent *l, const struct settings *s, struct machine *m, struct error *err);
/* The monitor has them now. */
int lent_hold(struct lent *l, pid_t monitor, struct error *err);
void lent_done(struct lent *l);

#endif
