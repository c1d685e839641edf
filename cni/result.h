/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A result in the sense of the CNI specification ("Section 5: Result Types"): what an IPAM plugin
 * hands out, what caisson-cni says about the interface it made, what the runtime gives back with
 * CHECK.
 */
#ifndef CAISSON_CNI_RESULT_H
#define CAISSON_CNI_RESULT_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "cni/cni.h"
#include "runtime/config_doc.h"

struct result_interface {
	char *name, *sandbox; /* sandbox NULL: on the host */
	char *mac;	      /* NULL: none told */
};

struct result_ip {
	uint8_t family, prefix; /* AF_* */
	uint8_t addr[16];
	bool has_gateway;
	uint8_t gateway[16];
	int32_t interface; /* index; -1: none told */
};

struct result_route {
	uint8_t family, prefix;
	uint8_t dst[16];
	bool has_gateway;
	uint8_t gateway[16];
	uint32_t mtu, advmss, priority; /* 0: none told */
	int32_t scope;			/* -1: none told */
};

struct result {
	struct result_interface *interfaces;
	uint32_t interfaces_n;
	struct result_ip *ips;
	uint32_t ips_n;
	struct result_route *routes;
	uint32_t routes_n;
	struct json_object *dns; /* in the tree that was read; NULL */
};

/* What the interface that was made is; for result_write(). */
struct result_made {
	const char *name, *sandbox, *pci;
	uint8_t mac[6];
	uint32_t mtu;
};

/* Reads a result of any version since 0.3; the arena is the document's.  The error is d's. */
void result_read(struct doc *d, struct json_object *o, struct result *ret);

/* The result with that one interface, which all addresses are of.  NULL: out of memory. */
struct json_object *result_write(enum cni_version version, const struct result *r,
				 const struct result_made *made, struct json_object *dns);

/* "ADDRESS/PREFIX" */
const char *result_cidr(uint8_t family, const uint8_t *addr, uint8_t prefix, char *buf,
			size_t size);

#endif
