// SPDX-License-Identifier: Apache-2.0
#include "cni/netconf.h"

#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/lease.h"

#define NAME_MAX_LEN 128
#define WAIT_DEFAULT_S 20
#define OWNER_PREFIX "cni/"
#define MTU_MAX 65535

const char *const cni_versions[CNI_VERSIONS] = {"0.3.1", "0.4.0", "1.0.0", "1.1.0"};

const char *const cni_commands[CNI_COMMANDS] = {
	[CNI_ADD] = "ADD", [CNI_DEL] = "DEL",	    [CNI_CHECK] = "CHECK",
	[CNI_GC] = "GC",   [CNI_STATUS] = "STATUS", [CNI_VERSION] = "VERSION",
};

/* What a configuration may have; a misspelt key must not be one that silently does nothing. */
static const char *const known_keys[] = {
	/* the specification's, and what runtimes put in or leave in */
	"args", "capabilities", "cniVersion", "cniVersions", "cni.dev/attachments",
	"cni.dev/valid-attachments", "disableCheck", "disableGC", "dns", "ipam", "name",
	"prevResult", "runtimeConfig", "type",
	/* ours */
	"link_state", "mac", "max_tx_rate", "min_tx_rate", "mtu", "pf", "socket", "spoofchk",
	"trust", "vlan", "vlanProto", "vlanQoS", "wait"};

/* What the specification calls a name: container, network. */
static bool is_name(const char *s)
{
	static const char alnum[] = "abcdefghijklmnopqrstuvwxyz"
				    "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

	if (!*s || strspn(s, alnum) == 0)
		return false;
	for (; *s; s++)
		if (!strchr(alnum, *s) && !strchr("_.-", *s))
			return false;
	return true;
}

static bool is_ifname(const char *s)
{
	size_t n = strlen(s);

	if (n == 0 || n >= IFNAMSIZ || strcmp(s, ".") == 0 || strcmp(s, "..") == 0)
		return false;
	for (; *s; s++)
		if (*s <= ' ' || *s > '~' || *s == '/' || *s == ':')
			return false;
	return true;
}

bool netconf_parse_mac(const char *text, uint8_t ret[6])
{
	unsigned int x[6];
	int end = 0;

	if (strlen(text) != 17 || strspn(text, "0123456789abcdefABCDEF:") != 17 ||
	    sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%n", &x[0], &x[1], &x[2], &x[3], &x[4], &x[5],
		   &end) != 6 ||
	    end != 17)
		return false;
	for (int i = 0; i < 6; i++)
		ret[i] = (uint8_t)x[i];
	return !(ret[0] & 1) && memcmp(ret, "\0\0\0\0\0", 6) != 0;
}

static int set_mac(struct netconf *c, const char *text, const char *where, struct error *err)
{
	if (!text)
		return 0;
	if (!netconf_parse_mac(text, c->vf.mac))
		return error_set(err, CNI_CONFIG, "%s '%.64s' is not the MAC of one interface",
				 where, text);
	c->vf.has |= VF_MAC;
	return 0;
}

static int read_macs(struct doc *d, struct netconf *c, struct error *err)
{
	struct json_object *rt = doc_object(d, c->tree, "runtimeConfig");
	struct json_object *args = doc_object(d, c->tree, "args");
	size_t mark;
	char *mac;

	/* From what all have in common to what was asked for this one. */
	mac = doc_string(d, c->tree, "mac");
	if (!d->rc && set_mac(c, mac, "mac", err) < 0)
		return -err->code;
	mark = doc_enter(d, "args.cni");
	mac = doc_string(d, doc_object(d, args, "cni"), "mac");
	doc_leave(d, mark);
	if (!d->rc && set_mac(c, mac, "args.cni.mac", err) < 0)
		return -err->code;
	mark = doc_enter(d, "runtimeConfig");
	mac = doc_string(d, rt, "mac");
	doc_leave(d, mark);
	if (!d->rc && set_mac(c, mac, "runtimeConfig.mac", err) < 0)
		return -err->code;
	return 0;
}

