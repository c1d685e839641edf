// SPDX-License-Identifier: Apache-2.0
#include "runtime/network.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/magic.h>
#include <linux/neighbour.h>
#include <linux/nsfs.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "lib/cleanup.h"
#include "lib/lease.h"
#include "runtime/netlink.h"

#define LINKS_MAX 1024	 /* links that are looked at */
#define ENTRIES_MAX 4096 /* addresses, routes or neighbours of one interface */
#define COLLECT_TRIES 8	 /* dumps are repeated while the namespace changes under them */

#define _cleanup_netlink_ _cleanup_(netlink_close)

/* A link of the namespace. */
struct link {
	int index;
	int master, below; /* links of the same namespace, or 0 */
	unsigned int flags;
	uint16_t type; /* ARPHRD_* */
	bool has_mac;
	bool carries;	/* another one is stacked on it */
	bool taken;	/* becomes a nic */
	bool connected; /* its traffic is redirected, by us */
	char kind[16];	/* "" for hardware */
	char *lease;	/* id, of a placeholder; NULL */
	struct spec_nic nic;
};

/* What is being learned about a namespace. */
struct view {
	struct msg_chunk **arena;
	struct error *err; /* of the visit that failed; code 0: none has */
	struct link *links;
	uint32_t links_n;
};

/*
 * One more zeroed element for a list in the arena.  Lists double and leave their shorter selves to
 * the arena, which is fine for the few entries a namespace has.
 */
static void *push(struct view *v, void *list, uint32_t *n, size_t elem_size, uint32_t max)
{
	void **items = list;

	if (*n >= max) {
		error_set(v->err, E2BIG, "more than %u of them", max);
		return NULL;
	}
	if ((*n & (*n - 1)) == 0) {
		size_t room = *n ? 2 * (size_t)*n : 1;
		void *grown = arena_alloc(v->arena, room * elem_size);

		if (!grown) {
			error_set(v->err, ENOMEM, "out of memory");
			return NULL;
		}
		if (*n)
			memcpy(grown, *items, *n * elem_size);
		*items = grown;
	}
	return (char *)*items + (*n)++ * elem_size;
}

static struct link *find_link(struct view *v, int index)
{
	for (uint32_t i = 0; i < v->links_n; i++)
		if (v->links[i].index == index)
			return &v->links[i];
	return NULL;
}

static size_t family_size(uint8_t family)
{
	return family == AF_INET ? 4 : family == AF_INET6 ? 16 : 0;
}

/* Copies an address of that family; false when the attribute is not there or too short. */
static bool get_address(uint8_t *ret, const struct nlattr *attr, uint8_t family)
{
	size_t size = family_size(family);

	if (!attr || !size || mnl_attr_get_payload_len(attr) < size)
		return false;
	memcpy(ret, mnl_attr_get_payload(attr), size);
	return true;
}

static bool same_prefix(const uint8_t *a, const uint8_t *b, unsigned int bits)
{
	unsigned int rest = bits % 8;

	if (memcmp(a, b, bits / 8) != 0)
		return false;
	return !rest || (a[bits / 8] ^ b[bits / 8]) >> (8 - rest) == 0;
}

/* The lease's id in a placeholder's alias, or NULL. */
static char *lease_of(struct view *v, const struct nlattr *alias)
{
	const size_t prefix = strlen(NETWORK_LEASE_ALIAS);
	const char *text = alias ? mnl_attr_get_payload(alias) : NULL;
	char id[LEASE_ID_LEN + 1];

	if (!alias || mnl_attr_get_payload_len(alias) != prefix + sizeof(id) ||
	    memcmp(text, NETWORK_LEASE_ALIAS, prefix) != 0)
		return NULL;
	memcpy(id, text + prefix, LEASE_ID_LEN);
	id[LEASE_ID_LEN] = 0;
	return strspn(id, "0123456789abcdef") == LEASE_ID_LEN ? arena_strdup(v->arena, id) : NULL;
}

