/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The function of an attachment: leased from caissond for the owner that the request is, and set up
 * through its physical function.  Who the owner is, and so which function, follows from network,
 * container and interface alone: nothing has to be remembered between commands.
 */
#ifndef CAISSON_CNI_FUNCTION_H
#define CAISSON_CNI_FUNCTION_H

#include "cni/netconf.h"
#include "lib/lease.h"

struct function {
	char lease[LEASE_ID_LEN + 1];
	struct lease_function at;
	uint8_t mac[6]; /* that it has, or is to get */
	uint32_t mtu;	/* that the guest is to use */
};

/* Leases one.  0 or -code; -CNI_EXISTS: the attachment has one. */
int function_lease(const struct request *r, struct function *ret, struct error *err);
/* MAC, VLAN and the rest as the configuration says; call it in the host's network namespace. */
int function_set_up(const struct request *r, struct function *f, struct error *err);
/* Finds the attachment's.  -CNI_DIFFERS: it has none. */
int function_find(const struct request *r, struct function *ret, struct error *err);
/* As function_set_up() left it?  0, or -code with a sentence that says what is not. */
int function_check(const struct request *r, const struct function *f, struct error *err);
/* Gives it back; 0 also when there is none. */
int function_return(const struct request *r, struct error *err);

/* Those of the request's network, in the request's arena.  0 or -code. */
int function_attachments(struct request *r, struct attachment **ret, uint32_t *ret_n,
			 struct error *err);
/* Gives that attachment's back. */
int function_return_of(struct request *r, const struct attachment *of, struct error *err);

/* Whether caissond is there and has functions to lend. */
int function_status(const struct request *r, struct error *err);

#endif
