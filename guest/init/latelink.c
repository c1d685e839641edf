// SPDX-License-Identifier: Apache-2.0
#include "guest/init/latelink.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "guest/init/channel.h"
#include "guest/init/container.h"
#include "guest/init/errand.h"
#include "guest/init/kmsg.h"
#include "guest/init/loop.h"
#include "guest/init/network.h"
#include "lib/cleanup.h"

struct late {
	const struct spec_nic *nic;
	int index; /* of the link; 0: it is not there */
	bool configured;
	bool running;	      /* it is up and has a carrier */
	struct error why;     /* code: it could not be configured */
	struct errand errand; /* configures the link `at` */
	int at;
};

/* A start that waits. */
struct held {
	struct held *next;
	uint32_t session;
	char *container;
};

static struct late *lates;
static uint32_t lates_n;
static uint32_t wait_ms;
static struct held *helds;
static struct timer deadline;

/* The first that is not up, or NULL. */
static const struct late *first_missing(void)
{
	for (uint32_t i = 0; i < lates_n; i++)
		if (!lates[i].configured || !lates[i].running)
			return &lates[i];
	return NULL;
}

static void held_done(struct held *h)
{
	free(h->container);
	free(h);
}

static void release_all(const struct error *failure)
{
	struct held *list = helds;

	helds = NULL;
	timer_stop(&deadline);
	while (list) {
		struct held *h = list;
		struct error err = {0};

		list = h->next;
		if (failure)
			err = *failure;
		else
			container_start(h->session, h->container, &err);
		if (err.code)
			channel_result(h->session, err.code, err.text);
		held_done(h);
	}
}

/* What the waiting is over with: a link that cannot be configured will not be up either. */
static void settle(void)
{
	const struct late *missing = first_missing();

	if (!missing)
		release_all(NULL);
	else if (missing->why.code)
		release_all(&missing->why);
}

static void on_deadline(struct timer *t)
{
	const struct late *l = first_missing();
	const uint8_t *m = l ? l->nic->mac : NULL;
	struct error err = {0};

	(void)t;
	if (!l)
		return;
	if (l->index)
		error_set(&err, ETIMEDOUT, "network interface '%s' %s after %u ms", l->nic->name,
			  l->configured ? "has no carrier" : "is still being configured", wait_ms);
	else
		error_set(&err, ETIMEDOUT,
			  "network interface '%s' (MAC %02x:%02x:%02x:%02x:%02x:%02x) is not there "
			  "after %u ms",
			  l->nic->name, m[0], m[1], m[2], m[3], m[4], m[5], wait_ms);
	release_all(&err);
}

static void fail(struct late *l, const struct error *err)
{
	l->why = *err;
	error_wrap(&l->why, "network interface '%s'", l->nic->name);
	kmsg_line("%s", l->why.text);
}

/* In a process of its own: drivers sleep until their card is up. */
static int work(const void *arg, struct error *err)
{
	const struct late *l = arg;
	_cleanup_close_ int nl = network_open(err);

	return nl < 0 ? nl : network_configure(nl, l->at, l->nic, err);
}

static void configure(struct late *l)
{
	struct error err = {0};

	l->at = l->index;
	if (errand_send(&l->errand, work, l, &err) < 0)
		fail(l, &err);
}

static void on_configured(struct errand *e, const struct error *err)
{
	struct late *l = container_of(e, struct late, errand);

	if (l->index && l->index != l->at) {
		configure(l); /* that one is gone, and another is there */
	} else if (l->index) {
		l->configured = !err->code;
		if (err->code)
			fail(l, err);
	}
	if (helds)
		settle();
}

static void appear(struct late *l, int index)
{
	l->index = index;
	l->configured = l->running = false;
	l->why = (struct error){0};
	if (!errand_is_out(&l->errand))
		configure(l);
}

static void on_link(const struct nlmsghdr *h)
{
	const struct ifinfomsg *i = NLMSG_DATA(h);
	bool gone = h->nlmsg_type == RTM_DELLINK;

	if ((h->nlmsg_type != RTM_NEWLINK && !gone) || i->ifi_family != AF_UNSPEC)
		return;
	for (uint32_t n = 0; n < lates_n; n++) {
		struct late *l = &lates[n];

		/* Only while it is not there: what containers stack on it has its MAC, too. */
		if (!gone && !l->index && network_link_has_mac(h, l->nic->mac))
			appear(l, i->ifi_index);
		if (l->index != i->ifi_index)
			continue;
		if (gone)
			l->index = 0;
		l->running = !gone && i->ifi_flags & IFF_UP && i->ifi_flags & IFF_RUNNING;
	}
}