/* One of up to three words, by its number; -1: absent. */
static int read_word(struct doc *d, struct json_object *o, const char *name, const char *a,
		     const char *b, const char *c)
{
	const char *const words[] = {a, b, c};
	char *text = doc_string(d, o, name);

	if (d->rc || !text)
		return -1;
	for (int i = 0; i < 3 && words[i]; i++)
		if (strcmp(text, words[i]) == 0)
			return i;
	doc_fail(d, EINVAL, name, "'%.64s' is not one of %s, %s%s%s", text, a, b, c ? ", " : "",
		 c ? c : "");
	return -1;
}

static void read_vlan(struct doc *d, struct netconf *c)
{
	struct vf *vf = &c->vf;
	int proto;

	vf->vlan = (uint16_t)doc_int(d, c->tree, "vlan", 0, 4094, 0);
	vf->qos = (uint8_t)doc_int(d, c->tree, "vlanQoS", 0, 7, 0);
	proto = read_word(d, c->tree, "vlanProto", "802.1q", "802.1ad", NULL);
	vf->vlan_proto = proto == 1 ? ETH_P_8021AD : ETH_P_8021Q;
	if (doc_has(d, c->tree, "vlan"))
		vf->has |= VF_VLAN;
	if (!vf->vlan && (vf->qos || proto == 1))
		doc_fail(d, EINVAL, vf->qos ? "vlanQoS" : "vlanProto", "needs a vlan");
}

static void read_rates(struct doc *d, struct netconf *c)
{
	struct vf *vf = &c->vf;

	vf->min_rate = (uint32_t)doc_int(d, c->tree, "min_tx_rate", 0, INT32_MAX, 0);
	vf->max_rate = (uint32_t)doc_int(d, c->tree, "max_tx_rate", 0, INT32_MAX, 0);
	if (doc_has(d, c->tree, "min_tx_rate") || doc_has(d, c->tree, "max_tx_rate"))
		vf->has |= VF_RATE;
	if (vf->max_rate && vf->min_rate > vf->max_rate)
		doc_fail(d, EINVAL, "min_tx_rate", "%u is greater than max_tx_rate %u",
			 vf->min_rate, vf->max_rate);
}

static void read_switches(struct doc *d, struct netconf *c)
{
	static const uint32_t states[] = {IFLA_VF_LINK_STATE_AUTO, IFLA_VF_LINK_STATE_ENABLE,
					  IFLA_VF_LINK_STATE_DISABLE};
	int n;

	n = read_word(d, c->tree, "spoofchk", "off", "on", NULL);
	c->vf.spoofchk = n == 1;
	c->vf.has |= n >= 0 ? VF_SPOOFCHK : 0;
	n = read_word(d, c->tree, "trust", "off", "on", NULL);
	c->vf.trust = n == 1;
	c->vf.has |= n >= 0 ? VF_TRUST : 0;
	n = read_word(d, c->tree, "link_state", "auto", "enable", "disable");
	c->vf.link_state = n >= 0 ? states[n] : 0;
	c->vf.has |= n >= 0 ? VF_LINK_STATE : 0;
}

static int check_keys(struct netconf *c, struct error *err)
{
	json_object_object_foreach (c->tree, key, value) {
		bool known = false;

		(void)value;
		if (strcmp(key, "deviceID") == 0)
			return error_set(err, CNI_FIELD_UNSUPPORTED,
					 "deviceID: which function a pod gets is caissond's choice "
					 "(of those of the key pf), not a device plug-in's");
		for (size_t i = 0; i < ARRAY_SIZE(known_keys); i++)
			known |= strcmp(known_keys[i], key) == 0;
		if (!known)
			return error_set(err, CNI_FIELD_UNSUPPORTED, "'%.64s' is not known", key);
	}
	return 0;
}

