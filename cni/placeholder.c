// SPDX-License-Identifier: Apache-2.0
#include "cni/placeholder.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/lease.h"
#include "runtime/netlink.h"
#include "runtime/network.h"

/* Indices for placeholders are ours to choose, out of the way of the kernel's own counting. */
#define INDEX_MIN 10000
#define INDEX_RANGE 1000000
#define INDEX_TRIES 8

#define _cleanup_netlink_ _cleanup_(netlink_close)

typedef char buffer[2 * NETLINK_REQUEST_SIZE] __attribute__((aligned(8)));

/* A link as the kernel tells it. */
struct link {
	int index;
	unsigned int flags;
	uint32_t mtu;
	uint8_t mac[6];
	char alias[256];
};

static int io_error(struct error *err, int rc, const char *what)
{
	return error_set(err, CNI_IO, "%s: %s", what, strerror(-rc));
}

static int open_netlink(struct netlink *nl, struct error *err)
{
	return netlink_open(nl, err) < 0 ? cni_recode(err, CNI_IO) : 0;
}

static int link_visit(const struct nlmsghdr *msg, void *data)
{
	const struct ifinfomsg *head = mnl_nlmsg_get_payload(msg);
	const struct nlattr *tb[IFLA_IFALIAS + 1];
	struct link *l = data;

	if (msg->nlmsg_type != RTM_NEWLINK)
		return 0;
	netlink_attrs(msg, sizeof(*head), tb, IFLA_IFALIAS);
	l->index = head->ifi_index;
	l->flags = head->ifi_flags;
	l->mtu = netlink_u32(tb[IFLA_MTU]);
	if (tb[IFLA_ADDRESS] && mnl_attr_get_payload_len(tb[IFLA_ADDRESS]) == sizeof(l->mac))
		memcpy(l->mac, mnl_attr_get_payload(tb[IFLA_ADDRESS]), sizeof(l->mac));
	if (tb[IFLA_IFALIAS])
		snprintf(l->alias, sizeof(l->alias), "%.*s",
			 (int)mnl_attr_get_payload_len(tb[IFLA_IFALIAS]),
			 mnl_attr_get_str(tb[IFLA_IFALIAS]));
	return 0;
}

/* 1, 0: there is none, or -errno. */
static int find_link(struct netlink *nl, const char *name, struct link *ret)
{
	buffer buf = {0};
	struct ifinfomsg head = {0};
	struct nlmsghdr *msg = netlink_request(nl, buf, RTM_GETLINK, NLM_F_ACK, &head,
					       sizeof(head));
	int rc;

	*ret = (struct link){0};
	mnl_attr_put_strz(msg, IFLA_IFNAME, name);
	rc = netlink_ask(nl, msg, link_visit, ret);
	return rc == -ENODEV ? 0 : rc < 0 ? rc : 1;
}

int placeholder_exists(const char *name, struct error *err)
{
	_cleanup_netlink_ struct netlink nl = {0};
	struct link l;
	int rc;

	if (open_netlink(&nl, err) < 0)
		return -err->code;
	rc = find_link(&nl, name, &l);
	return rc < 0 ? io_error(err, rc, "look for the interface") : rc;
}

/* Link and alias in one system call, so that no placeholder is ever without its lease's id.  The
 * index ties the two: if the first fails, the second finds nothing. */
static int make(struct netlink *nl, const struct placeholder *p, int index, const char *kind)
{
	char alias[sizeof(NETWORK_LEASE_ALIAS) + LEASE_ID_LEN];
	struct ifinfomsg head = {.ifi_index = index};
	struct nlmsghdr *link, *name;
	int results[2], rc;
	struct nlattr *info;
	buffer buf = {0};

	link = netlink_request(nl, buf, RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &head,
			       sizeof(head));
	mnl_attr_put_strz(link, IFLA_IFNAME, p->name);
	mnl_attr_put(link, IFLA_ADDRESS, sizeof(p->mac), p->mac);
	mnl_attr_put_u32(link, IFLA_MTU, p->mtu);
	info = mnl_attr_nest_start(link, IFLA_LINKINFO);
	mnl_attr_put_strz(link, IFLA_INFO_KIND, kind);
	mnl_attr_nest_end(link, info);
	name = netlink_request(nl, buf + NLMSG_ALIGN(link->nlmsg_len), RTM_NEWLINK, NLM_F_ACK,
			       &head, sizeof(head));
	snprintf(alias, sizeof(alias), NETWORK_LEASE_ALIAS "%s", p->lease);
	mnl_attr_put_strz(name, IFLA_IFALIAS, alias);
	rc = netlink_run_all(nl, buf, NLMSG_ALIGN(link->nlmsg_len) + name->nlmsg_len, 2, results);
	if (rc < 0)
		return rc;
	if (results[0] == 0 && results[1] < 0)
		netlink_link_remove(nl, index);
	return results[0] < 0 ? results[0] : results[1];
}

