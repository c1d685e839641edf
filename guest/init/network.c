// SPDX-License-Identifier: Apache-2.0
#include "guest/init/network.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "guest/init/loop.h"
#include "guest/init/uevent.h"
#include "lib/cleanup.h"

/* Drivers of devices that the host emulates are ready at once; this is for a slow machine. */
#define NIC_TIMEOUT_MS 10000

struct request { /* one rtnetlink message under construction */
	struct nlmsghdr h;
	uint8_t body[512];
};

static void *request_init(struct request *r, uint16_t type, uint16_t flags, size_t fixed_size)
{
	*r = (struct request){
		.h =
			{
				.nlmsg_len = (uint32_t)NLMSG_LENGTH(fixed_size),
				.nlmsg_type = type,
				.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags),
			},
	};
	return r->body;
}

/* Every message here is far smaller than the buffer: a few attributes of at most 16 bytes. */
static void request_put(struct request *r, uint16_t type, const void *data, size_t size)
{
	struct rtattr *a = (void *)((uint8_t *)r + NLMSG_ALIGN(r->h.nlmsg_len));

	a->rta_type = type;
	a->rta_len = (uint16_t)RTA_LENGTH(size);
	memcpy(RTA_DATA(a), data, size);
	r->h.nlmsg_len = (uint32_t)(NLMSG_ALIGN(r->h.nlmsg_len) + RTA_ALIGN(RTA_LENGTH(size)));
}

static void request_put_u32(struct request *r, uint16_t type, uint32_t x)
{
	request_put(r, type, &x, sizeof(x));
}

int network_open(struct error *err)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	return fd < 0 ? error_errno(err, "open rtnetlink socket") : fd;
}

/* Sends a request and takes the kernel's answer: 0 or -errno. */
static int request_run(int nl, struct request *r)
{
	uint8_t buf[1024];
	const struct nlmsghdr *h = (void *)buf;
	ssize_t n;

	r->h.nlmsg_flags |= NLM_F_ACK;
	if (send(nl, r, r->h.nlmsg_len, 0) < 0)
		return -errno;
	n = recv(nl, buf, sizeof(buf), 0);
	if (n < 0)
		return -errno;
	if ((size_t)n < NLMSG_LENGTH(sizeof(struct nlmsgerr)) || h->nlmsg_type != NLMSG_ERROR)
		return -EPROTO;
	return ((const struct nlmsgerr *)NLMSG_DATA(h))->error;
}

static int link_up(int nl, int index)
{
	struct request r;
	struct ifinfomsg *i = request_init(&r, RTM_NEWLINK, 0, sizeof(*i));

	i->ifi_index = index;
	i->ifi_flags = IFF_UP;
	i->ifi_change = IFF_UP;
	return request_run(nl, &r);
}

int network_loopback_up(struct error *err)
{
	/* The old way: a third of what netlink(7) has the kernel run through, at every start. */
	_cleanup_close_ int any = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};

	if (any < 0 || ioctl(any, SIOCSIFFLAGS, &lo) < 0)
		return error_errno(err, "bring up 'lo'");
	return 0;
}

bool network_link_has_mac(const struct nlmsghdr *h, const uint8_t mac[MAC_SIZE])
{
	const struct ifinfomsg *i = NLMSG_DATA(h);
	const struct rtattr *a = IFLA_RTA(i);
	uint32_t left = (uint32_t)IFLA_PAYLOAD(h);

	for (; RTA_OK(a, left); a = RTA_NEXT(a, left))
		if (a->rta_type == IFLA_ADDRESS)
			return RTA_PAYLOAD(a) == MAC_SIZE && !memcmp(RTA_DATA(a), mac, MAC_SIZE);
	return false;
}

int network_link_find(int nl, const uint8_t mac[MAC_SIZE])
{
	static uint8_t buf[16384];
	struct request r;
	int index = 0;

	request_init(&r, RTM_GETLINK, NLM_F_DUMP, sizeof(struct ifinfomsg));
	if (send(nl, &r, r.h.nlmsg_len, 0) < 0)
		return -errno;
	for (;;) { /* the dump is read to its end even after the link was found */
		ssize_t n = recv(nl, buf, sizeof(buf), 0);
		const struct nlmsghdr *h = (void *)buf;
		uint32_t left = (uint32_t)n;

		if (n < 0)
			return -errno;
		for (; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
			if (h->nlmsg_type == NLMSG_DONE)
				return index;
			if (h->nlmsg_type == NLMSG_ERROR)
				return -EPROTO;
			if (!index && network_link_has_mac(h, mac))
				index = ((const struct ifinfomsg *)NLMSG_DATA(h))->ifi_index;
		}
	}
}