static int link_visit(const struct nlmsghdr *msg, void *data)
{
	const struct ifinfomsg *head = mnl_nlmsg_get_payload(msg);
	const struct nlattr *tb[IFLA_LINK_NETNSID + 1], *info[IFLA_INFO_KIND + 1];
	const struct nlattr *mac, *name, *kind;
	struct view *v = data;
	struct link *l;

	netlink_attrs(msg, sizeof(*head), tb, IFLA_LINK_NETNSID);
	name = tb[IFLA_IFNAME];
	if (msg->nlmsg_type != RTM_NEWLINK || !name)
		return 0;
	l = push(v, &v->links, &v->links_n, sizeof(*l), LINKS_MAX);
	if (!l)
		return error_wrap(v->err, "interfaces");
	l->index = head->ifi_index;
	l->flags = head->ifi_flags;
	l->type = head->ifi_type;
	l->master = (int)netlink_u32(tb[IFLA_MASTER]);
	netlink_nested(tb[IFLA_LINKINFO], info, IFLA_INFO_KIND);
	kind = info[IFLA_INFO_KIND];
	if (kind)
		snprintf(l->kind, sizeof(l->kind), "%.*s", (int)mnl_attr_get_payload_len(kind),
			 mnl_attr_get_str(kind));
	/* A veth's other end, and what lives in another namespace, is not below it. */
	if (!tb[IFLA_LINK_NETNSID] && strcmp(l->kind, "veth") != 0)
		l->below = (int)netlink_u32(tb[IFLA_LINK]);
	l->lease = lease_of(v, tb[IFLA_IFALIAS]);
	l->nic.late = l->lease;
	l->nic.mtu = netlink_u32(tb[IFLA_MTU]);
	l->nic.name = arena_alloc(v->arena, IFNAMSIZ);
	if (!l->nic.name)
		return error_set(v->err, ENOMEM, "out of memory");
	snprintf(l->nic.name, IFNAMSIZ, "%.*s", (int)mnl_attr_get_payload_len(name),
		 mnl_attr_get_str(name));
	mac = tb[IFLA_ADDRESS];
	if (mac && mnl_attr_get_payload_len(mac) == ETH_ALEN) {
		memcpy(l->nic.mac, mnl_attr_get_payload(mac), ETH_ALEN);
		l->has_mac = memcmp(l->nic.mac, "\0\0\0\0\0", ETH_ALEN) != 0;
	}
	return 0;
}

/* fe80::/64 with the interface identifier that RFC 4291, appendix A makes of the MAC. */
static bool is_eui64_link_local(const uint8_t *a, const uint8_t *mac)
{
	const uint8_t made[16] = {0xfe,	      0x80,   0,      0,    0,	  0,	  0,	  0,
				  mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]};

	return memcmp(a, made, sizeof(made)) == 0;
}

/* Addresses that the guest's kernel makes (or learns) itself, and those that never became valid. */
static bool address_skip(const struct ifaddrmsg *head, const struct nlattr **tb, uint32_t flags,
			 const uint8_t *addr, const uint8_t *mac)
{
	uint8_t origin = 0;

	if (head->ifa_family != AF_INET6)
		return false;
	if (tb[IFA_PROTO] && mnl_attr_get_payload_len(tb[IFA_PROTO]) >= 1)
		origin = mnl_attr_get_u8(tb[IFA_PROTO]);
	if (flags & (IFA_F_DADFAILED | IFA_F_TEMPORARY) || origin == IFAPROT_KERNEL_RA)
		return true;
	if (head->ifa_scope != RT_SCOPE_LINK)
		return false;
	/* Kernels before 5.18 do not tell the origin. */
	return origin == IFAPROT_KERNEL_LL || flags & IFA_F_STABLE_PRIVACY ||
	       is_eui64_link_local(addr, mac);
}