static int make_any(struct netlink *nl, const struct placeholder *p, int *ret_index,
		    struct error *err)
{
	const char *kind = "dummy";
	uint32_t number;
	struct link l;
	int rc = -EEXIST;

	for (int i = 0; i < INDEX_TRIES && rc == -EEXIST; i++) {
		if (find_link(nl, p->name, &l) == 1)
			return error_set(err, CNI_EXISTS, "it exists already");
		if (getrandom(&number, sizeof(number), 0) != sizeof(number))
			return io_error(err, -errno, "choose its index");
		*ret_index = INDEX_MIN + (int)(number % INDEX_RANGE);
		rc = make(nl, p, *ret_index, kind);
		if (rc == -EOPNOTSUPP && *kind == 'd') {
			kind = "ifb"; /* the same for this purpose, and some kernels' only one */
			rc = make(nl, p, *ret_index, kind);
		}
	}
	return rc < 0 ? io_error(err, rc, "make it") : 0;
}

static size_t family_size(uint8_t family)
{
	return family == AF_INET ? 4 : 16;
}

/* A namespace may have IPv6 turned off for new interfaces; addresses of it were asked for. */
static void enable_ipv6(const char *name, const struct result *r)
{
	_cleanup_close_ int fd = -1;
	char path[96];
	bool needed = false;

	for (uint32_t i = 0; i < r->ips_n; i++)
		needed |= r->ips[i].family == AF_INET6;
	if (!needed)
		return;
	snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/disable_ipv6", name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd >= 0 && write(fd, "0", 1) < 0)
		return; /* adding the address says so */
}

static int add_address(struct netlink *nl, int index, const struct result_ip *ip)
{
	struct ifaddrmsg head = {.ifa_family = ip->family,
				 .ifa_prefixlen = ip->prefix,
				 .ifa_index = (uint32_t)index};
	size_t size = family_size(ip->family);
	struct nlmsghdr *msg;
	uint32_t broadcast;
	buffer buf = {0};

	msg = netlink_request(nl, buf, RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &head,
			      sizeof(head));
	mnl_attr_put(msg, IFA_LOCAL, size, ip->addr);
	mnl_attr_put(msg, IFA_ADDRESS, size, ip->addr);
	if (ip->family == AF_INET6) {
		mnl_attr_put_u32(msg, IFA_FLAGS, IFA_F_NODAD); /* IPAM has seen to it */
	} else if (ip->prefix < 31) {
		memcpy(&broadcast, ip->addr, sizeof(broadcast));
		broadcast |= ip->prefix ? htonl(UINT32_MAX >> ip->prefix) : UINT32_MAX;
		mnl_attr_put(msg, IFA_BROADCAST, sizeof(broadcast), &broadcast);
	}
	return netlink_run(nl, msg);
}

/* The route's own gateway, or that of an address of its family; NULL: what is there is reached
 * without one. */
static const uint8_t *gateway_of(const struct result *r, const struct result_route *route)
{
	if (route->has_gateway)
		return route->gateway;
	for (uint32_t i = 0; i < r->ips_n; i++)
		if (r->ips[i].family == route->family && r->ips[i].has_gateway)
			return r->ips[i].gateway;
	return NULL;
}

static int add_route(struct netlink *nl, int index, const struct result_route *x,
		     const uint8_t *gateway)
{
	struct rtmsg head = {
		.rtm_family = x->family,
		.rtm_dst_len = x->prefix,
		.rtm_table = RT_TABLE_MAIN,
		.rtm_protocol = RTPROT_BOOT,
		.rtm_scope = x->scope >= 0 ? (uint8_t)x->scope
			     : gateway	   ? RT_SCOPE_UNIVERSE
					   : RT_SCOPE_LINK,
		.rtm_type = RTN_UNICAST,
	};
	size_t size = family_size(x->family);
	struct nlmsghdr *msg;
	struct nlattr *metrics;
	buffer buf = {0};
	int rc;

	msg = netlink_request(nl, buf, RTM_NEWROUTE, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &head,
			      sizeof(head));
	if (x->prefix)
		mnl_attr_put(msg, RTA_DST, size, x->dst);
	if (gateway)
		mnl_attr_put(msg, RTA_GATEWAY, size, gateway);
	mnl_attr_put_u32(msg, RTA_OIF, (uint32_t)index);
	if (x->priority)
		mnl_attr_put_u32(msg, RTA_PRIORITY, x->priority);
	if (x->mtu || x->advmss) {
		metrics = mnl_attr_nest_start(msg, RTA_METRICS);
		if (x->mtu)
			mnl_attr_put_u32(msg, RTAX_MTU, x->mtu);
		if (x->advmss)
			mnl_attr_put_u32(msg, RTAX_ADVMSS, x->advmss);
		mnl_attr_nest_end(msg, metrics);
	}
	rc = netlink_run(nl, msg);
	return rc == -EEXIST ? 0 : rc; /* it came with the address */
}