static int link_wait(int nl, const uint8_t mac[MAC_SIZE])
{
	const uint64_t until = loop_now_ms() + NIC_TIMEOUT_MS;
	_cleanup_close_ int events = -1;
	int index = network_link_find(nl, mac);

	if (index != 0)
		return index;
	events = uevent_open();
	while ((index = network_link_find(nl, mac)) == 0)
		if (events < 0 || uevent_wait(events, until) < 0)
			return -ENODEV;
	return index;
}

static int link_configure(int nl, int index, const struct spec_nic *nic)
{
	struct request r;
	struct ifinfomsg *i = request_init(&r, RTM_NEWLINK, 0, sizeof(*i));

	i->ifi_index = index;
	request_put(&r, IFLA_IFNAME, nic->name, strlen(nic->name) + 1);
	if (nic->mtu)
		request_put_u32(&r, IFLA_MTU, nic->mtu);
	return request_run(nl, &r);
}

static size_t family_size(uint8_t family)
{
	return family == AF_INET6 ? 16 : 4;
}

static const char *ip_text(uint8_t family, const uint8_t *addr, char buf[static INET6_ADDRSTRLEN])
{
	return inet_ntop(family, addr, buf, INET6_ADDRSTRLEN) ?: "?";
}

static int address_add(int nl, int index, const struct spec_address *x, struct error *err)
{
	static const uint8_t none[4];
	char text[INET6_ADDRSTRLEN];
	size_t size = family_size(x->family);
	struct request r;
	struct ifaddrmsg *a = request_init(&r, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE,
					   sizeof(*a));
	int rc;

	a->ifa_family = x->family;
	a->ifa_prefixlen = x->prefix;
	a->ifa_flags = (uint8_t)x->flags;
	a->ifa_scope = x->scope;
	a->ifa_index = (uint32_t)index;
	request_put(&r, IFA_LOCAL, x->addr, size);
	request_put(&r, IFA_ADDRESS, x->addr, size);
	if (x->family == AF_INET && memcmp(x->broadcast, none, sizeof(none)) != 0)
		request_put(&r, IFA_BROADCAST, x->broadcast, size);
	request_put_u32(&r, IFA_FLAGS, x->flags);
	rc = request_run(nl, &r);
	if (rc < 0) {
		errno = -rc;
		return error_errno(err, "add address %s/%u", ip_text(x->family, x->addr, text),
				   x->prefix);
	}
	return 0;
}

static int route_add(int nl, int index, const struct spec_route *x, struct error *err)
{
	char text[INET6_ADDRSTRLEN];
	size_t size = family_size(x->family);
	struct request r;
	struct rtmsg *m = request_init(&r, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_APPEND, sizeof(*m));
	int rc;

	m->rtm_family = x->family;
	m->rtm_dst_len = x->dst_prefix;
	m->rtm_table = RT_TABLE_MAIN;
	m->rtm_protocol = x->protocol;
	m->rtm_scope = x->scope;
	m->rtm_type = x->type;
	m->rtm_flags = x->flags;
	if (x->dst_prefix)
		request_put(&r, RTA_DST, x->dst, size);
	request_put_u32(&r, RTA_OIF, (uint32_t)index);
	if (x->has_gateway)
		request_put(&r, RTA_GATEWAY, x->gateway, size);
	if (x->has_source)
		request_put(&r, RTA_PREFSRC, x->source, size);
	if (x->metric)
		request_put_u32(&r, RTA_PRIORITY, x->metric);
	if (x->mtu) {
		struct {
			struct rtattr a;
			uint32_t mtu;
		} metrics = {
			{RTA_LENGTH(sizeof(uint32_t)), RTAX_MTU},
			x->mtu,
		};

		request_put(&r, RTA_METRICS, &metrics, sizeof(metrics));
	}
	rc = request_run(nl, &r);
	if (rc < 0 && rc != -EEXIST) { /* the kernel made the connected ones itself */
		errno = -rc;
		return error_errno(err, "add route to %s/%u", ip_text(x->family, x->dst, text),
				   x->dst_prefix);
	}
	return 0;
}

