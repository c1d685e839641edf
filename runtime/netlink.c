// SPDX-License-Identifier: Apache-2.0
#include "runtime/netlink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/tc_act/tc_mirred.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/cleanup.h"

#define RECV_SIZE 32768	   /* what the kernel fills at most in one message of a dump */
#define ANSWER_SIZE 131072 /* one link with all its virtual functions */
#define BATCH_MAX 2

static const char cookie[] = "caisson"; /* without its NUL: TC_COOKIE_MAX_SIZE is 16 */

int netlink_open(struct netlink *ret, struct error *err)
{
	*ret = (struct netlink){.socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC)};
	if (!ret->socket)
		return error_errno(err, "open a route netlink socket");
	if (mnl_socket_bind(ret->socket, 0, MNL_SOCKET_AUTOPID) < 0) {
		int rc = error_errno(err, "bind a route netlink socket");

		netlink_close(ret);
		return rc;
	}
	return 0;
}

void netlink_close(struct netlink *nl)
{
	int saved = errno;

	if (nl->socket)
		mnl_socket_close(nl->socket);
	*nl = (struct netlink){0};
	errno = saved;
}

struct nlmsghdr *netlink_request(struct netlink *nl, void *buf, uint16_t type, uint16_t flags,
				 const void *head, size_t head_size)
{
	struct nlmsghdr *msg = mnl_nlmsg_put_header(buf);

	msg->nlmsg_type = type;
	msg->nlmsg_flags = NLM_F_REQUEST | flags;
	msg->nlmsg_seq = ++nl->seq;
	memcpy(mnl_nlmsg_put_extra_header(msg, head_size), head, head_size);
	return msg;
}

static int error_of(const struct nlmsghdr *msg)
{
	const struct nlmsgerr *e = mnl_nlmsg_get_payload(msg);

	if (mnl_nlmsg_get_payload_len(msg) < sizeof(e->error))
		return -EBADMSG;
	return e->error;
}