static int address_visit(const struct nlmsghdr *msg, void *data)
{
	const struct ifaddrmsg *head = mnl_nlmsg_get_payload(msg);
	const struct nlattr *tb[IFA_PROTO + 1];
	uint8_t local[16] = {0}, peer[16] = {0};
	struct view *v = data;
	struct spec_address *a;
	struct link *l;
	uint32_t flags;

	netlink_attrs(msg, sizeof(*head), tb, IFA_PROTO);
	l = msg->nlmsg_type == RTM_NEWADDR ? find_link(v, (int)head->ifa_index) : NULL;
	if (!l || !get_address(peer, tb[IFA_ADDRESS], head->ifa_family))
		return 0;
	if (!get_address(local, tb[IFA_LOCAL], head->ifa_family))
		memcpy(local, peer, sizeof(local));
	flags = tb[IFA_FLAGS] ? netlink_u32(tb[IFA_FLAGS]) : head->ifa_flags;
	if (address_skip(head, tb, flags, local, l->nic.mac))
		return 0;
	a = push(v, &l->nic.addresses, &l->nic.addresses_n, sizeof(*a), ENTRIES_MAX);
	if (!a)
		return error_wrap(v->err, "addresses of interface '%s'", l->nic.name);
	a->family = head->ifa_family;
	a->prefix = head->ifa_prefixlen;
	a->scope = head->ifa_scope;
	a->flags = flags & (IFA_F_NODAD | IFA_F_NOPREFIXROUTE);
	memcpy(a->addr, local, sizeof(a->addr));
	if (a->family == AF_INET)
		get_address(a->broadcast, tb[IFA_BROADCAST], AF_INET);
	else
		a->flags |= IFA_F_NODAD; /* IPAM verified it; detection would cost a second */
	/*
	 * The route that comes with the address is one the guest's kernel would not make in the
	 * same way: to a peer, or with a metric of its own.  Then it is carried like any other.
	 */
	if (memcmp(local, peer, sizeof(local)) != 0) {
		a->prefix = (uint8_t)(8 * family_size(a->family));
		a->flags |= IFA_F_NOPREFIXROUTE;
	}
	if (netlink_u32(tb[IFA_RT_PRIORITY]))
		a->flags |= IFA_F_NOPREFIXROUTE;
	return 0;
}

/* A route that the guest's kernel adds together with an address. */
static bool route_comes_with_address(const struct spec_nic *nic, const struct spec_route *r)
{
	if (r->protocol != RTPROT_KERNEL)
		return false;
	if (r->family == AF_INET6 &&
	    (r->dst[0] == 0xff || (r->dst[0] == 0xfe && r->dst[1] == 0x80)))
		return true; /* multicast and link-local are there as soon as the link is up */
	for (uint32_t i = 0; i < nic->addresses_n; i++) {
		const struct spec_address *a = &nic->addresses[i];

		if (a->family == r->family && a->prefix == r->dst_prefix &&
		    !(a->flags & IFA_F_NOPREFIXROUTE) && same_prefix(a->addr, r->dst, a->prefix))
			return true;
	}
	return false;
}

static bool type_has_no_link(uint8_t type)
{
	return type == RTN_BLACKHOLE || type == RTN_UNREACHABLE || type == RTN_PROHIBIT ||
	       type == RTN_THROW;
}

/* Routes without a link (blackhole and its like) go with the first interface. */
static struct link *route_link(struct view *v, const struct rtmsg *head, const struct nlattr **tb)
{
	struct link *l;

	if (type_has_no_link(head->rtm_type)) {
		for (uint32_t i = 0; i < v->links_n; i++)
			if (v->links[i].taken)
				return &v->links[i];
		return NULL;
	}
	l = find_link(v, (int)netlink_u32(tb[RTA_OIF]));
	return l && l->taken ? l : NULL;
}

static bool route_is_ours(const struct nlmsghdr *msg, const struct rtmsg *head,
			  const struct nlattr **tb)
{
	uint32_t table = tb[RTA_TABLE] ? netlink_u32(tb[RTA_TABLE]) : head->rtm_table;

	return msg->nlmsg_type == RTM_NEWROUTE && family_size(head->rtm_family) &&
	       table == RT_TABLE_MAIN && !(head->rtm_flags & RTM_F_CLONED) &&
	       head->rtm_protocol != RTPROT_RA && head->rtm_protocol != RTPROT_REDIRECT;
}

