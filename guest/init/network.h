/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Links, addresses, routes and neighbours by rtnetlink, as spec_nic says.
 */
#ifndef CAISSON_INIT_NETWORK_H
#define CAISSON_INIT_NETWORK_H

#include <linux/netlink.h>
#include <stdbool.h>

#include "lib/error.h"
#include "lib/spec.h"

/* Brings "lo" of the caller's network namespace up. */
int network_loopback_up(struct error *err);
/* Configures the NICs in the caller's network namespace; waits for those not there yet.  Those that
 * are `late` are left to latelink.h. */
int network_setup(const struct spec_nic *nics, uint32_t n, struct error *err);

#define MAC_SIZE 6

/* What latelink.c is made of, too.  A socket (close-on-exec) or -errno. */
int network_open(struct error *err);
/* The index of the link with that MAC, 0 if there is none, or -errno. */
int network_link_find(int nl, const uint8_t mac[MAC_SIZE]);
/* Whether that RTM_NEWLINK is about a link with the MAC. */
bool network_link_has_mac(const struct nlmsghdr *h, const uint8_t mac[MAC_SIZE]);
/* Name (which another link may have to give up), MTU, addresses, up, routes and neighbours of the
 * link, as nic says. */
int network_configure(int nl, int index, const struct spec_nic *nic, struct error *err);

#endif
