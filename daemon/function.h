/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is done to a virtual function: proving that nobody has it any more, giving it back its
 * settings, opening it.  All of it may take hundreds of milliseconds; called by jobs' threads.
 */
#ifndef CAISSON_DAEMON_FUNCTION_H
#define CAISSON_DAEMON_FUNCTION_H

#include "daemon/job.h"

/*
 * Proves that no descriptor and no mapping of the function is open anywhere, within timeout_ms, and
 * restores what was set through its physical function.  Our own must be closed before.  The
 * function is not bound to a driver afterwards.  -EBUSY: somebody has it.
 */
int function_return(const struct lease_function *f, uint32_t timeout_ms, struct error *err);

/* Binds it to vfio-pci and opens it, which resets it. */
int function_open(const struct lease_function *f, struct parts *p, struct error *err);

/* Maps the parts' memory for DMA, at IOVA = guest-physical; takes it all away. */
int function_map(struct parts *p, struct error *err);
int function_unmap(struct parts *p, struct error *err);

#endif
