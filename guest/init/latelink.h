/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Links that come when containers run already: those of a network card's functions, whose drivers
 * probe while the rest of the guest starts, and come again after a reset of the card.  Whenever a
 * link with the MAC of such a nic appears it is configured as the nic says, beside the agent's
 * loop: drivers take their time to bring a link up (errand.h).
 *
 * If the sandbox was told so, containers are not started before all of them are up: there, running
 * and configured.
 */
#ifndef CAISSON_INIT_LATELINK_H
#define CAISSON_INIT_LATELINK_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/error.h"
#include "lib/spec.h"

/* Begins to configure the late nics that are there, and watches for the others; for the guest's
 * whole life. */
int latelink_watch(const struct spec_sandbox *s, struct error *err);

/*
 * Whether the start of a container has to wait for the network: then this calls container_start()
 * and answers the session, later.
 */
bool latelink_hold_start(uint32_t session, const char *container);
/* Its client is gone: the start is not to happen. */
void latelink_forget_start(uint32_t session);

#endif
