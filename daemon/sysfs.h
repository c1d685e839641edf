/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel says of physical and virtual functions (Documentation/PCI/pci-iov-howto.rst,
 * Documentation/ABI/testing/sysfs-bus-pci). */
#ifndef CAISSON_DAEMON_SYSFS_H
#define CAISSON_DAEMON_SYSFS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/error.h"
#include "lib/lease.h"

/* A physical function by interface or address: how many virtual functions it can have. */
int sysfs_pf(const char *pf, uint32_t *ret_total, struct error *err);
/* Its virtual function number n, whether it is there now or would come there. */
int sysfs_vf(const char *pf, uint32_t n, struct lease_function *ret, struct error *err);
/* A function by its address; it need not be a virtual one, and need not be there now. */
int sysfs_function(const char *address, struct lease_function *ret, struct error *err);

/* The last part of where a link of a function points to.  0 or -errno. */
int sysfs_link(const char *address, const char *link, char ret[static LEASE_NAME_MAX + 1]);
bool sysfs_exists(const char *address);
/* Finds out the interface of its physical function, as it is called now; "": there is none. */
void sysfs_pf_of(struct lease_function *f);

/*
 * Makes `n` virtual functions, for no driver to be bound to by itself, of the physical function
 * that has `address` as one and has none now.  -EBUSY: it has some, but not that one.  -ENODEV:
 * there is no such physical function, or no driver for it.  Threads may call it at once.
 */
int sysfs_make_vfs(const char *address, uint32_t n, struct error *err);

#endif