/* Asks for all links as they are; the answers look like events and are handled as such. */
static int ask_for_all(int fd)
{
	struct {
		struct nlmsghdr h;
		struct ifinfomsg i;
	} r = {
		.h =
			{
				.nlmsg_len = sizeof(r),
				.nlmsg_type = RTM_GETLINK,
				.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
			},
	};

	return send(fd, &r, sizeof(r), 0) < 0 ? -errno : 0;
}

/* Events were lost: of which links, nobody knows. */
static void start_over(int fd)
{
	char name[IFNAMSIZ];

	for (uint32_t i = 0; i < lates_n; i++)
		if (lates[i].index && !if_indextoname((unsigned int)lates[i].index, name))
			lates[i].index = 0;
	ask_for_all(fd);
}

static void on_events(struct watch *w, uint32_t events)
{
	static uint8_t buf[16384];
	ssize_t n;

	(void)events;
	for (;;) {
		const struct nlmsghdr *h = (void *)buf;
		uint32_t left;

		n = recv(w->fd, buf, sizeof(buf), 0);
		if (n < 0 && errno == ENOBUFS)
			start_over(w->fd);
		else if (n <= 0)
			break;
		left = n > 0 ? (uint32_t)n : 0;
		for (; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left))
			on_link(h);
	}
	if (helds)
		settle();
}

/* The nics outlive the message that brought them. */
static int keep(const struct spec_sandbox *s, struct error *err)
{
	static struct spec_sandbox kept;
	static struct msg decoded; /* owns what kept points to */
	struct spec_sandbox part = {.nics = s->nics, .nics_n = s->nics_n};
	struct msg m;

	msg_init_encode(&m);
	spec_sandbox_codec(&m, &part);
	msg_init_decode(&decoded, m.data, m.size);
	spec_sandbox_codec(&decoded, &kept);
	if (msg_finish(&decoded) < 0 || !(lates = calloc(s->nics_n, sizeof(*lates))))
		error_set(err, ENOMEM, "out of memory");
	msg_done(&m);
	for (uint32_t i = 0; i < kept.nics_n && !err->code; i++)
		if (kept.nics[i].late)
			lates[lates_n++] = (struct late){.nic = &kept.nics[i],
							 .errand = {.done = on_configured}};
	return -err->code;
}

int latelink_watch(const struct spec_sandbox *s, struct error *err)
{
	static struct watch watch = {.ready = on_events};
	struct sockaddr_nl addr = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK};
	bool any = false;

	for (uint32_t i = 0; i < s->nics_n; i++)
		any |= s->nics[i].late;
	if (!any)
		return 0;
	wait_ms = s->network_wait_ms;
	deadline.fire = on_deadline;
	if (keep(s, err) < 0)
		return -err->code;
	watch.fd = network_open(err);
	if (watch.fd < 0)
		return -err->code;
	if (fcntl(watch.fd, F_SETFL, O_NONBLOCK) < 0 ||
	    bind(watch.fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    loop_add(&watch, EPOLLIN) < 0 || ask_for_all(watch.fd) < 0)
		return error_errno(err, "watch for network interfaces");
	on_events(&watch, 0); /* of those that are there */
	return 0;
}

bool latelink_hold_start(uint32_t session, const char *container)
{
	struct held *h;

	if (!wait_ms || !container || !first_missing())
		return false;
	h = calloc(1, sizeof(*h));
	if (!h || !(h->container = strdup(container))) {
		free(h);
		return false;
	}
	h->session = session;
	if (!helds)
		timer_start(&deadline, wait_ms);
	h->next = helds;
	helds = h;
	settle();
	return true;
}

void latelink_forget_start(uint32_t session)
{
	for (struct held **p = &helds; *p; p = &(*p)->next)
		if ((*p)->session == session) {
			struct held *h = *p;

			*p = h->next;
			held_done(h);
			break;
		}
	if (!helds)
		timer_stop(&deadline);
}
