/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Route netlink: one socket, requests with acknowledgement, dumps, and the few
 * changes that network.c makes: a link's MTU and state, a link's removal, and the
 * redirection of all frames that come in at one interface to another.  Others make
 * requests of their own with netlink_request() and libmnl.
 *
 * Trust: only the kernel writes to this socket; lengths of attributes are checked
 * all the same, as kernels differ.  The socket belongs to the network namespace it
 * was opened in and stays there.
 *
 * Source: linux/rtnetlink.h, linux/if_link.h, linux/pkt_cls.h, linux/pkt_sched.h;
 * net/core/rtnetlink.c, net/sched/{sch_api,cls_api,cls_u32,act_mirred}.c.
 */
#ifndef CAISSON_RUNTIME_NETLINK_H
#define CAISSON_RUNTIME_NETLINK_H

#include <libmnl/libmnl.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/error.h"

struct netlink {
	struct mnl_socket *socket;
	uint32_t seq;
};

/* Opens a socket in the present network namespace.  0 or -errno with err set. */
int netlink_open(struct netlink *ret, struct error *err);
void netlink_close(struct netlink *nl);

/* One message of a dump.  0, or -errno, which ends the dump and is what it returns. */
typedef int netlink_visit(const struct nlmsghdr *msg, void *data);

/*
 * Calls visit for every message of the dump `type` (RTM_GET*), asked for with the head_size bytes
 * of head.  0 or -errno; -EINTR: something changed meanwhile and the dump is not to be believed.
 */
int netlink_dump(struct netlink *nl, uint16_t type, const void *head, size_t head_size,
		 netlink_visit *visit, void *data);

/*
 * A request in buf, which has NETLINK_REQUEST_SIZE zeroed bytes and the alignment of struct
 * nlmsghdr: header, NLM_F_REQUEST | flags, and the head_size bytes of head; attributes may be put
 * behind.
 */
struct nlmsghdr *netlink_request(struct netlink *nl, void *buf, uint16_t type, uint16_t flags,
				 const void *head, size_t head_size);
/* Sends a request made with NLM_F_ACK and takes the kernel's answer.  0 or -errno. */
int netlink_run(struct netlink *nl, const struct nlmsghdr *msg);
/* The same for a request about one thing; visit is called for what the kernel tells about it. */
int netlink_ask(struct netlink *nl, const struct nlmsghdr *msg, netlink_visit *visit, void *data);
/*
 * Sends `count` requests, made one after the other since the last of another kind, which lie in
 * size bytes as NLMSG_ALIGN() spaces them, in one system call; results[i] is the answer to the
 * i-th (0 or -errno): the kernel goes on after an error.  0, or -errno when there are no answers.
 */
int netlink_run_all(struct netlink *nl, const void *msgs, size_t size, int count, int *results);

#define NETLINK_REQUEST_SIZE 2048

/* The attributes with numbers up to max, after a head of head_size bytes or inside a nest.
 * tb has max + 1 places; those not there become NULL. */
void netlink_attrs(const struct nlmsghdr *msg, size_t head_size, const struct nlattr **tb,
		   uint16_t max);
void netlink_nested(const struct nlattr *nest, const struct nlattr **tb, uint16_t max);
/* The value, or 0 when it is not there (or too short). */
uint32_t netlink_u32(const struct nlattr *attr);
/* Whether the attribute is there and is this string. */
bool netlink_is(const struct nlattr *attr, const char *text);

/*
 * Makes a tap, which nobody gave addresses to, ready: MTU, no IPv6 link-local address of the
 * namespace's own kernel (it would talk to the guest), up.  0 or -errno.
 */
int netlink_tap_up(struct netlink *nl, int index, uint32_t mtu);
/* 0 or -errno; a link that is gone is success. */
int netlink_link_remove(struct netlink *nl, int index);

/*
 * Sends every frame that comes in at interface `from` out of interface `to`: an ingress qdisc and
 * one filter, with NETLINK_REDIRECT_PRIO and a cookie by which redirect_remove() knows it.
 * The two are one system call, so no crash of ours leaves one without the other.
 * 0 or -errno; -EEXIST: there is an ingress qdisc already, and it was left as it was.
 */
int netlink_redirect_add(struct netlink *nl, int from, int to);
/*
 * Removes that filter, and the qdisc unless somebody else put filters there too.  Touches nothing
 * that redirect_add() did not make.  0 (also when there is nothing) or -errno.
 */
int netlink_redirect_remove(struct netlink *nl, int from);

#define NETLINK_REDIRECT_PRIO 0xca15

#endif
