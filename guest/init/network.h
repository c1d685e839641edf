/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Links, addresses, routes and neighbours by rtnetlink, as spec_nic says.
 */
#ifndef CAISSON_INIT_NETWORK_H
#define CAISSON_INIT_NETWORK_H

#include "lib/error.h"
#include "lib/spec.h"

/* Brings "lo" of the caller's network namespace up. */
int network_loopback_up(struct error *err);
/* Configures the NICs in the caller's network namespace; waits for those not there yet. */
int network_setup(const struct spec_nic *nics, uint32_t n, struct error *err);

#endif
