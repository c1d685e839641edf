/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A network configuration as the runtime gives it on standard input (docs/cni.md has the keys), and
 * the environment that goes with it.
 *
 * Trust: the configuration is the machine's owner's; container, interface and arguments are the
 * runtime's, made of what whoever writes pods asks for.  All of it is checked.
 */
#ifndef CAISSON_CNI_NETCONF_H
#define CAISSON_CNI_NETCONF_H

#include <json-c/json.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include "cni/cni.h"
#include "cni/result.h"
#include "runtime/vf.h"

struct attachment {
	const char *container, *ifname;
};

struct netconf {
	enum cni_version version;
	struct json_object *tree; /* all of it, as it came */
	char *name, *type;
	char *ipam;   /* type of the IPAM plugin; NULL: no addresses */
	char *socket; /* of caissond; NULL: the usual one */
	char *pf;     /* physical function; NULL: any */
	uint32_t wait_ms;
	uint32_t mtu; /* 0: that of the physical function */
	struct vf vf; /* what is asked for; without VF_MAC the function keeps the one it has */
	struct json_object *dns; /* in the tree; NULL */
	bool has_previous;
	struct result previous;	  /* prevResult */
	struct attachment *valid; /* GC: those that are to stay */
	uint32_t valid_n;
	struct msg_chunk *arena;
};

/* What the runtime says in the environment; "" where it says nothing. */
struct request {
	enum cni_command command;
	const char *container, *netns, *ifname, *path;
	struct netconf conf;
};

/*
 * Reads environment and standard input.  On error ret->conf.version is what the answer is to be
 * written in.  request_done() in any case.
 */
int request_read(struct request *ret, struct error *err);
/* The same with the text of standard input. */
int request_parse(struct request *ret, const char *text, size_t size, struct error *err);
void request_done(struct request *r);

/* "NETWORK/CONTAINER/INTERFACE" with "cni/" before it: who has the lease; at most size bytes. */
int request_owner(const struct request *r, char *buf, size_t size, struct error *err);
/* The reverse, for leases of the request's network: fills copies into the arena; false: not one. */
bool request_owner_parse(struct request *r, const char *owner, struct attachment *ret);

/* "02:00:00:00:00:01"; false when it is not the MAC of one interface. */
bool netconf_parse_mac(const char *text, uint8_t ret[6]);

#endif
