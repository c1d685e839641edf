/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a network card enforces on one of its virtual functions, read and set through the physical
 * function: the guest that has the function cannot change any of it.
 *
 * Source: linux/if_link.h (IFLA_VFINFO_LIST, IFLA_VF_*), net/core/rtnetlink.c.
 */
#ifndef CAISSON_RUNTIME_VF_H
#define CAISSON_RUNTIME_VF_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/error.h"
#include "runtime/netlink.h"

enum { /* which of the following are meant */
       VF_MAC = 1,
       VF_VLAN = 2, /* with qos and protocol */
       VF_RATE = 4,
       VF_SPOOFCHK = 8,
       VF_TRUST = 16,
       VF_LINK_STATE = 32,
};

struct vf {
	uint32_t has;
	uint8_t mac[6];
	uint16_t vlan;		     /* 0: none */
	uint8_t qos;		     /* 0..7 */
	uint16_t vlan_proto;	     /* ETH_P_8021Q, ETH_P_8021AD */
	uint32_t min_rate, max_rate; /* Mbit/s of what it sends; 0: no limit */
	bool spoofchk, trust;
	uint32_t link_state; /* IFLA_VF_LINK_STATE_* */
};

/*
 * The present settings of virtual function `number` of the physical function with interface `pf`
 * (in the namespace of nl).  has: what the card's driver tells.  0 or -errno with err set; -ENODEV:
 * no such interface; -ENXIO: it has no such virtual function.
 */
int vf_read(struct netlink *nl, const char *pf, uint32_t number, struct vf *ret, struct error *err);

/*
 * Sets what `has` says and nothing else; stops at the first that fails, which is named.  What is so
 * already is not set again (not every driver takes it), but for the MAC: see vf.c.  0 or -errno
 * with err set.
 */
int vf_apply(struct netlink *nl, const char *pf, uint32_t number, const struct vf *vf,
	     struct error *err);

/* The first thing in which `now` is not as `want` says, as text ("VLAN 7"); NULL: there is none. */
const char *vf_differs(const struct vf *want, const struct vf *now, char *buf, size_t size);

#endif