static int neighbour_add(int nl, int index, const struct spec_neighbour *x, struct error *err)
{
	char text[INET6_ADDRSTRLEN];
	struct request r;
	struct ndmsg *m = request_init(&r, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, sizeof(*m));
	int rc;

	m->ndm_family = x->family;
	m->ndm_ifindex = index;
	m->ndm_state = NUD_PERMANENT;
	request_put(&r, NDA_DST, x->addr, family_size(x->family));
	request_put(&r, NDA_LLADDR, x->mac, MAC_SIZE);
	rc = request_run(nl, &r);
	if (rc < 0) {
		errno = -rc;
		return error_errno(err, "add neighbour %s", ip_text(x->family, x->addr, text));
	}
	return 0;
}

static int link_unname(int nl, int index)
{
	static const char pattern[] = "unnamed%d"; /* the kernel puts a number in */
	struct request r;
	struct ifinfomsg *i = request_init(&r, RTM_NEWLINK, 0, sizeof(*i));

	i->ifi_index = index;
	request_put(&r, IFLA_IFNAME, pattern, sizeof(pattern));
	return request_run(nl, &r);
}

int network_configure(int nl, int index, const struct spec_nic *nic, struct error *err)
{
	int rc;

	if (strlen(nic->name) >= IFNAMSIZ)
		return error_set(err, EINVAL, "name too long");
	rc = link_configure(nl, index, nic);
	if (rc == -EEXIST) {
		/* Of a link that came meanwhile, and that the kernel named so. */
		link_unname(nl, (int)if_nametoindex(nic->name));
		rc = link_configure(nl, index, nic);
	}
	if (rc < 0) {
		errno = -rc;
		return error_errno(err, "set name and MTU %u", nic->mtu);
	}
	rc = 0;
	for (uint32_t i = 0; i < nic->addresses_n && rc == 0; i++)
		rc = address_add(nl, index, &nic->addresses[i], err);
	if (rc < 0)
		return rc;
	rc = link_up(nl, index);
	if (rc < 0) {
		errno = -rc;
		return error_errno(err, "bring up");
	}
	rc = 0;
	for (uint32_t i = 0; i < nic->routes_n && rc == 0; i++)
		rc = route_add(nl, index, &nic->routes[i], err);
	for (uint32_t i = 0; i < nic->neighbours_n && rc == 0; i++)
		rc = neighbour_add(nl, index, &nic->neighbours[i], err);
	return rc;
}

static int nic_setup(int nl, const struct spec_nic *nic, struct error *err)
{
	const uint8_t *m = nic->mac;
	int index = link_wait(nl, nic->mac);

	if (index < 0) {
		errno = -index;
		return error_errno(err, "find MAC %02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2],
				   m[3], m[4], m[5]);
	}
	return network_configure(nl, index, nic, err);
}

/* The kernel numbers the links in an order of its own: the name that one is to get may be what
 * another one is called so far. */
static int make_way(int nl, const struct spec_nic *nic)
{
	int index = link_wait(nl, nic->mac);

	return index < 0 ? 0 /* nic_setup() says so */ : link_unname(nl, index);
}

int network_setup(const struct spec_nic *nics, uint32_t n, struct error *err)
{
	_cleanup_close_ int nl = network_open(err);
	int rc;

	if (nl < 0)
		return nl;
	for (uint32_t i = 0; n > 1 && i < n; i++) {
		rc = nics[i].late ? 0 : make_way(nl, &nics[i]);
		if (rc < 0) {
			errno = -rc;
			return error_errno(err, "network interface '%s': make way for its name",
					   nics[i].name);
		}
	}
	for (uint32_t i = 0; i < n; i++) {
		rc = nics[i].late ? 0 : nic_setup(nl, &nics[i], err);
		if (rc < 0)
			return error_wrap(err, "network interface '%s'", nics[i].name);
	}
	return 0;
}