/* What struct spec_route cannot express, or NULL. */
static const char *route_problem(const struct rtmsg *head, const struct nlattr **tb)
{
	if (tb[RTA_MULTIPATH])
		return "several next hops";
	if (tb[RTA_VIA])
		return "a gateway of another address family";
	if (tb[RTA_ENCAP_TYPE])
		return "an encapsulation";
	if (head->rtm_src_len)
		return "a source prefix";
	if (head->rtm_tos)
		return "a type of service";
	return NULL;
}

static int route_visit(const struct nlmsghdr *msg, void *data)
{
	const struct rtmsg *head = mnl_nlmsg_get_payload(msg);
	const struct nlattr *tb[RTA_MAX + 1], *metrics[RTAX_MTU + 1];
	char text[INET6_ADDRSTRLEN];
	struct spec_route r = {0}, *place;
	struct view *v = data;
	const char *problem;
	struct link *l;

	netlink_attrs(msg, sizeof(*head), tb, RTA_MAX);
	if (!route_is_ours(msg, head, tb))
		return 0;
	r.family = head->rtm_family;
	r.dst_prefix = head->rtm_dst_len;
	get_address(r.dst, tb[RTA_DST], r.family);
	problem = route_problem(head, tb);
	if (problem)
		return error_set(v->err, EOPNOTSUPP,
				 "route to %s/%u: a route with %s cannot be taken over",
				 inet_ntop(r.family, r.dst, text, sizeof(text)), r.dst_prefix,
				 problem);
	r.has_gateway = get_address(r.gateway, tb[RTA_GATEWAY], r.family);
	r.has_source = get_address(r.source, tb[RTA_PREFSRC], r.family);
	r.metric = netlink_u32(tb[RTA_PRIORITY]);
	netlink_nested(tb[RTA_METRICS], metrics, RTAX_MTU);
	r.mtu = netlink_u32(metrics[RTAX_MTU]);
	r.scope = head->rtm_scope;
	r.protocol = head->rtm_protocol;
	r.type = head->rtm_type;
	r.flags = head->rtm_flags & RTNH_F_ONLINK;
	l = route_link(v, head, tb);
	if (!l || route_comes_with_address(&l->nic, &r))
		return 0;
	place = push(v, &l->nic.routes, &l->nic.routes_n, sizeof(r), ENTRIES_MAX);
	if (!place)
		return error_wrap(v->err, "routes of interface '%s'", l->nic.name);
	*place = r;
	return 0;
}

static int neighbour_visit(const struct nlmsghdr *msg, void *data)
{
	const struct ndmsg *head = mnl_nlmsg_get_payload(msg);
	const struct nlattr *tb[NDA_LLADDR + 1];
	struct spec_neighbour n = {0}, *place;
	struct view *v = data;
	struct link *l;

	netlink_attrs(msg, sizeof(*head), tb, NDA_LLADDR);
	l = msg->nlmsg_type == RTM_NEWNEIGH ? find_link(v, head->ndm_ifindex) : NULL;
	if (!l || !l->taken || !(head->ndm_state & NUD_PERMANENT) || head->ndm_flags & NTF_PROXY)
		return 0;
	n.family = head->ndm_family;
	if (!get_address(n.addr, tb[NDA_DST], n.family) || !tb[NDA_LLADDR] ||
	    mnl_attr_get_payload_len(tb[NDA_LLADDR]) != ETH_ALEN)
		return 0;
	memcpy(n.mac, mnl_attr_get_payload(tb[NDA_LLADDR]), ETH_ALEN);
	place = push(v, &l->nic.neighbours, &l->nic.neighbours_n, sizeof(n), ENTRIES_MAX);
	if (!place)
		return error_wrap(v->err, "neighbours of interface '%s'", l->nic.name);
	*place = n;
	return 0;
}