static void read_ipam(struct doc *d, struct netconf *c)
{
	struct json_object *ipam = doc_object(d, c->tree, "ipam");
	size_t mark = doc_enter(d, "ipam");

	if (ipam && json_object_object_length(ipam))
		c->ipam = doc_string_required(d, ipam, "type");
	if (c->ipam && (strchr(c->ipam, '/') || c->ipam[0] == '.'))
		doc_fail(d, EINVAL, "type", "'%.64s' is not the name of a plugin", c->ipam);
	if (c->ipam && strcmp(c->ipam, "dhcp") == 0)
		doc_fail(d, EOPNOTSUPP, "type",
			 "'dhcp' needs an interface that can send before the sandbox has started, "
			 "and a function sends only in the guest: use another IPAM plugin");
	doc_leave(d, mark);
}

static void read_previous(struct doc *d, struct netconf *c)
{
	struct json_object *o = doc_object(d, c->tree, "prevResult");
	size_t mark;

	if (!o)
		return;
	mark = doc_enter(d, "prevResult");
	result_read(d, o, &c->previous);
	doc_leave(d, mark);
	c->has_previous = true;
}

/* Two names: a mistake in the specification made some runtimes write the second only. */
static void read_valid(struct doc *d, struct netconf *c)
{
	const char *key = "cni.dev/valid-attachments";
	struct json_object *list;

	if (!doc_has(d, c->tree, key))
		key = "cni.dev/attachments";
	list = doc_array(d, c->tree, key, &c->valid_n);
	if (!list && !d->rc)
		doc_fail(d, EINVAL, "cni.dev/valid-attachments", "is missing");
	if (!c->valid_n)
		return;
	c->valid = doc_alloc(d, c->valid_n, sizeof(*c->valid));
	for (uint32_t i = 0; i < c->valid_n && !d->rc; i++) {
		size_t mark = doc_enter_index(d, key, i);
		struct json_object *e = doc_element(d, list, i);

		c->valid[i].container = doc_string_required(d, e, "containerID");
		c->valid[i].ifname = doc_string_required(d, e, "ifname");
		doc_leave(d, mark);
	}
}

static int read_config(struct doc *d, struct request *r, struct error *err)
{
	struct netconf *c = &r->conf;

	if (check_keys(c, err) < 0)
		return -err->code;
	c->socket = doc_path(d, c->tree, "socket");
	c->pf = doc_string(d, c->tree, "pf");
	if (c->pf && strlen(c->pf) > LEASE_NAME_MAX)
		doc_fail(d, ENAMETOOLONG, "pf", "'%.64s' is too long", c->pf);
	c->wait_ms = 1000 * (uint32_t)doc_int(d, c->tree, "wait", 0, LEASE_WAIT_MAX_MS / 1000,
					      WAIT_DEFAULT_S);
	c->mtu = (uint32_t)doc_int(d, c->tree, "mtu", 68, MTU_MAX, 0);
	read_vlan(d, c);
	read_rates(d, c);
	read_switches(d, c);
	read_ipam(d, c);
	c->dns = doc_object(d, c->tree, "dns");
	if (r->command == CNI_ADD && doc_has(d, c->tree, "prevResult"))
		doc_fail(d, EINVAL, "prevResult",
			 "is there: caisson-cni makes the interface and has to come first in its "
			 "list of plugins");
	/* DEL has to work whatever the runtime remembers. */
	if (r->command == CNI_CHECK)
		read_previous(d, c);
	if (r->command == CNI_GC)
		read_valid(d, c);
	if (!d->rc && read_macs(d, c, err) < 0)
		return -err->code;
	return d->rc ? cni_recode(err, d->rc == -EOPNOTSUPP ? CNI_FIELD_UNSUPPORTED : CNI_CONFIG)
		     : 0;
}

/* Which of our versions the configuration is written in. */
static int read_version(struct doc *d, struct request *r, struct error *err)
{
	char *text = doc_string(d, r->conf.tree, "cniVersion");

	if (d->rc)
		return cni_recode(err, CNI_DECODE);
	for (int i = 0; i < CNI_VERSIONS; i++)
		if (text && strcmp(text, cni_versions[i]) == 0) {
			r->conf.version = (enum cni_version)i;
			return 0;
		}
	if (r->command == CNI_VERSION)
		return 0;
	return error_set(err, CNI_VERSION_INCOMPATIBLE,
			 "cniVersion '%.32s' is not one of 0.3.1, 0.4.0, 1.0.0 and 1.1.0",
			 text ? text : "");
}

