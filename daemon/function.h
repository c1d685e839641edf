/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is done to a virtual function: proving that nobody has it any more, giving it back its
 * settings, opening it.  All of it may take hundreds of milliseconds; called by jobs' threads.
 *
 * The proof.  A copy of a VFIO device's descriptor stays live when ours is closed, wherever it
 * went.  But the kernel does not let go of a device that is bound to vfio-pci before the last
 * descriptor and the last mapping of it are gone (vfio_unregister_group_dev()): when it has been
 * unbound, there are none.  Unbinding waits, so another process does it, against a deadline; and
 * before that it is seen whether it is open (vfio_is_open()), so that in the usual case of somebody
 * who is only slow no process has to hang in the kernel.  All of it holds for either kind of
 * address space (vmm/vfio/lend.h).
 */
#ifndef CAISSON_DAEMON_FUNCTION_H
#define CAISSON_DAEMON_FUNCTION_H

#include "daemon/job.h"

/*
 * Proves that no descriptor and no mapping of the function is open anywhere, within timeout_ms, and
 * restores what was set through its physical function (its MAC is kept, or chosen if it has none).
 * Our own must be closed before.  The function is bound to no driver afterwards.
 * -EBUSY: somebody has it.  -ENODEV: it is not there (any more).
 */
int function_return(struct lease_function *f, uint32_t vfs, uint32_t timeout_ms, struct error *err);

/* Binds it to vfio-pci, opens it, which resets it.  -EOPNOTSUPP: it cannot be reset. */
int function_bind(const struct lease_function *f, struct error *err);
int function_open(const struct lease_function *f, enum vfio_kind iommu, struct vfio_lent *ret,
		  struct error *err);

/*
 * The eventfd that the kernel writes to when it wants the function back (its physical one's driver
 * goes, say), as long as it is open here and with nobody else; -1: there is none.
 */
int function_watch(const struct parts *p);

#endif