/* Dumps one kind of thing.  -EAGAIN: all has to be asked again, as it changed meanwhile. */
static int collect(struct view *v, struct netlink *nl, uint16_t type, netlink_visit *visit,
		   const char *what)
{
	union {
		struct ifinfomsg link;
		struct ifaddrmsg address;
		struct rtmsg route;
		struct ndmsg neighbour;
	} head = {0}; /* every family, every link */
	size_t size = type == RTM_GETLINK    ? sizeof(head.link)
		      : type == RTM_GETADDR  ? sizeof(head.address)
		      : type == RTM_GETROUTE ? sizeof(head.route)
					     : sizeof(head.neighbour);
	int rc;

	rc = netlink_dump(nl, type, &head, size, visit, v);
	if (v->err->code)
		return -v->err->code;
	if (rc == -EINTR)
		return -EAGAIN;
	if (rc < 0)
		return error_set(v->err, -rc, "list its %s: %s", what, strerror(-rc));
	return 0;
}

static int by_index(const void *a, const void *b)
{
	const struct link *x = a, *y = b;

	return (x->index > y->index) - (x->index < y->index);
}

/* Stable: gateways have to be reachable when a route by one is added. */
static void order_routes(struct spec_nic *nic)
{
	for (uint32_t i = 1, direct = 0; i <= nic->routes_n; i++) {
		struct spec_route r = nic->routes[i - 1];

		if (r.has_gateway)
			continue;
		memmove(&nic->routes[direct + 1], &nic->routes[direct],
			(i - 1 - direct) * sizeof(r));
		nic->routes[direct++] = r;
	}
}

static bool is_our_tap(const struct link *l)
{
	size_t n = strlen(NETWORK_TAP_PREFIX);
	const char *digits = l->nic.name + n;

	return strcmp(l->kind, "tun") == 0 && strncmp(l->nic.name, NETWORK_TAP_PREFIX, n) == 0 &&
	       *digits && strspn(digits, "0123456789") == strlen(digits);
}

/* 1: take it; 0: leave it alone; -errno: a container would expect it and cannot have it. */
static int judge(const struct link *l, struct error *err)
{
	bool addressed = l->nic.addresses_n > 0;

	if (l->flags & IFF_LOOPBACK)
		return 0;
	if (l->type != ARPHRD_ETHER || !l->has_mac)
		return !addressed ? 0
				  : error_set(err, EOPNOTSUPP,
					      "interface '%s' has addresses but is no Ethernet "
					      "interface",
					      l->nic.name);
	if (l->carries || l->master)
		return !addressed ? 0
				  : error_set(err, EOPNOTSUPP,
					      "interface '%s' has addresses and carries another "
					      "interface",
					      l->nic.name);
	if (l->flags & IFF_NOARP && addressed && !l->lease && strcmp(l->kind, "dummy") != 0)
		return error_set(err, EOPNOTSUPP,
				 "interface '%s' (%s) does not speak ARP, which a guest needs",
				 l->nic.name, l->kind);
	return 1;
}

static int choose(struct view *v)
{
	uint32_t taken = 0;

	if (v->links_n) /* nothing to sort has no address */
		qsort(v->links, v->links_n, sizeof(*v->links), by_index);
	for (uint32_t i = 0; i < v->links_n; i++) {
		struct link *below;

		if (is_our_tap(&v->links[i]))
			return error_set(v->err, EBUSY, "a sandbox has it already (interface '%s')",
					 v->links[i].nic.name);
		below = v->links[i].below == v->links[i].index ? NULL
							       : find_link(v, v->links[i].below);
		if (below)
			below->carries = true;
	}
	for (uint32_t i = 0; i < v->links_n; i++) {
		int rc = judge(&v->links[i], v->err);

		if (rc < 0)
			return rc;
		v->links[i].taken = rc;
		taken += (uint32_t)rc;
	}
	if (taken > NETWORK_NICS_MAX)
		return error_set(v->err, E2BIG, "%u interfaces are more than %d", taken,
				 NETWORK_NICS_MAX);
	return 0;
}

