// SPDX-License-Identifier: Apache-2.0
#include "cni/function.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "lib/cleanup.h"

#define _cleanup_netlink_ _cleanup_(netlink_close)

/* What the daemon says, as CNI has it: without the daemon, or while it has nothing to lend, it is
 * worth another try. */
static int daemon_error(struct error *err, int rc)
{
	switch (-rc) {
	case ENOENT:
	case EINVAL:
		return cni_recode(err, CNI_CONFIG);
	case EEXIST:
		return cni_recode(err, CNI_EXISTS);
	default:
		return cni_recode(err, CNI_TRY_AGAIN);
	}
}

static int connect_daemon(const struct request *r, struct error *err)
{
	int fd = lease_connect(r->conf.socket, err);

	return fd < 0 ? cni_recode(err, CNI_TRY_AGAIN) : fd;
}

int function_lease(const struct request *r, struct function *ret, struct error *err)
{
	_cleanup_close_ int fd = -1;
	char owner[LEASE_OWNER_MAX + 1];
	struct lease_grant grant;
	struct lease_want want = {
		.owner = owner,
		.function = true,
		.pf = r->conf.pf,
		.kept = true,
		.wait_ms = r->conf.wait_ms,
	};
	int rc;

	if (request_owner(r, owner, sizeof(owner), err) < 0)
		return -err->code;
	fd = connect_daemon(r, err);
	if (fd < 0)
		return fd;
	rc = lease_lease(fd, &want, &grant, err);
	if (rc < 0) {
		daemon_error(err, rc);
		return error_wrap(err, "lease a function");
	}
	*ret = (struct function){.at = grant.function};
	memcpy(ret->lease, grant.id, sizeof(ret->lease));
	memcpy(ret->mac, grant.function.mac, sizeof(ret->mac));
	return 0;
}

/* Locally administered, of one interface. */
static int random_mac(uint8_t ret[6], struct error *err)
{
	if (getrandom(ret, 6, 0) != 6)
		return error_set(err, CNI_IO, "choose a MAC: %s", strerror(errno));
	ret[0] = (uint8_t)((ret[0] & ~1) | 2);
	return 0;
}

static int mtu_visit(const struct nlmsghdr *msg, void *data)
{
	const struct nlattr *tb[IFLA_MTU + 1];

	netlink_attrs(msg, sizeof(struct ifinfomsg), tb, IFLA_MTU);
	if (msg->nlmsg_type == RTM_NEWLINK)
		*(uint32_t *)data = netlink_u32(tb[IFLA_MTU]);
	return 0;
}

static int choose_mtu(const struct request *r, struct netlink *nl, struct function *f,
		      struct error *err)
{
	_Alignas(struct nlmsghdr) char buf[NETLINK_REQUEST_SIZE] = {0};
	struct ifinfomsg head = {0};
	struct nlmsghdr *msg = netlink_request(nl, buf, RTM_GETLINK, NLM_F_ACK, &head,
					       sizeof(head));
	uint32_t mtu = 0;
	int rc;

	mnl_attr_put_strz(msg, IFLA_IFNAME, f->at.pf);
	rc = netlink_ask(nl, msg, mtu_visit, &mtu);
	if (rc < 0)
		return error_set(err, CNI_IO, "physical function '%s': %s", f->at.pf,
				 strerror(-rc));
	if (r->conf.mtu > mtu)
		return error_set(err, CNI_CONFIG,
				 "mtu %u is greater than that of physical function '%s', %u",
				 r->conf.mtu, f->at.pf, mtu);
	f->mtu = r->conf.mtu ? r->conf.mtu : mtu;
	return 0;
}

/*
 * What is wanted, and what is not said but has to hold for a guest nobody trusts: the MAC is set
 * even if it is that already, since the card then keeps the guest to it; spoof check on and trust
 * off where the card has them.
 */
static struct vf wanted(const struct request *r, const struct function *f, const struct vf *now)
{
	struct vf want = r->conf.vf;

	want.has |= VF_MAC;
	memcpy(want.mac, f->mac, sizeof(want.mac));
	if (!(want.has & VF_SPOOFCHK) && now->has & VF_SPOOFCHK) {
		want.has |= VF_SPOOFCHK;
		want.spoofchk = true;
	}
	if (!(want.has & VF_TRUST) && now->has & VF_TRUST)
		want.has |= VF_TRUST;
	return want;
}

/* A function whose physical function has no interface here (one that another host's PF drives, in a
 * VM): what cannot be set must not be asked for. */
static int without_pf(const struct request *r, struct function *f, struct error *err)
{
	static const uint8_t none[6];

	if (r->conf.vf.has)
		return error_set(err, CNI_CONFIG,
				 "function %s has no physical function here: MAC, VLAN, rates, "
				 "spoofchk, trust and link_state cannot be set",
				 f->at.address);
	if (memcmp(f->mac, none, sizeof(none)) == 0)
		return error_set(err, CNI_CONFIG,
				 "function %s has no physical function here, and its MAC is not "
				 "known",
				 f->at.address);
	f->mtu = r->conf.mtu ? r->conf.mtu : 1500;
	return 0;
}

