/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The interface that stands for a leased function in the pod's network namespace: a dummy link (ifb
 * where the kernel has no dummy) with the function's MAC and the lease's id in its alias, by which
 * the runtime knows it (runtime/network.h), and the addresses and routes that the function is to
 * have in the guest.  Engines, monitoring and people see the pod's network in it; frames sent to it
 * are dropped.
 *
 * All functions work in the caller's present network namespace.
 */
#ifndef CAISSON_CNI_PLACEHOLDER_H
#define CAISSON_CNI_PLACEHOLDER_H

#include "cni/result.h"

struct placeholder {
	const char *name;
	uint8_t mac[6];
	uint32_t mtu;
	const char *lease; /* its id */
};

/* Whether there is an interface of that name: 1, 0 or -code. */
int placeholder_exists(const char *name, struct error *err);

/*
 * Makes it, with the result's addresses and routes, and up.  0, or -code with err set and nothing
 * left; -CNI_EXISTS: there is an interface of its name.
 */
int placeholder_add(const struct placeholder *p, const struct result *r, struct error *err);

/* Removes the interface of that name if it is a placeholder.  0, also when there is none, or -code.
 */
int placeholder_remove(const char *name, struct error *err);

/* Is it still as placeholder_add() made it?  0, or -code with a sentence that says what is not. */
int placeholder_check(const struct placeholder *p, const struct result *r, struct error *err);

#endif