static int look_once(struct view *v, struct netlink *nl)
{
	int rc;

	v->links = NULL;
	v->links_n = 0;
	rc = collect(v, nl, RTM_GETLINK, link_visit, "interfaces");
	if (!rc)
		rc = collect(v, nl, RTM_GETADDR, address_visit, "addresses");
	if (!rc)
		rc = choose(v);
	if (!rc)
		rc = collect(v, nl, RTM_GETROUTE, route_visit, "routes");
	if (!rc)
		rc = collect(v, nl, RTM_GETNEIGH, neighbour_visit, "neighbours");
	return rc;
}

static int look(struct view *v, struct netlink *nl)
{
	int rc = -EAGAIN;

	for (int i = 0; rc == -EAGAIN && i < COLLECT_TRIES; i++)
		rc = look_once(v, nl);
	if (rc == -EAGAIN)
		return error_set(v->err, EAGAIN, "it is being changed by someone else");
	for (uint32_t i = 0; !rc && i < v->links_n; i++)
		order_routes(&v->links[i].nic);
	return rc;
}

static int qdisc_visit(const struct nlmsghdr *msg, void *data)
{
	const struct tcmsg *tc = mnl_nlmsg_get_payload(msg);
	const struct nlattr *tb[TCA_KIND + 1];
	struct view *v = data;
	struct link *l;

	netlink_attrs(msg, sizeof(*tc), tb, TCA_KIND);
	l = msg->nlmsg_type == RTM_NEWQDISC ? find_link(v, tc->tcm_ifindex) : NULL;
	if (!l || !l->taken || l->lease || tc->tcm_parent != TC_H_INGRESS)
		return 0;
	return error_set(v->err, EEXIST, "interface '%s' has an ingress qdisc already (%s)",
			 l->nic.name, tb[TCA_KIND] ? mnl_attr_get_str(tb[TCA_KIND]) : "unknown");
}

static int check_qdiscs(struct view *v, struct netlink *nl)
{
	const struct tcmsg head = {0};
	int rc = netlink_dump(nl, RTM_GETQDISC, &head, sizeof(head), qdisc_visit, v);

	if (v->err->code)
		return -v->err->code;
	if (rc < 0 && rc != -EINTR) /* -EEXIST of redirect_add() says it again */
		return error_set(v->err, -rc, "list its qdiscs: %s", strerror(-rc));
	return 0;
}

/* Makes a tap in the present namespace; its index comes back too.  The tap is not up yet. */
static int tap_open(const char *name, int *ret_index, struct error *err)
{
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	_cleanup_close_ int fd = -1;

	fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return error_errno(err, "open '/dev/net/tun'");
	ifr.ifr_flags |= (short)IFF_TUN_EXCL;
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	if (ioctl(fd, TUNSETIFF, &ifr) < 0)
		return error_errno(err, "create tap '%s'", name);
	*ret_index = (int)if_nametoindex(name);
	if (!*ret_index)
		return error_errno(err, "find tap '%s'", name);
	return steal_fd(&fd);
}

/*
 * The order is the contract with network_release(): all that happens to the tap vanishes with its
 * descriptor, so the one lasting change, to the interface itself, comes last and at once.
 */
static int connect_nic(struct netlink *nl, const struct link *l, uint32_t number, int *ret_fd,
		       struct error *err)
{
	_cleanup_close_ int fd = -1;
	char name[IFNAMSIZ];
	int index, rc;