int function_set_up(const struct request *r, struct function *f, struct error *err)
{
	static const uint8_t none[6];
	_cleanup_netlink_ struct netlink nl = {0};
	struct vf now, want;

	if (!*f->at.pf)
		return without_pf(r, f, err);
	if (r->conf.vf.has & VF_MAC)
		memcpy(f->mac, r->conf.vf.mac, sizeof(f->mac));
	else if (memcmp(f->mac, none, sizeof(none)) == 0 && random_mac(f->mac, err) < 0)
		return -err->code;
	if (netlink_open(&nl, err) < 0)
		return cni_recode(err, CNI_IO);
	if (choose_mtu(r, &nl, f, err) < 0)
		return -err->code;
	if (vf_read(&nl, f->at.pf, f->at.vf, &now, err) < 0)
		return cni_recode(err, CNI_IO);
	want = wanted(r, f, &now);
	if (vf_apply(&nl, f->at.pf, f->at.vf, &want, err) < 0)
		return cni_recode(err, CNI_IO);
	return 0;
}

int function_find(const struct request *r, struct function *ret, struct error *err)
{
	_cleanup_close_ int fd = -1;
	char owner[LEASE_OWNER_MAX + 1];
	struct lease_slots slots;
	int rc;

	if (request_owner(r, owner, sizeof(owner), err) < 0)
		return -err->code;
	fd = connect_daemon(r, err);
	if (fd < 0)
		return fd;
	rc = lease_list(fd, owner, &slots, err);
	if (rc < 0)
		return daemon_error(err, rc);
	*ret = (struct function){0};
	for (uint32_t i = 0; i < slots.n; i++) {
		const struct lease_slot *s = &slots.v[i];

		if (!s->kept || !s->lease)
			continue;
		snprintf(ret->lease, sizeof(ret->lease), "%s", s->lease);
		ret->at = s->function;
	}
	arena_done(&slots.arena);
	return *ret->lease ? 0
			   : error_set(err, CNI_DIFFERS,
				       "container '%.128s' has no lease for interface '%s'",
				       r->container, r->ifname);
}

int function_check(const struct request *r, const struct function *f, struct error *err)
{
	_cleanup_netlink_ struct netlink nl = {0};
	struct vf now, want;
	const char *differs;
	char text[96];

	if (!*f->at.pf)
		return 0;
	if (netlink_open(&nl, err) < 0 || vf_read(&nl, f->at.pf, f->at.vf, &now, err) < 0)
		return cni_recode(err, CNI_IO);
	want = wanted(r, f, &now);
	differs = vf_differs(&want, &now, text, sizeof(text));
	if (differs)
		return error_set(err, CNI_DIFFERS, "virtual function %u of '%s' has %s", f->at.vf,
				 f->at.pf, differs);
	return 0;
}

static int give_back(const struct request *r, const char *owner, struct error *err)
{
	_cleanup_close_ int fd = connect_daemon(r, err);
	int rc;

	if (fd < 0)
		return fd;
	rc = lease_release(fd, NULL, owner, err);
	return rc < 0 ? cni_recode(err, CNI_TRY_AGAIN) : 0;
}

int function_return(const struct request *r, struct error *err)
{
	char owner[LEASE_OWNER_MAX + 1];

	/* An owner that cannot be written down has no lease. */
	if (request_owner(r, owner, sizeof(owner), err) < 0) {
		*err = (struct error){0};
		return 0;
	}
	return give_back(r, owner, err);
}

int function_return_of(struct request *r, const struct attachment *of, struct error *err)
{
	struct request other = *r;

	other.container = of->container;
	other.ifname = of->ifname;
	return function_return(&other, err);
}

int function_attachments(struct request *r, struct attachment **ret, uint32_t *ret_n,
			 struct error *err)
{
	_cleanup_close_ int fd = connect_daemon(r, err);
	struct lease_slots slots;
	uint32_t n = 0;
	int rc;

	if (fd < 0)
		return fd;
	rc = lease_list(fd, NULL, &slots, err);
	if (rc < 0)
		return cni_recode(err, CNI_TRY_AGAIN);
	*ret = arena_alloc(&r->conf.arena, (slots.n + 1) * sizeof(**ret));
	for (uint32_t i = 0; i < slots.n && *ret; i++) {
		const struct lease_slot *s = &slots.v[i];

		if (s->kept && s->owner && request_owner_parse(r, s->owner, &(*ret)[n]))
			n++;
	}
	arena_done(&slots.arena);
	*ret_n = n;
	return *ret ? 0 : error_set(err, CNI_IO, "out of memory");
}

static bool is_lendable(const struct request *r, const struct lease_slot *s)
{
	const char *pf = r->conf.pf;

	return *s->function.address && s->state != SLOT_QUARANTINED && !s->drained &&
	       /* An address of a physical function is the daemon's to resolve. */
	       (!pf || strchr(pf, ':') || strcmp(pf, s->function.pf) == 0);
}

int function_status(const struct request *r, struct error *err)
{
	_cleanup_close_ int fd = connect_daemon(r, err);
	struct lease_slots slots;
	uint32_t n = 0;

	if (fd < 0)
		return cni_recode(err, CNI_UNAVAILABLE);
	if (lease_list(fd, NULL, &slots, err) < 0)
		return cni_recode(err, CNI_UNAVAILABLE);
	for (uint32_t i = 0; i < slots.n; i++)
		n += is_lendable(r, &slots.v[i]);
	arena_done(&slots.arena);
	return n ? 0
		 : error_set(err, CNI_UNAVAILABLE, "caissond has no functions%s%s to lend",
			     r->conf.pf ? " of " : "", r->conf.pf ? r->conf.pf : "");
}
