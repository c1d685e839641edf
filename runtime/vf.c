// SPDX-License-Identifier: Apache-2.0
#include "runtime/vf.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

struct reading {
	uint32_t number;
	bool found;
	struct vf *vf;
};

/* Bytes of an attribute; those that are not there are zero. */
static bool get(const struct nlattr *attr, void *ret, size_t size)
{
	if (!attr || mnl_attr_get_payload_len(attr) < size)
		return false;
	memcpy(ret, mnl_attr_get_payload(attr), size);
	return true;
}

static void read_vlan(const struct nlattr *const *tb, struct vf *vf)
{
	const struct nlattr *list[IFLA_VF_VLAN_INFO + 1];
	struct ifla_vf_vlan_info info;
	struct ifla_vf_vlan plain;

	netlink_nested(tb[IFLA_VF_VLAN_LIST], list, IFLA_VF_VLAN_INFO);
	if (get(list[IFLA_VF_VLAN_INFO], &info, sizeof(info))) {
		vf->vlan = (uint16_t)info.vlan;
		vf->qos = (uint8_t)info.qos;
		vf->vlan_proto = ntohs(info.vlan_proto);
	} else if (get(tb[IFLA_VF_VLAN], &plain, sizeof(plain))) {
		vf->vlan = (uint16_t)plain.vlan;
		vf->qos = (uint8_t)plain.qos;
	} else {
		return;
	}
	if (!vf->vlan_proto)
		vf->vlan_proto = ETH_P_8021Q;
	vf->has |= VF_VLAN;
}

static void read_info(const struct nlattr *const *tb, struct vf *vf)
{
	struct ifla_vf_link_state link;
	struct ifla_vf_spoofchk spoof;
	struct ifla_vf_trust trust;
	struct ifla_vf_rate rate;
	struct ifla_vf_mac mac;

	if (get(tb[IFLA_VF_MAC], &mac, sizeof(mac))) {
		memcpy(vf->mac, mac.mac, sizeof(vf->mac));
		vf->has |= VF_MAC;
	}
	read_vlan(tb, vf);
	if (get(tb[IFLA_VF_RATE], &rate, sizeof(rate))) {
		vf->min_rate = rate.min_tx_rate;
		vf->max_rate = rate.max_tx_rate;
		vf->has |= VF_RATE;
	}
	/* (uint32_t)-1: the driver has no such thing. */
	if (get(tb[IFLA_VF_SPOOFCHK], &spoof, sizeof(spoof)) && spoof.setting <= 1) {
		vf->spoofchk = spoof.setting;
		vf->has |= VF_SPOOFCHK;
	}
	if (get(tb[IFLA_VF_TRUST], &trust, sizeof(trust)) && trust.setting <= 1) {
		vf->trust = trust.setting;
		vf->has |= VF_TRUST;
	}
	if (get(tb[IFLA_VF_LINK_STATE], &link, sizeof(link))) {
		vf->link_state = link.link_state;
		vf->has |= VF_LINK_STATE;
	}
}

static int link_visit(const struct nlmsghdr *msg, void *data)
{
	const struct nlattr *tb[IFLA_VFINFO_LIST + 1], *info[__IFLA_VF_MAX], *attr;
	struct reading *r = data;
	struct ifla_vf_mac mac;

	if (msg->nlmsg_type != RTM_NEWLINK)
		return 0;
	netlink_attrs(msg, sizeof(struct ifinfomsg), tb, IFLA_VFINFO_LIST);
	if (!tb[IFLA_VFINFO_LIST])
		return 0;
	mnl_attr_for_each_nested(attr, tb[IFLA_VFINFO_LIST])
	{
		if (mnl_attr_get_type(attr) != IFLA_VF_INFO)
			continue;
		netlink_nested(attr, info, __IFLA_VF_MAX - 1);
		if (!get(info[IFLA_VF_MAC], &mac, sizeof(mac)) || mac.vf != r->number)
			continue;
		r->found = true;
		read_info(info, r->vf);
		return 0;
	}
	return 0;
}

int vf_read(struct netlink *nl, const char *pf, uint32_t number, struct vf *ret, struct error *err)
{
	_Alignas(struct nlmsghdr) char buf[NETLINK_REQUEST_SIZE] = {0};
	struct ifinfomsg head = {0};
	struct nlmsghdr *msg = netlink_request(nl, buf, RTM_GETLINK, NLM_F_ACK, &head,
					       sizeof(head));
	struct reading r = {.number = number, .vf = ret};
	int rc;

	*ret = (struct vf){0};
	mnl_attr_put_strz(msg, IFLA_IFNAME, pf);
	mnl_attr_put_u32(msg, IFLA_EXT_MASK, RTEXT_FILTER_VF | RTEXT_FILTER_SKIP_STATS);
	rc = netlink_ask(nl, msg, link_visit, &r);
	if (rc < 0)
		return error_set(err, -rc, "physical function '%s': %s", pf, strerror(-rc));
	if (!r.found)
		return error_set(err, ENXIO, "interface '%s' has no virtual function %u", pf,
				 number);
	return 0;
}