static int check_command(const struct request *r, struct error *err)
{
	static const enum cni_version since[CNI_COMMANDS] = {
		[CNI_CHECK] = CNI_0_4_0, [CNI_GC] = CNI_1_1_0, [CNI_STATUS] = CNI_1_1_0};

	if (r->conf.version < since[r->command])
		return error_set(err, CNI_VERSION_INCOMPATIBLE,
				 "%s is of cniVersion %s and later, and the configuration is %s",
				 cni_commands[r->command], cni_versions[since[r->command]],
				 cni_versions[r->conf.version]);
	return 0;
}

static int read_name(struct doc *d, struct request *r, struct error *err)
{
	r->conf.name = doc_string_required(d, r->conf.tree, "name");
	if (d->rc)
		return cni_recode(err, CNI_CONFIG);
	if (!is_name(r->conf.name) || strlen(r->conf.name) > NAME_MAX_LEN)
		return error_set(err, CNI_CONFIG, "name '%.128s' is not the name of a network",
				 r->conf.name);
	return 0;
}

static const char *variable(const char *name)
{
	const char *value = getenv(name);

	return value ? value : "";
}

static int need(const char *name, const char *value, struct error *err)
{
	return *value ? 0 : error_set(err, CNI_ENVIRONMENT, "%s is not set", name);
}

static int check_environment(const struct request *r, struct error *err)
{
	bool attachment = r->command == CNI_ADD || r->command == CNI_DEL || r->command == CNI_CHECK;

	if (!attachment)
		return 0;
	if (need("CNI_CONTAINERID", r->container, err) < 0 ||
	    need("CNI_IFNAME", r->ifname, err) < 0 ||
	    (r->command != CNI_DEL && need("CNI_NETNS", r->netns, err) < 0))
		return -err->code;
	if (!is_name(r->container))
		return error_set(err, CNI_ENVIRONMENT,
				 "CNI_CONTAINERID '%.128s' is not a container's name",
				 r->container);
	if (!is_ifname(r->ifname))
		return error_set(err, CNI_ENVIRONMENT,
				 "CNI_IFNAME '%.64s' is not an interface's name", r->ifname);
	return 0;
}

/* CNI_ARGS: KEY=VALUE;KEY=VALUE.  IP and GATEWAY are for IPAM, the rest is refused, unless it says
 * itself that what is not understood is to be ignored, as runtimes do. */
static int read_args(struct request *r, struct error *err)
{
	_cleanup_free_ char *copy = strdup(variable("CNI_ARGS"));
	const char *unknown = NULL, *mac = NULL;
	bool ignore = false;
	char *rest = NULL;

	if (!copy)
		return error_set(err, CNI_IO, "out of memory");
	for (char *pair = strtok_r(copy, ";", &rest); pair; pair = strtok_r(NULL, ";", &rest)) {
		char *value = strchr(pair, '=');

		if (!value)
			return error_set(err, CNI_ENVIRONMENT, "CNI_ARGS: '%.64s' is not KEY=VALUE",
					 pair);
		*value++ = 0;
		if (strcmp(pair, "IgnoreUnknown") == 0)
			ignore = strcmp(value, "1") == 0 || strcasecmp(value, "true") == 0;
		else if (strcmp(pair, "MAC") == 0)
			mac = value;
		else if (strcmp(pair, "IP") != 0 && strcmp(pair, "GATEWAY") != 0)
			unknown = pair;
	}
	if (unknown && !ignore)
		return error_set(err, CNI_ENVIRONMENT, "CNI_ARGS: '%.64s' is not known", unknown);
	return set_mac(&r->conf, mac, "CNI_ARGS: MAC", err);
}

