// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <inttypes.h>
#include <linux/sched.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/cleanup.h"
#include "runtime/config_parts.h"

#define CLONE_NEWTIME_ 0x80 /* CLONE_NEWTIME, which older headers lack */

/* What every container behind a guest kernel has of its own, when nothing is said. */
#define UNSHARE_ALL (CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP)

/* What a member of a pod may have of its sandbox. */
#define JOINABLE (CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS)

static const struct doc_name namespaces[] = {
	{"pid", CLONE_NEWPID},	     {"ipc", CLONE_NEWIPC},    {"uts", CLONE_NEWUTS},
	{"cgroup", CLONE_NEWCGROUP}, {"mount", CLONE_NEWNS},   {"network", CLONE_NEWNET},
	{"user", CLONE_NEWUSER},     {"time", CLONE_NEWTIME_},
};

static uint64_t read_namespace(struct doc *d, struct json_object *o, struct config *c)
{
	const char *type = doc_string_required(d, o, "type");
	const char *path = doc_path(d, o, "path");
	const struct doc_name *ns;

	if (d->rc)
		return 0;
	ns = doc_name_find(namespaces, ARRAY_SIZE(namespaces), type);
	if (!ns) {
		doc_fail(d, EINVAL, "type", "'%.200s' is not a namespace", type);
		return 0;
	}
	if (c->joined & ns->value)
		doc_fail(d, EINVAL, "type", "'%s' is there twice", type);
	if (path && c->pod == POD_MEMBER) {
		struct spec_pair *p = &c->joined_paths[c->joined_n++];

		p->key = (char *)ns->name;
		p->value = (char *)path;
		c->joined |= ns->value;
	}
	if (ns->value == CLONE_NEWNET) {
		c->netns_set = true;
		c->netns_path = (char *)path;
	} else if (path && c->pod == POD_MEMBER && ns->value & JOINABLE) {
		return 0;
	} else if (path) {
		doc_fail(d, EOPNOTSUPP, "path",
			 "'%.200s': a host namespace cannot be joined from behind a guest kernel",
			 path);
	} else if (ns->value == CLONE_NEWUSER) {
		doc_fail(d, EOPNOTSUPP, "type", "'user': user namespaces are not supported yet");
	}
	return ns->value;
}

static void read_namespaces(struct doc *d, struct json_object *o, struct config *c)
{
	uint64_t seen = 0;
	uint32_t n;
	struct json_object *a = doc_array(d, o, "namespaces", &n);

	c->joined_paths = n ? doc_alloc(d, n, sizeof(*c->joined_paths)) : NULL;

	for (uint32_t i = 0; i < n && !d->rc; i++) {
		size_t mark = doc_enter_index(d, "namespaces", i);
		struct json_object *e = doc_element(d, a, i);
		uint64_t one = read_namespace(d, e, c);

		if (seen & one)
			doc_fail(d, EINVAL, "type", "'%s' is there twice",
				 doc_string(d, e, "type"));
		seen |= one;
		doc_leave(d, mark);
	}
	/* A time namespace without offsets changes nothing, and the mounts are always the
	 * container's own.  The network is the guest's, never a namespace in it. */
	c->container.unshare = o ? seen & UNSHARE_ALL : UNSHARE_ALL;
}

/* The permissions of a node; engines also give the type bits, which must then fit. */
static uint32_t read_file_mode(struct doc *d, struct json_object *o, uint32_t type)
{
	uint32_t mode = (uint32_t)doc_uint(d, o, "fileMode", UINT32_MAX, 0666);

	if ((mode & ~(07777u | (uint32_t)S_IFMT)) || ((mode & S_IFMT) && (mode & S_IFMT) != type))
		doc_fail(d, EINVAL, "fileMode", "%u is not a mode of that type", mode);
	return type | (mode & 07777);
}

/* Nodes are made in the guest and name the guest's devices: a host device behind such a node
 * needs passthrough, which is asked for elsewhere. */
static void read_device(struct doc *d, struct json_object *o, struct spec_device *dev)
{
	static const struct doc_name types[] = {
		{"c", S_IFCHR}, {"u", S_IFCHR}, {"b", S_IFBLK}, {"p", S_IFIFO}};
	const char *type = doc_string_required(d, o, "type");
	const struct doc_name *t = type ? doc_name_find(types, ARRAY_SIZE(types), type) : NULL;

	if (type && !t)
		doc_fail(d, EINVAL, "type", "'%.200s' is not a device type", type);
	doc_require(d, o, "path");
	dev->path = doc_path(d, o, "path");
	dev->mode = read_file_mode(d, o, t ? (uint32_t)t->value : 0);
	if (t && t->value != S_IFIFO) {
		doc_require(d, o, "major");
		doc_require(d, o, "minor");
		dev->major = (uint32_t)doc_uint(d, o, "major", (1u << 12) - 1, 0);
		dev->minor = (uint32_t)doc_uint(d, o, "minor", (1u << 20) - 1, 0);
	}
	dev->uid = (uint32_t)doc_uint(d, o, "uid", UINT32_MAX - 1, 0);
	dev->gid = (uint32_t)doc_uint(d, o, "gid", UINT32_MAX - 1, 0);
}