static const char *text_of(uint32_t what, const struct vf *vf, char *buf, size_t size)
{
	static const char *const states[] = {"auto", "enable", "disable"};

	switch (what) {
	case VF_MAC:
		snprintf(buf, size, "MAC %02x:%02x:%02x:%02x:%02x:%02x", vf->mac[0], vf->mac[1],
			 vf->mac[2], vf->mac[3], vf->mac[4], vf->mac[5]);
		break;
	case VF_VLAN:
		snprintf(buf, size, "VLAN %u (priority %u, protocol 802.1%s)", vf->vlan, vf->qos,
			 vf->vlan_proto == ETH_P_8021AD ? "ad" : "Q");
		break;
	case VF_RATE:
		snprintf(buf, size, "rates from %u to %u Mbit/s", vf->min_rate, vf->max_rate);
		break;
	case VF_SPOOFCHK:
		snprintf(buf, size, "spoof check %s", vf->spoofchk ? "on" : "off");
		break;
	case VF_TRUST:
		snprintf(buf, size, "trust %s", vf->trust ? "on" : "off");
		break;
	case VF_LINK_STATE:
		snprintf(buf, size, "link state %s", states[vf->link_state % 3]);
		break;
	}
	return buf;
}

static void put(struct nlmsghdr *msg, uint32_t what, uint32_t number, const struct vf *vf)
{
	switch (what) {
	case VF_MAC: {
		struct ifla_vf_mac x = {.vf = number};

		memcpy(x.mac, vf->mac, sizeof(vf->mac));
		mnl_attr_put(msg, IFLA_VF_MAC, sizeof(x), &x);
		break;
	}
	case VF_VLAN: {
		const struct ifla_vf_vlan_info x = {.vf = number,
						    .vlan = vf->vlan,
						    .qos = vf->qos,
						    .vlan_proto = htons(vf->vlan_proto)};
		struct nlattr *list = mnl_attr_nest_start(msg, IFLA_VF_VLAN_LIST);

		mnl_attr_put(msg, IFLA_VF_VLAN_INFO, sizeof(x), &x);
		mnl_attr_nest_end(msg, list);
		break;
	}
	case VF_RATE: {
		const struct ifla_vf_rate x = {number, vf->min_rate, vf->max_rate};

		mnl_attr_put(msg, IFLA_VF_RATE, sizeof(x), &x);
		break;
	}
	case VF_SPOOFCHK: {
		const struct ifla_vf_spoofchk x = {number, vf->spoofchk};

		mnl_attr_put(msg, IFLA_VF_SPOOFCHK, sizeof(x), &x);
		break;
	}
	case VF_TRUST: {
		const struct ifla_vf_trust x = {number, vf->trust};

		mnl_attr_put(msg, IFLA_VF_TRUST, sizeof(x), &x);
		break;
	}
	case VF_LINK_STATE: {
		const struct ifla_vf_link_state x = {number, vf->link_state};

		mnl_attr_put(msg, IFLA_VF_LINK_STATE, sizeof(x), &x);
		break;
	}
	}
}

/* One thing per message, so that an error says which. */
static int set(struct netlink *nl, const char *pf, uint32_t number, uint32_t what,
	       const struct vf *vf)
{
	_Alignas(struct nlmsghdr) char buf[NETLINK_REQUEST_SIZE] = {0};
	struct ifinfomsg head = {0};
	struct nlmsghdr *msg = netlink_request(nl, buf, RTM_NEWLINK, NLM_F_ACK, &head,
					       sizeof(head));
	struct nlattr *list, *info;

	mnl_attr_put_strz(msg, IFLA_IFNAME, pf);
	list = mnl_attr_nest_start(msg, IFLA_VFINFO_LIST);
	info = mnl_attr_nest_start(msg, IFLA_VF_INFO);
	put(msg, what, number, vf);
	mnl_attr_nest_end(msg, info);
	mnl_attr_nest_end(msg, list);
	return netlink_run(nl, msg);
}

static bool same(uint32_t what, const struct vf *a, const struct vf *b)
{
	if (!(a->has & b->has & what))
		return false;
	switch (what) {
	case VF_MAC:
		return memcmp(a->mac, b->mac, sizeof(a->mac)) == 0;
	case VF_VLAN:
		return a->vlan == b->vlan && a->qos == b->qos && a->vlan_proto == b->vlan_proto;
	case VF_RATE:
		return a->min_rate == b->min_rate && a->max_rate == b->max_rate;
	case VF_SPOOFCHK:
		return a->spoofchk == b->spoofchk;
	case VF_TRUST:
		return a->trust == b->trust;
	case VF_LINK_STATE:
		return a->link_state == b->link_state;
	}
	return false;
}

int vf_apply(struct netlink *nl, const char *pf, uint32_t number, const struct vf *vf,
	     struct error *err)
{
	char text[96];
	struct vf now;

	if (vf_read(nl, pf, number, &now, err) < 0)
		return -err->code;
	for (uint32_t what = VF_MAC; what <= VF_LINK_STATE; what <<= 1) {
		int rc;

		/* One that the guest chose itself looks the same, and is not enforced. */
		if (!(vf->has & what) || (what != VF_MAC && same(what, vf, &now)))
			continue;
		rc = set(nl, pf, number, what, vf);
		if (rc < 0)
			return error_set(err, -rc, "set %s of virtual function %u of '%s': %s",
					 text_of(what, vf, text, sizeof(text)), number, pf,
					 strerror(-rc));
	}
	return 0;
}

const char *vf_differs(const struct vf *want, const struct vf *now, char *buf, size_t size)
{
	for (uint32_t what = VF_MAC; what <= VF_LINK_STATE; what <<= 1)
		if (want->has & what && !same(what, want, now))
			return now->has & what ? text_of(what, now, buf, size) : "nothing told";
	return NULL;
}
