// SPDX-License-Identifier: Apache-2.0
#include "cni/result.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "runtime/json.h"

static size_t family_size(uint8_t family)
{
	return family == AF_INET ? 4 : 16;
}

const char *result_cidr(uint8_t family, const uint8_t *addr, uint8_t prefix, char *buf, size_t size)
{
	char text[INET6_ADDRSTRLEN];

	snprintf(buf, size, "%s/%u", inet_ntop(family, addr, text, sizeof(text)), prefix);
	return buf;
}

/* An address; its family comes back, 0 if it is none. */
static uint8_t parse_ip(const char *text, uint8_t ret[16])
{
	memset(ret, 0, 16);
	if (inet_pton(AF_INET, text, ret) == 1)
		return AF_INET;
	return inet_pton(AF_INET6, text, ret) == 1 ? AF_INET6 : 0;
}

/* "ADDRESS/PREFIX"; without a prefix it is that of one address. */
static uint8_t parse_cidr(const char *text, uint8_t ret[16], uint8_t *ret_prefix)
{
	char addr[INET6_ADDRSTRLEN];
	size_t n = strcspn(text, "/");
	unsigned long prefix;
	uint8_t family;
	char *end;

	if (n >= sizeof(addr))
		return 0;
	memcpy(addr, text, n);
	addr[n] = 0;
	family = parse_ip(addr, ret);
	if (!family)
		return 0;
	*ret_prefix = (uint8_t)(8 * family_size(family));
	if (!text[n])
		return family;
	if (text[n + 1] < '0' || text[n + 1] > '9')
		return 0;
	prefix = strtoul(text + n + 1, &end, 10);
	if (*end || prefix > *ret_prefix)
		return 0;
	*ret_prefix = (uint8_t)prefix;
	return family;
}

static uint8_t read_cidr(struct doc *d, struct json_object *o, const char *name, uint8_t ret[16],
			 uint8_t *ret_prefix)
{
	char *text = doc_string_required(d, o, name);
	uint8_t family;

	if (d->rc)
		return 0;
	family = parse_cidr(text, ret, ret_prefix);
	if (!family)
		doc_fail(d, EINVAL, name, "'%.64s' is not an address with a prefix length", text);
	return family;
}

static bool read_gateway(struct doc *d, struct json_object *o, const char *name, uint8_t family,
			 uint8_t ret[16])
{
	char *text = doc_string(d, o, name);

	if (d->rc || !text)
		return false;
	if (parse_ip(text, ret) == family)
		return true;
	doc_fail(d, EINVAL, name, "'%.64s' is not an IPv%c address", text,
		 family == AF_INET ? '4' : '6');
	return false;
}

static void read_interface(struct doc *d, struct json_object *o, struct result_interface *ret)
{
	ret->name = doc_string_required(d, o, "name");
	ret->sandbox = doc_string(d, o, "sandbox");
	ret->mac = doc_string(d, o, "mac");
}

static void read_ip(struct doc *d, struct json_object *o, struct result_ip *ret)
{
	ret->family = read_cidr(d, o, "address", ret->addr, &ret->prefix);
	ret->has_gateway = read_gateway(d, o, "gateway", ret->family, ret->gateway);
	ret->interface = (int32_t)doc_int(d, o, "interface", -1, INT32_MAX, -1);
}

static void read_route(struct doc *d, struct json_object *o, struct result_route *ret)
{
	ret->family = read_cidr(d, o, "dst", ret->dst, &ret->prefix);
	ret->has_gateway = read_gateway(d, o, "gw", ret->family, ret->gateway);
	ret->mtu = (uint32_t)doc_uint(d, o, "mtu", UINT32_MAX, 0);
	ret->advmss = (uint32_t)doc_uint(d, o, "advmss", UINT32_MAX, 0);
	ret->priority = (uint32_t)doc_uint(d, o, "priority", UINT32_MAX, 0);
	ret->scope = (int32_t)doc_int(d, o, "scope", 0, 255, -1);
	/* 254 is the main table; the runtime hands a guest no other. */
	if (doc_uint(d, o, "table", UINT32_MAX, 254) != 254)
		doc_fail(d, EOPNOTSUPP, "table", "is not 254: a guest has the main table only");
}