	snprintf(name, sizeof(name), NETWORK_TAP_PREFIX "%u", number);
	fd = tap_open(name, &index, err);
	if (fd < 0)
		return fd;
	rc = netlink_redirect_add(nl, index, l->index);
	if (rc < 0)
		return error_set(err, -rc, "redirect tap '%s': %s", name, strerror(-rc));
	rc = netlink_tap_up(nl, index, l->nic.mtu);
	if (rc < 0)
		return error_set(err, -rc, "set up tap '%s' with MTU %u: %s", name, l->nic.mtu,
				 strerror(-rc));
	rc = netlink_redirect_add(nl, l->index, index);
	if (rc == -EEXIST)
		return error_set(err, EEXIST, "it has an ingress qdisc already");
	if (rc < 0)
		return error_set(err, -rc, "redirect it: %s", strerror(-rc));
	*ret_fd = steal_fd(&fd);
	return 0;
}

static int connect_all(struct netlink *nl, struct view *v, struct network *ret, struct error *err)
{
	int rc = 0;

	for (uint32_t i = 0; i < v->links_n && !rc; i++) {
		if (!v->links[i].taken)
			continue;
		ret->tap_fds[ret->n] = -1;
		ret->leases[ret->n] = v->links[i].lease;
		if (!v->links[i].lease) {
			rc = connect_nic(nl, &v->links[i], ret->n, &ret->tap_fds[ret->n], err);
			if (rc < 0) {
				error_wrap(err, "interface '%s'", v->links[i].nic.name);
				break;
			}
			v->links[i].connected = true;
		}
		ret->nics[ret->n++] = v->links[i].nic;
	}
	if (!rc)
		return 0;
	/* Only what was made here: another sandbox may be at work on the same namespace. */
	for (uint32_t i = 0; i < v->links_n; i++)
		if (v->links[i].connected)
			netlink_redirect_remove(nl, v->links[i].index);
	network_done(ret);
	return rc;
}

static int take_here(struct msg_chunk **arena, struct network *ret, struct error *err)
{
	_cleanup_netlink_ struct netlink nl = {0};
	struct view v = {.arena = arena, .err = err};
	int rc;

	rc = netlink_open(&nl, err);
	if (!rc)
		rc = look(&v, &nl);
	if (!rc)
		rc = check_qdiscs(&v, &nl);
	if (rc < 0)
		return rc;
	ret->nics = arena_alloc(arena, NETWORK_NICS_MAX * sizeof(*ret->nics));
	if (!ret->nics)
		return error_set(err, ENOMEM, "out of memory");
	return connect_all(&nl, &v, ret, err);
}

static int release_here(struct msg_chunk **arena, struct error *err)
{
	_cleanup_netlink_ struct netlink nl = {0};
	struct view v = {.arena = arena, .err = err};
	int rc;

	rc = netlink_open(&nl, err);
	if (rc < 0)
		return rc;
	rc = -EAGAIN;
	for (int i = 0; rc == -EAGAIN && i < COLLECT_TRIES; i++) {
		v.links = NULL;
		v.links_n = 0;
		rc = collect(&v, &nl, RTM_GETLINK, link_visit, "interfaces");
	}
	if (rc == -EAGAIN)
		return error_set(err, EAGAIN, "it is being changed by someone else");
	/* The interfaces first: no frame shall find a redirection to nowhere. */
	for (uint32_t i = 0; !rc && i < v.links_n; i++)
		if (!is_our_tap(&v.links[i]))
			rc = netlink_redirect_remove(&nl, v.links[i].index);
	for (uint32_t i = 0; !rc && i < v.links_n; i++)
		if (is_our_tap(&v.links[i]))
			rc = netlink_link_remove(&nl, v.links[i].index);
	if (rc < 0 && !err->code)
		return error_set(err, -rc, "remove taps and filters: %s", strerror(-rc));
	return rc;
}

static bool same_namespace(const struct stat *st, const char *other)
{
	struct stat o;

	return stat(other, &o) == 0 && o.st_dev == st->st_dev && o.st_ino == st->st_ino;
}

/*
 * Opens a network namespace.  The path is looked at with O_PATH first: opening a device or a FIFO
 * that somebody put there would already do something.  Links in /proc (/proc/PID/ns/net) are the
 * one kind of symbolic link that is followed.
 */
