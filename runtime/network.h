/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sandbox's network: takes over the interfaces of the network namespace that
 * IPAM (a CNI plugin, netavark, a person) prepared, without changing what was set
 * there.  Beside every interface goes a tap for the machine monitor, and traffic
 * control swaps all frames between the two; what the namespace's kernel knew about
 * the interface (addresses, routes, permanent neighbours) goes to the guest's
 * kernel as a struct spec_nic.
 *
 * What can be taken: Ethernet interfaces.  Loopback, and others that carry no address
 * (fallback tunnels, ports of a bridge), are left alone; an interface with an address
 * that a guest could not use as it is (a tunnel, ipvlan in l3 mode) is an error, as are
 * routes with several next hops, with a gateway of another family or with encapsulation.
 * Routes of other tables than main, policy rules, and what routers announced over IPv6
 * (the guest hears that itself) stay behind.
 *
 * A placeholder stands for a network card's function that caissond lends (lib/lease.h): a link
 * without a driver of its own (dummy, ifb) with the function's MAC, and the lease's id in its
 * alias. It gets no tap: the function itself goes to the guest, and what was set on the placeholder
 * is what the guest's kernel configures on the function.
 *
 * A crash at any point leaves only what network_release() removes: the taps live as
 * long as their descriptors, and what stays with the interface (an ingress qdisc with
 * our filter) appears in one system call and is recognised by priority and cookie.
 *
 * Trust: the namespace may belong to someone hostile; all that is read from it comes
 * through its kernel and is bounded here.  The path may be anything.  A lease's id says who may
 * have the function: it cannot be guessed, and whoever can read it in one namespace and write it in
 * another is trusted with both.
 *
 * Not thread-safe: the calling thread is inside the namespace for a moment, and the
 * process is aborted if it cannot return.
 */
#ifndef CAISSON_RUNTIME_NETWORK_H
#define CAISSON_RUNTIME_NETWORK_H

#include <stdint.h>

#include "lib/error.h"
#include "lib/spec.h"

#define NETWORK_NICS_MAX 32	     /* interfaces of one namespace */
#define NETWORK_TAP_PREFIX "caisson" /* taps are caisson0, caisson1 ... in order of the nics */
/* A placeholder's alias: this, and the lease's id (LEASE_ID_LEN hexadecimal digits). */
#define NETWORK_LEASE_ALIAS "caisson lease "

struct network {
	struct spec_nic *nics; /* in the arena given to network_take() */
	uint32_t n;
	int tap_fds[NETWORK_NICS_MAX];	/* of nics[i]: non-blocking, close-on-exec, IFF_TAP |
				 IFF_NO_PI | IFF_VNET_HDR, one queue; size of the vnet header and
				 offloads are the kernel's defaults (10 bytes, none).  -1: a lease */
	char *leases[NETWORK_NICS_MAX]; /* of nics[i]: the id of the lease of the function that it
					   is, in the arena; NULL: it has a tap */
};

/*
 * Takes every interface of the namespace over.  A namespace with none is success (n = 0).
 *
 * 0, or -errno with err set and nothing changed.  Among the errors: -ENOENT; -EINVAL: not a
 * network namespace, or a symbolic link outside /proc; -EPERM: the host's own; -EBUSY: a sandbox
 * has it already; -EEXIST: an interface has an ingress or clsact qdisc; -EOPNOTSUPP: see above.
 */
int network_take(const char *netns_path, struct msg_chunk **arena, struct network *ret,
		 struct error *err);

/*
 * Removes our taps and filters from the namespace, whatever state they are in, and nothing else.
 * Idempotent; 0 when the namespace is gone.  0 or -errno with err set.
 */
int network_release(const char *netns_path, struct error *err);

/*
 * Opens the network namespace at a path: a file descriptor, or -errno as network_take() has it (but
 * -EBUSY and what follows).
 */
int network_namespace_open(const char *path, struct error *err);
/* Enters it; *ret_home (-1 before) is for network_namespace_leave(), also as a scope's cleanup. */
int network_namespace_enter(int ns, int *ret_home, struct error *err);
/* Goes home, and does nothing for -1. */
void network_namespace_leave(int *home);

/* Closes the taps, which makes them vanish unless someone else (the monitor) holds them too. */
void network_done(struct network *n);

#endif