static int set_up(struct netlink *nl, int index)
{
	struct ifinfomsg head = {.ifi_index = index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
	buffer buf = {0};

	return netlink_run(nl,
			   netlink_request(nl, buf, RTM_NEWLINK, NLM_F_ACK, &head, sizeof(head)));
}

static int configure(struct netlink *nl, int index, const struct placeholder *p,
		     const struct result *r, struct error *err)
{
	char text[INET6_ADDRSTRLEN + 4];
	int rc;

	enable_ipv6(p->name, r);
	for (uint32_t i = 0; i < r->ips_n; i++) {
		const struct result_ip *ip = &r->ips[i];

		rc = add_address(nl, index, ip);
		if (rc < 0)
			return error_set(err, CNI_IO, "add address %s: %s",
					 result_cidr(ip->family, ip->addr, ip->prefix, text,
						     sizeof(text)),
					 strerror(-rc));
	}
	rc = set_up(nl, index);
	if (rc < 0)
		return io_error(err, rc, "bring it up");
	for (uint32_t i = 0; i < r->routes_n; i++) {
		const struct result_route *x = &r->routes[i];

		rc = add_route(nl, index, x, gateway_of(r, x));
		if (rc < 0)
			return error_set(err, CNI_IO, "add route to %s: %s",
					 result_cidr(x->family, x->dst, x->prefix, text,
						     sizeof(text)),
					 strerror(-rc));
	}
	return 0;
}

int placeholder_add(const struct placeholder *p, const struct result *r, struct error *err)
{
	_cleanup_netlink_ struct netlink nl = {0};
	int index;

	if (open_netlink(&nl, err) < 0)
		return -err->code;
	if (make_any(&nl, p, &index, err) < 0)
		return error_wrap(err, "interface '%s'", p->name);
	if (configure(&nl, index, p, r, err) < 0) {
		netlink_link_remove(&nl, index);
		return error_wrap(err, "interface '%s'", p->name);
	}
	return 0;
}

static bool is_placeholder(const struct link *l)
{
	return strncmp(l->alias, NETWORK_LEASE_ALIAS, strlen(NETWORK_LEASE_ALIAS)) == 0;
}

int placeholder_remove(const char *name, struct error *err)
{
	_cleanup_netlink_ struct netlink nl = {0};
	struct link l;
	int rc;

	if (open_netlink(&nl, err) < 0)
		return -err->code;
	rc = find_link(&nl, name, &l);
	if (rc == 1 && is_placeholder(&l))
		rc = netlink_link_remove(&nl, l.index);
	return rc < 0 ? error_set(err, CNI_IO, "remove interface '%s': %s", name, strerror(-rc))
		      : 0;
}

/* What a dump is looked through for. */
struct search {
	int index;
	const struct result_ip *ip;
	const struct result_route *route;
	const uint8_t *gateway;
	bool found;
};

static bool attr_is(const struct nlattr *attr, const void *value, size_t size)
{
	return attr && mnl_attr_get_payload_len(attr) == size &&
	       memcmp(mnl_attr_get_payload(attr), value, size) == 0;
}

static int address_visit(const struct nlmsghdr *msg, void *data)
{
	const struct ifaddrmsg *head = mnl_nlmsg_get_payload(msg);
	const struct nlattr *tb[IFA_LOCAL + 1];
	struct search *s = data;

	netlink_attrs(msg, sizeof(*head), tb, IFA_LOCAL);
	if ((int)head->ifa_index == s->index && head->ifa_family == s->ip->family &&
	    head->ifa_prefixlen == s->ip->prefix)
		s->found |= attr_is(tb[IFA_LOCAL] ? tb[IFA_LOCAL] : tb[IFA_ADDRESS], s->ip->addr,
				    family_size(s->ip->family));
	return 0;
}

static int route_visit(const struct nlmsghdr *msg, void *data)
{
	const struct rtmsg *head = mnl_nlmsg_get_payload(msg);
	const struct nlattr *tb[RTA_OIF + 1 > RTA_GATEWAY + 1 ? RTA_OIF + 1 : RTA_GATEWAY + 1];
	struct search *s = data;
	size_t size = family_size(s->route->family);

	netlink_attrs(msg, sizeof(*head), tb, RTA_GATEWAY);
	if (head->rtm_family != s->route->family || head->rtm_dst_len != s->route->prefix ||
	    head->rtm_table != RT_TABLE_MAIN || (int)netlink_u32(tb[RTA_OIF]) != s->index)
		return 0;
	if (s->route->prefix && !attr_is(tb[RTA_DST], s->route->dst, size))
		return 0;
	s->found |= s->gateway ? attr_is(tb[RTA_GATEWAY], s->gateway, size) : true;
	return 0;
}

/* -EINTR: something changed during the dump; what was found was there all the same. */
static int look(struct netlink *nl, struct search *s, struct error *err)
{
	struct ifaddrmsg address = {0};
	struct rtmsg route = {0};
	int rc;

	for (int i = 0; i < 8; i++) {
		rc = s->ip ? netlink_dump(nl, RTM_GETADDR, &address, sizeof(address), address_visit,
					  s)
			   : netlink_dump(nl, RTM_GETROUTE, &route, sizeof(route), route_visit, s);
		if (rc != -EINTR || s->found)
			break;
	}
	if (rc < 0 && !s->found)
		return io_error(err, rc, s->ip ? "list addresses" : "list routes");
	return 0;
}

static int check_addresses(struct netlink *nl, int index, const struct result *r, struct error *err)
{
	char text[INET6_ADDRSTRLEN + 4];

	for (uint32_t i = 0; i < r->ips_n; i++) {
		struct search s = {.index = index, .ip = &r->ips[i]};

		if (look(nl, &s, err) < 0)
			return -err->code;
		if (!s.found)
			return error_set(err, CNI_DIFFERS, "it does not have address %s",
					 result_cidr(s.ip->family, s.ip->addr, s.ip->prefix, text,
						     sizeof(text)));
	}
	return 0;
}

static int check_routes(struct netlink *nl, int index, const struct result *r, struct error *err)
{
	char text[INET6_ADDRSTRLEN + 4];

	for (uint32_t i = 0; i < r->routes_n; i++) {
		struct search s = {.index = index, .route = &r->routes[i]};

		s.gateway = gateway_of(r, s.route);
		if (look(nl, &s, err) < 0)
			return -err->code;
		if (!s.found)
			return error_set(err, CNI_DIFFERS, "it does not have the route to %s",
					 result_cidr(s.route->family, s.route->dst, s.route->prefix,
						     text, sizeof(text)));
	}
	return 0;
}

static int check_link(const struct link *l, const struct placeholder *p, struct error *err)
{
	const size_t prefix = strlen(NETWORK_LEASE_ALIAS);

	if (!is_placeholder(l))
		return error_set(err, CNI_DIFFERS, "it is not the placeholder of a function");
	if (strcmp(l->alias + prefix, p->lease) != 0)
		return error_set(err, CNI_DIFFERS, "it is that of another lease");
	if (memcmp(l->mac, p->mac, sizeof(l->mac)) != 0)
		return error_set(err, CNI_DIFFERS, "its MAC is %02x:%02x:%02x:%02x:%02x:%02x",
				 l->mac[0], l->mac[1], l->mac[2], l->mac[3], l->mac[4], l->mac[5]);
	if (p->mtu && l->mtu != p->mtu)
		return error_set(err, CNI_DIFFERS, "its MTU is %u", l->mtu);
	if (!(l->flags & IFF_UP))
		return error_set(err, CNI_DIFFERS, "it is down");
	return 0;
}

int placeholder_check(const struct placeholder *p, const struct result *r, struct error *err)
{
	_cleanup_netlink_ struct netlink nl = {0};
	struct link l;
	int rc;

	if (open_netlink(&nl, err) < 0)
		return -err->code;
	rc = find_link(&nl, p->name, &l);
	if (rc < 0)
		io_error(err, rc, "look for it");
	else if (rc == 0)
		error_set(err, CNI_DIFFERS, "it does not exist");
	else if (check_link(&l, p, err) == 0 && check_addresses(&nl, l.index, r, err) == 0)
		check_routes(&nl, l.index, r, err);
	return err->code ? error_wrap(err, "interface '%s'", p->name) : 0;
}