static void read_devices(struct doc *d, struct json_object *o, struct spec_container *ct)
{
	struct json_object *a = doc_array(d, o, "devices", &ct->devices_n);

	ct->devices = ct->devices_n ? doc_alloc(d, ct->devices_n, sizeof(*ct->devices)) : NULL;
	for (uint32_t i = 0; i < ct->devices_n && !d->rc; i++) {
		size_t mark = doc_enter_index(d, "devices", i);

		read_device(d, doc_element(d, a, i), &ct->devices[i]);
		doc_leave(d, mark);
	}
}

/* Any of them may be set: the kernel they tune is the sandbox's own.  The name becomes a path
 * below /proc/sys. */
static void read_sysctl(struct doc *d, struct json_object *o, struct spec_container *ct)
{
	static const char allowed[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/-";

	doc_pairs(d, o, "sysctl", &ct->sysctl, &ct->sysctl_n);
	for (uint32_t i = 0; i < ct->sysctl_n && !d->rc; i++) {
		const char *name = ct->sysctl[i].key;

		if (!*name || name[strspn(name, allowed)] || strstr(name, "..") || *name == '/' ||
		    *name == '.' || strlen(name) > 255)
			doc_fail(d, EINVAL, "sysctl", "has '%.200s', which is not a sysctl", name);
	}
}

static void read_personality(struct doc *d, struct json_object *o)
{
	size_t mark = doc_enter(d, "personality");
	const char *domain = doc_string(d, o, "domain");

	if (domain && strcmp(domain, "LINUX"))
		doc_fail(d, EOPNOTSUPP, "domain", "'%.200s' is not supported, only LINUX", domain);
	doc_refuse(d, o, "flags", "personality flags are not supported");
	doc_leave(d, mark);
}

static void read_rootfs_propagation(struct doc *d, struct json_object *o, struct spec_rootfs *r)
{
	const char *name = doc_string(d, o, "rootfsPropagation");

	r->propagation = name ? config_propagation(name) : 0;
	if (name && !r->propagation)
		doc_fail(d, EINVAL, "rootfsPropagation", "'%.200s' is not a propagation", name);
}

/* Both names are set in the container's own UTS namespace or not at all, as in runc: another
 * container of the sandbox may share the guest's. */
static void check_uts(struct doc *d, const struct config *c)
{
	const struct spec_container *ct = &c->container;

	if ((ct->unshare | c->joined) & CLONE_NEWUTS)
		return;
	if (ct->hostname)
		doc_fail(d, EINVAL, "namespaces", "has no uts, which hostname '%s' needs",
			 ct->hostname);
	if (ct->domainname)
		doc_fail(d, EINVAL, "namespaces", "has no uts, which domainname '%s' needs",
			 ct->domainname);
}

void config_read_linux(struct doc *d, struct json_object *o, struct config *c)
{
	struct spec_container *ct = &c->container;

	doc_refuse(d, o, "uidMappings", "user namespaces are not supported yet");
	doc_refuse(d, o, "gidMappings", "user namespaces are not supported yet");
	doc_refuse(d, o, "timeOffsets", "time namespaces with offsets are not supported");
	doc_refuse(d, o, "intelRdt", "cache and bandwidth allocation is not supported");
	doc_refuse(d, o, "netDevices", "moving network devices is not supported");
	read_namespaces(d, o, c);
	check_uts(d, c);
	read_devices(d, o, ct);
	c->cgroups_path = doc_string(d, o, "cgroupsPath");
	if (c->cgroups_path)
		doc_join(d, "cgroupsPath", NULL, c->cgroups_path);
	read_sysctl(d, o, ct);
	doc_paths(d, o, "maskedPaths", &ct->masked_paths);
	doc_paths(d, o, "readonlyPaths", &ct->readonly_paths);
	read_rootfs_propagation(d, o, &ct->rootfs);
	read_personality(d, doc_object(d, o, "personality"));
	/* SELinux again (config_process.c); the labels have no meaning in the guest. */
	doc_string(d, o, "mountLabel");
}