/* The next datagram; interrupted calls are repeated.  Bytes or -errno. */
static ssize_t receive(struct netlink *nl, void *buf, size_t size)
{
	ssize_t n;

	do {
		n = mnl_socket_recvfrom(nl->socket, buf, size);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/*
 * Visits one datagram of a dump.  1: it was the last.  After a failure the rest of the dump is
 * still read, only not visited, so that the socket is clean for what comes next.
 */
static int dump_datagram(struct netlink *nl, const void *buf, int n, netlink_visit *visit,
			 void *data, int *rc)
{
	for (const struct nlmsghdr *msg = buf; mnl_nlmsg_ok(msg, n);
	     msg = mnl_nlmsg_next(msg, &n)) {
		if (msg->nlmsg_seq != nl->seq)
			continue;
		if (msg->nlmsg_flags & NLM_F_DUMP_INTR && !*rc)
			*rc = -EINTR;
		if (msg->nlmsg_type == NLMSG_DONE || msg->nlmsg_type == NLMSG_ERROR) {
			int last = error_of(msg);

			if (!*rc && last < 0)
				*rc = last;
			return 1;
		}
		if (!*rc && msg->nlmsg_type >= NLMSG_MIN_TYPE)
			*rc = visit(msg, data);
	}
	return 0;
}

int netlink_ask(struct netlink *nl, const struct nlmsghdr *msg, netlink_visit *visit, void *data)
{
	_cleanup_free_ void *buf = malloc(ANSWER_SIZE);
	int rc = 0, last = 0;

	if (!buf)
		return -ENOMEM;
	if (mnl_socket_sendto(nl->socket, msg, msg->nlmsg_len) < 0)
		return -errno;
	while (!last) { /* the acknowledgement is the last, as the end of a dump is */
		ssize_t n = receive(nl, buf, ANSWER_SIZE);

		if (n < 0)
			return (int)n;
		last = dump_datagram(nl, buf, (int)n, visit, data, &rc);
	}
	return rc;
}

int netlink_dump(struct netlink *nl, uint16_t type, const void *head, size_t head_size,
		 netlink_visit *visit, void *data)
{
	_Alignas(struct nlmsghdr) char buf[RECV_SIZE];
	struct nlmsghdr *msg;
	int rc = 0, last = 0;

	memset(buf, 0, NETLINK_REQUEST_SIZE);
	msg = netlink_request(nl, buf, type, NLM_F_DUMP, head, head_size);
	if (mnl_socket_sendto(nl->socket, msg, msg->nlmsg_len) < 0)
		return -errno;
	while (!last) {
		ssize_t n = receive(nl, buf, sizeof(buf));

		if (n < 0)
			return (int)n;
		last = dump_datagram(nl, buf, (int)n, visit, data, &rc);
	}
	return rc;
}

int netlink_run_all(struct netlink *nl, const void *msgs, size_t size, int count, int *results)
{
	_Alignas(struct nlmsghdr) char buf[RECV_SIZE];
	uint32_t first = nl->seq - (uint32_t)count + 1;

	if (mnl_socket_sendto(nl->socket, msgs, size) < 0)
		return -errno;
	for (int answered = 0; answered < count;) {
		ssize_t got = receive(nl, buf, sizeof(buf));
		int n = (int)got;

		if (got < 0)
			return (int)got;
		for (struct nlmsghdr *msg = (void *)buf; mnl_nlmsg_ok(msg, n);
		     msg = mnl_nlmsg_next(msg, &n)) {
			uint32_t i = msg->nlmsg_seq - first;

			if (i >= (uint32_t)count || msg->nlmsg_type != NLMSG_ERROR)
				continue;
			results[i] = error_of(msg);
			answered++;
		}
	}
	return 0;
}

int netlink_run(struct netlink *nl, const struct nlmsghdr *msg)
{
	int result, rc;

	rc = netlink_run_all(nl, msg, msg->nlmsg_len, 1, &result);
	return rc < 0 ? rc : result;
}

void netlink_attrs(const struct nlmsghdr *msg, size_t head_size, const struct nlattr **tb,
		   uint16_t max)
{
	struct nlattr *attr;

	memset(tb, 0, sizeof(*tb) * (max + 1u));
	if (mnl_nlmsg_get_payload_len(msg) < head_size)
		return;
	mnl_attr_for_each(attr, msg, head_size) if (mnl_attr_get_type(attr) <= max)
		tb[mnl_attr_get_type(attr)] = attr;
}

void netlink_nested(const struct nlattr *nest, const struct nlattr **tb, uint16_t max)
{
	struct nlattr *attr;

	memset(tb, 0, sizeof(*tb) * (max + 1u));
	if (!nest)
		return;
	mnl_attr_for_each_nested(attr, nest) if (mnl_attr_get_type(attr) <= max)
		tb[mnl_attr_get_type(attr)] = attr;
}

uint32_t netlink_u32(const struct nlattr *attr)
{
	if (!attr || mnl_attr_get_payload_len(attr) < sizeof(uint32_t))
		return 0;
	return mnl_attr_get_u32(attr);
}

bool netlink_is(const struct nlattr *attr, const char *text)
{
	size_t n = strlen(text) + 1;

	return attr && mnl_attr_get_payload_len(attr) >= n &&
	       memcmp(mnl_attr_get_payload(attr), text, n) == 0;
}

/* Without IPv6 in the kernel, or on this link, there is nothing to turn off. */
static int link_no_ipv6_address(struct netlink *nl, int index)
{
	_Alignas(struct nlmsghdr) char buf[NETLINK_REQUEST_SIZE] = {0};
	struct ifinfomsg head = {.ifi_index = index};
	struct nlmsghdr *msg = netlink_request(nl, buf, RTM_NEWLINK, NLM_F_ACK, &head,
					       sizeof(head));
	struct nlattr *spec = mnl_attr_nest_start(msg, IFLA_AF_SPEC);
	struct nlattr *inet6 = mnl_attr_nest_start(msg, AF_INET6);
	int rc;

	mnl_attr_put_u8(msg, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
	mnl_attr_nest_end(msg, inet6);
	mnl_attr_nest_end(msg, spec);
	rc = netlink_run(nl, msg);
	return rc == -EAFNOSUPPORT || rc == -EOPNOTSUPP ? 0 : rc;
}

int netlink_tap_up(struct netlink *nl, int index, uint32_t mtu)
{
	_Alignas(struct nlmsghdr) char buf[NETLINK_REQUEST_SIZE] = {0};
	struct ifinfomsg head = {.ifi_index = index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
	struct nlmsghdr *msg;
	int rc;

	rc = link_no_ipv6_address(nl, index);
	if (rc < 0)
		return rc;
	msg = netlink_request(nl, buf, RTM_NEWLINK, NLM_F_ACK, &head, sizeof(head));
	mnl_attr_put_u32(msg, IFLA_MTU, mtu);
	return netlink_run(nl, msg);
}

int netlink_link_remove(struct netlink *nl, int index)
{
	_Alignas(struct nlmsghdr) char buf[NETLINK_REQUEST_SIZE] = {0};
	struct ifinfomsg head = {.ifi_index = index};
	int rc = netlink_run(nl,
			     netlink_request(nl, buf, RTM_DELLINK, NLM_F_ACK, &head, sizeof(head)));

	return rc == -ENODEV ? 0 : rc;
}

static struct tcmsg filter_head(int index)
{
	return (struct tcmsg){
		.tcm_ifindex = index,
		.tcm_parent = TC_H_MAKE(TC_H_INGRESS, 0),
		.tcm_info = TC_H_MAKE((uint32_t)NETLINK_REDIRECT_PRIO << 16, htons(ETH_P_ALL)),
	};
}

static struct tcmsg qdisc_head(int index)
{
	return (struct tcmsg){
		.tcm_ifindex = index,
		.tcm_parent = TC_H_INGRESS,
		.tcm_handle = TC_H_MAKE(TC_H_INGRESS, 0),
	};
}

/* u32 rather than matchall, which not every kernel has: one key that any packet matches. */
static struct nlmsghdr *put_filter(struct netlink *nl, void *buf, int from, int to)
{
	struct tcmsg head = filter_head(from);
	struct tc_mirred redirect = {
		.action = TC_ACT_STOLEN,
		.eaction = TCA_EGRESS_REDIR,
		.ifindex = (uint32_t)to,
	};
	const struct tc_u32_sel sel = {.flags = TC_U32_TERMINAL, .nkeys = 1};
	uint8_t match[sizeof(sel) + sizeof(struct tc_u32_key)] = {0};
	struct nlattr *options, *actions, *action, *parameters;
	struct nlmsghdr *msg;

	memcpy(match, &sel, sizeof(sel));
	msg = netlink_request(nl, buf, RTM_NEWTFILTER, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &head,
			      sizeof(head));
	mnl_attr_put_strz(msg, TCA_KIND, "u32");
	options = mnl_attr_nest_start(msg, TCA_OPTIONS);
	mnl_attr_put(msg, TCA_U32_SEL, sizeof(match), match);
	actions = mnl_attr_nest_start(msg, TCA_U32_ACT);
	action = mnl_attr_nest_start(msg, 1);
	mnl_attr_put_strz(msg, TCA_ACT_KIND, "mirred");
	mnl_attr_put(msg, TCA_ACT_COOKIE, sizeof(cookie) - 1, cookie);
	parameters = mnl_attr_nest_start(msg, TCA_ACT_OPTIONS);
	mnl_attr_put(msg, TCA_MIRRED_PARMS, sizeof(redirect), &redirect);
	mnl_attr_nest_end(msg, parameters);
	mnl_attr_nest_end(msg, action);
	mnl_attr_nest_end(msg, actions);
	mnl_attr_nest_end(msg, options);
	return msg;
}

static int filter_remove(struct netlink *nl, int index, uint32_t handle)
{
	_Alignas(struct nlmsghdr) char buf[NETLINK_REQUEST_SIZE] = {0};
	struct tcmsg head = filter_head(index);
	struct nlmsghdr *msg;

	head.tcm_handle = handle;
	msg = netlink_request(nl, buf, RTM_DELTFILTER, NLM_F_ACK, &head, sizeof(head));
	mnl_attr_put_strz(msg, TCA_KIND, "u32");
	return netlink_run(nl, msg);
}

static int qdisc_remove(struct netlink *nl, int index)
{
	_Alignas(struct nlmsghdr) char buf[NETLINK_REQUEST_SIZE] = {0};
	struct tcmsg head = qdisc_head(index);
	struct nlmsghdr *msg = netlink_request(nl, buf, RTM_DELQDISC, NLM_F_ACK, &head,
					       sizeof(head));

	mnl_attr_put_strz(msg, TCA_KIND, "ingress");
	return netlink_run(nl, msg);
}

struct filters {
	uint32_t ours; /* the handle; 0: there is none */
	bool others;
};

static bool has_cookie(const struct nlattr *options)
{
	const struct nlattr *u32[TCA_U32_ACT + 1], *actions[2], *action[TCA_ACT_COOKIE + 1];
	const struct nlattr *found;

	netlink_nested(options, u32, TCA_U32_ACT);
	netlink_nested(u32[TCA_U32_ACT], actions, 1);
	netlink_nested(actions[1], action, TCA_ACT_COOKIE);
	found = action[TCA_ACT_COOKIE];
	return found && mnl_attr_get_payload_len(found) == sizeof(cookie) - 1 &&
	       memcmp(mnl_attr_get_payload(found), cookie, sizeof(cookie) - 1) == 0;
}

/* u32 lists its hash tables besides its filters: those of our priority say nothing yet. */
static int filter_visit(const struct nlmsghdr *msg, void *data)
{
	const struct tcmsg *tc = mnl_nlmsg_get_payload(msg);
	const struct nlattr *tb[TCA_OPTIONS + 1], *u32[TCA_U32_SEL + 1];
	struct filters *f = data;

	if (msg->nlmsg_type != RTM_NEWTFILTER)
		return 0;
	netlink_attrs(msg, sizeof(*tc), tb, TCA_OPTIONS);
	if (TC_H_MAJ(tc->tcm_info) >> 16 != NETLINK_REDIRECT_PRIO ||
	    !netlink_is(tb[TCA_KIND], "u32")) {
		f->others = true;
		return 0;
	}
	netlink_nested(tb[TCA_OPTIONS], u32, TCA_U32_SEL);
	/* Of two with our cookie the newer, which u32 lists later: the one add() has to undo. */
	if (has_cookie(tb[TCA_OPTIONS]))
		f->ours = tc->tcm_handle;
	else if (u32[TCA_U32_SEL])
		f->others = true;
	return 0;
}

static int redirect_remove(struct netlink *nl, int from, bool keep_qdisc)
{
	struct tcmsg head = {
		.tcm_ifindex = from,
		.tcm_parent = TC_H_MAKE(TC_H_INGRESS, 0),
	};
	struct filters f = {0};
	int rc;

	rc = netlink_dump(nl, RTM_GETTFILTER, &head, sizeof(head), filter_visit, &f);
	if (rc < 0 || !f.ours)
		return rc == -ENODEV || rc == -EINVAL ? 0 : rc;
	rc = f.others || keep_qdisc ? filter_remove(nl, from, f.ours) : qdisc_remove(nl, from);
	return rc == -ENODEV || rc == -ENOENT || rc == -EINVAL ? 0 : rc;
}

int netlink_redirect_remove(struct netlink *nl, int from)
{
	return redirect_remove(nl, from, false);
}

int netlink_redirect_add(struct netlink *nl, int from, int to)
{
	_Alignas(struct nlmsghdr) char buf[BATCH_MAX * NETLINK_REQUEST_SIZE] = {0};
	struct tcmsg head = qdisc_head(from);
	struct nlmsghdr *qdisc, *filter;
	int results[BATCH_MAX], rc;

	qdisc = netlink_request(nl, buf, RTM_NEWQDISC, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &head,
				sizeof(head));
	mnl_attr_put_strz(qdisc, TCA_KIND, "ingress");
	filter = put_filter(nl, buf + NLMSG_ALIGN(qdisc->nlmsg_len), from, to);
	rc = netlink_run_all(nl, buf, NLMSG_ALIGN(qdisc->nlmsg_len) + filter->nlmsg_len, 2,
			     results);
	if (rc < 0)
		return rc;
	/* The kernel goes on after an error: undo the half that worked. */
	if (results[0] < 0) {
		if (!results[1])
			redirect_remove(nl, from, true);
		return results[0];
	}
	if (results[1] < 0)
		qdisc_remove(nl, from);
	return results[1];
}