static int read_command(struct request *r, struct error *err)
{
	const char *text = variable("CNI_COMMAND");

	for (int i = 0; i < CNI_COMMANDS; i++)
		if (strcmp(text, cni_commands[i]) == 0) {
			r->command = (enum cni_command)i;
			return 0;
		}
	if (!*text)
		return error_set(err, CNI_ENVIRONMENT,
				 "CNI_COMMAND is not set: this program is a plugin that container "
				 "runtimes run");
	return error_set(err, CNI_ENVIRONMENT, "CNI_COMMAND '%.32s' is not known", text);
}

/* All of standard input. */
static char *read_input(size_t *ret_size, struct error *err)
{
	_cleanup_free_ char *text = malloc(CNI_TEXT_MAX + 1);
	size_t size = 0;
	ssize_t n = 0;

	if (!text) {
		error_set(err, CNI_IO, "out of memory");
		return NULL;
	}
	while (size <= CNI_TEXT_MAX && (n = read(0, text + size, CNI_TEXT_MAX + 1 - size)) > 0)
		size += (size_t)n;
	if (n < 0) {
		error_errno(err, "read the configuration");
		cni_recode(err, CNI_IO);
		return NULL;
	}
	if (size > CNI_TEXT_MAX) {
		error_set(err, CNI_DECODE, "the configuration is longer than %u bytes",
			  CNI_TEXT_MAX);
		return NULL;
	}
	*ret_size = size;
	return steal_ptr(&text);
}

static int read_environment(struct request *ret, struct error *err)
{
	*ret = (struct request){
		.container = variable("CNI_CONTAINERID"),
		.netns = variable("CNI_NETNS"),
		.ifname = variable("CNI_IFNAME"),
		.path = variable("CNI_PATH"),
		.conf.version = CNI_1_1_0,
	};
	return read_command(ret, err);
}

int request_read(struct request *ret, struct error *err)
{
	_cleanup_free_ char *text = NULL;
	size_t size;

	if (read_environment(ret, err) < 0)
		return -err->code;
	text = read_input(&size, err);
	return text ? request_parse(ret, text, size, err) : -err->code;
}

int request_parse(struct request *ret, const char *text, size_t size, struct error *err)
{
	struct doc d = {.arena = &ret->conf.arena, .name = "network configuration", .err = err};

	if (read_environment(ret, err) < 0)
		return -err->code;
	ret->conf.tree = doc_parse(&d, text, size);
	if (!ret->conf.tree)
		return cni_recode(err, CNI_DECODE);
	if (read_version(&d, ret, err) < 0 || ret->command == CNI_VERSION)
		return -err->code;
	if (check_command(ret, err) < 0 || check_environment(ret, err) < 0 ||
	    read_name(&d, ret, err) < 0)
		return -err->code;
	if (read_config(&d, ret, err) < 0 || read_args(ret, err) < 0)
		return error_wrap(err, "network '%s'", ret->conf.name);
	return 0;
}

void request_done(struct request *r)
{
	json_object_put(r->conf.tree);
	arena_done(&r->conf.arena);
}

int request_owner(const struct request *r, char *buf, size_t size, struct error *err)
{
	int n = snprintf(buf, size, OWNER_PREFIX "%s/%s/%s", r->conf.name, r->container, r->ifname);

	if (n < 0 || (size_t)n >= size)
		return error_set(err, CNI_ENVIRONMENT,
				 "CNI_CONTAINERID '%.32s...' is too long (%zu bytes)", r->container,
				 strlen(r->container));
	return 0;
}

bool request_owner_parse(struct request *r, const char *owner, struct attachment *ret)
{
	size_t prefix = strlen(OWNER_PREFIX), name = strlen(r->conf.name);
	char *copy, *slash;

	if (strncmp(owner, OWNER_PREFIX, prefix) != 0 ||
	    strncmp(owner + prefix, r->conf.name, name) != 0 || owner[prefix + name] != '/')
		return false;
	copy = arena_strdup(&r->conf.arena, owner + prefix + name + 1);
	slash = copy ? strchr(copy, '/') : NULL;
	if (!slash)
		return false;
	*slash = 0;
	*ret = (struct attachment){.container = copy, .ifname = slash + 1};
	return is_name(ret->container) && is_ifname(ret->ifname);
}