int network_namespace_open(const char *path, struct error *err)
{
	_cleanup_close_ int link = -1, target = -1;
	char self[64];
	struct statfs fs;
	struct stat st;
	int fd;

	link = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (link < 0 || fstat(link, &st) < 0 || fstatfs(link, &fs) < 0)
		return error_errno(err, "network namespace '%s'", path);
	if (S_ISLNK(st.st_mode) && fs.f_type != PROC_SUPER_MAGIC)
		return error_set(err, EINVAL, "network namespace '%s' is a symbolic link", path);
	target = open(path, O_PATH | O_CLOEXEC);
	if (target < 0 || fstat(target, &st) < 0 || fstatfs(target, &fs) < 0)
		return error_errno(err, "network namespace '%s'", path);
	if (fs.f_type != NSFS_MAGIC)
		return error_set(err, EINVAL, "'%s' is not a network namespace", path);
	if (same_namespace(&st, "/proc/self/ns/net") || same_namespace(&st, "/proc/1/ns/net"))
		return error_set(err, EPERM, "network namespace '%s' is the host's own", path);
	snprintf(self, sizeof(self), "/proc/self/fd/%d", target);
	fd = open(self, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return error_errno(err, "open network namespace '%s'", path);
	if (ioctl(fd, NS_GET_NSTYPE) != CLONE_NEWNET) {
		close(fd);
		return error_set(err, EINVAL, "'%s' is not a network namespace", path);
	}
	return fd;
}

/* Code that goes on in the wrong network namespace must not exist. */
void network_namespace_leave(int *home)
{
	if (*home < 0)
		return;
	if (setns(*home, CLONE_NEWNET) < 0)
		abort();
	close(*home);
}

int network_namespace_enter(int ns, int *ret_home, struct error *err)
{
	_cleanup_close_ int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

	if (home < 0)
		return error_errno(err, "open '/proc/self/ns/net'");
	if (setns(ns, CLONE_NEWNET) < 0)
		return error_errno(err, "enter the network namespace");
	*ret_home = steal_fd(&home);
	return 0;
}

int network_take(const char *netns_path, struct msg_chunk **arena, struct network *ret,
		 struct error *err)
{
	_cleanup_close_ int ns = -1;
	_cleanup_(network_namespace_leave) int home = -1;
	struct error why = {0};
	int rc;

	*ret = (struct network){0};
	ns = network_namespace_open(netns_path, err);
	if (ns < 0)
		return ns;
	rc = network_namespace_enter(ns, &home, &why);
	if (!rc)
		rc = take_here(arena, ret, &why);
	if (rc < 0) {
		error_wrap(&why, "network namespace '%s'", netns_path);
		if (err)
			*err = why;
		*ret = (struct network){0};
	}
	return rc;
}

/* A namespace file that was unmounted stays behind as an ordinary, empty file; and what cannot be
 * reached was never taken. */
static bool is_gone(const struct error *why)
{
	return why->code == ENOENT || why->code == ESRCH || why->code == ENOTDIR ||
	       why->code == EINVAL || why->code == EPERM || why->code == EACCES ||
	       why->code == ELOOP || why->code == ENAMETOOLONG;
}

int network_release(const char *netns_path, struct error *err)
{
	_cleanup_close_ int ns = -1;
	_cleanup_(network_namespace_leave) int home = -1;
	struct msg_chunk *arena = NULL;
	struct error why = {0};
	int rc;

	ns = network_namespace_open(netns_path, &why);
	if (ns < 0) {
		if (is_gone(&why))
			return 0;
		if (err)
			*err = why;
		return ns;
	}
	rc = network_namespace_enter(ns, &home, &why);
	if (!rc)
		rc = release_here(&arena, &why);
	arena_done(&arena);
	if (rc < 0) {
		error_wrap(&why, "network namespace '%s'", netns_path);
		if (err)
			*err = why;
	}
	return rc;
}

void network_done(struct network *n)
{
	for (uint32_t i = 0; i < n->n; i++)
		if (n->tap_fds[i] >= 0)
			close(n->tap_fds[i]);
	*n = (struct network){0};
}