#define READ_LIST(d, o, field, list, n, read_one)                                                  \
	do {                                                                                       \
		struct json_object *array_ = doc_array(d, o, field, n);                            \
		list = *(n) ? doc_alloc(d, *(n), sizeof(*(list))) : NULL;                          \
		for (uint32_t i_ = 0; i_ < *(n) && !(d)->rc; i_++) {                               \
			size_t mark_ = doc_enter_index(d, field, i_);                              \
			struct json_object *e_ = doc_element(d, array_, i_);                       \
			if (!(d)->rc)                                                              \
				read_one(d, e_, &(list)[i_]);                                      \
			doc_leave(d, mark_);                                                       \
		}                                                                                  \
	} while (0)

void result_read(struct doc *d, struct json_object *o, struct result *ret)
{
	*ret = (struct result){0};
	READ_LIST(d, o, "interfaces", ret->interfaces, &ret->interfaces_n, read_interface);
	READ_LIST(d, o, "ips", ret->ips, &ret->ips_n, read_ip);
	READ_LIST(d, o, "routes", ret->routes, &ret->routes_n, read_route);
	ret->dns = doc_object(d, o, "dns");
	for (uint32_t i = 0; i < ret->ips_n && !d->rc; i++)
		if (ret->interfaces_n && ret->ips[i].interface >= (int32_t)ret->interfaces_n)
			doc_fail(d, EINVAL, "ips", "[%u].interface %d does not exist", i,
				 ret->ips[i].interface);
}

static void add_string(struct json_object *o, const char *name, const char *value)
{
	json_object_object_add(o, name, json_object_new_string(value));
}

static void add_number(struct json_object *o, const char *name, int64_t value)
{
	json_object_object_add(o, name, json_object_new_int64(value));
}

static void add_address(struct json_object *o, const char *name, uint8_t family,
			const uint8_t *addr)
{
	char text[INET6_ADDRSTRLEN];

	add_string(o, name, inet_ntop(family, addr, text, sizeof(text)));
}

static struct json_object *write_interface(enum cni_version version, const struct result_made *made)
{
	struct json_object *o = json_object_new_object();
	const uint8_t *m = made->mac;
	char mac[18];

	snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4],
		 m[5]);
	add_string(o, "name", made->name);
	add_string(o, "mac", mac);
	if (version >= CNI_1_1_0)
		add_number(o, "mtu", made->mtu);
	add_string(o, "sandbox", made->sandbox);
	if (version >= CNI_1_1_0 && *made->pci)
		add_string(o, "pciID", made->pci);
	return o;
}

static struct json_object *write_ip(enum cni_version version, const struct result_ip *ip)
{
	struct json_object *o = json_object_new_object();
	char text[INET6_ADDRSTRLEN + 4];

	if (version < CNI_1_0_0)
		add_string(o, "version", ip->family == AF_INET ? "4" : "6");
	add_string(o, "address", result_cidr(ip->family, ip->addr, ip->prefix, text, sizeof(text)));
	if (ip->has_gateway)
		add_address(o, "gateway", ip->family, ip->gateway);
	add_number(o, "interface", 0);
	return o;
}

static struct json_object *write_route(enum cni_version version, const struct result_route *r)
{
	struct json_object *o = json_object_new_object();
	char text[INET6_ADDRSTRLEN + 4];

	add_string(o, "dst", result_cidr(r->family, r->dst, r->prefix, text, sizeof(text)));
	if (r->has_gateway)
		add_address(o, "gw", r->family, r->gateway);
	if (version < CNI_1_1_0)
		return o;
	if (r->mtu)
		add_number(o, "mtu", r->mtu);
	if (r->advmss)
		add_number(o, "advmss", r->advmss);
	if (r->priority)
		add_number(o, "priority", r->priority);
	if (r->scope >= 0)
		add_number(o, "scope", r->scope);
	return o;
}

struct json_object *result_write(enum cni_version version, const struct result *r,
				 const struct result_made *made, struct json_object *dns)
{
	struct json_object *o = json_object_new_object();
	struct json_object *interfaces = json_object_new_array();
	struct json_object *ips = json_object_new_array(), *routes = json_object_new_array();

	add_string(o, "cniVersion", cni_versions[version]);
	json_object_array_add(interfaces, write_interface(version, made));
	json_object_object_add(o, "interfaces", interfaces);
	for (uint32_t i = 0; i < r->ips_n; i++)
		json_object_array_add(ips, write_ip(version, &r->ips[i]));
	json_object_object_add(o, "ips", ips);
	for (uint32_t i = 0; i < r->routes_n; i++)
		json_object_array_add(routes, write_route(version, &r->routes[i]));
	json_object_object_add(o, "routes", routes);
	json_object_object_add(o, "dns", dns ? json_object_get(dns) : json_object_new_object());
	return o;
}
