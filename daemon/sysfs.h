/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel says of physical and virtual functions (Documentation/PCI/pci-iov-howto.rst,
 * Documentation/ABI/testing/sysfs-bus-pci). */
#ifndef CAISSON_DAEMON_SYSFS_H
#define CAISSON_DAEMON_SYSFS_H

#include <stdint.h>

#include "lib/error.h"
#include "lib/lease.h"

/* A physical function by interface or address: how many virtual functions it can have. */
int sysfs_pf(const char *pf, uint32_t *ret_total, struct error *err);
/* Its virtual function number n, whether it is there now or would come there. */
int sysfs_vf(const char *pf, uint32_t n, struct lease_function *ret, struct error *err);
/* A function by its address; it need not be a virtual one, and need not be there now. */
int sysfs_function(const char *address, struct lease_function *ret, struct error *err);

#endif
