/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Delegation to the IPAM plugin that the configuration names: a program of CNI_PATH, run with our
 * environment and our configuration on its standard input.
 *
 * A plugin older than the configuration (host-local of CNI plugins 1.1 and a configuration
 * of 1.1.0) is asked again in version 1.0.0, whose addresses and routes mean the same.
 *
 * Trust: the plugin is the machine owner's; what it says is checked all the same.
 *
 * Source: SPEC.md, "Section 4: Plugin Delegation".
 */
#ifndef CAISSON_CNI_IPAM_H
#define CAISSON_CNI_IPAM_H

#include "cni/netconf.h"

/* Without an IPAM plugin each does nothing, and ADD gives an empty result.  0 or -code. */

/* *ret_tree is what the result's dns lies in; the caller frees it. */
int ipam_add(struct request *r, struct result *ret, struct json_object **ret_tree,
	     struct error *err);
/* Of the request's attachment, or of another one of the same network. */
int ipam_del(struct request *r, const struct attachment *of, struct error *err);
int ipam_check(struct request *r, struct error *err);
/* The commands of 1.1.0, for plugins that know them. */
int ipam_gc(struct request *r, struct error *err);
int ipam_status(struct request *r, struct error *err);

#endif
