// SPDX-License-Identifier: Apache-2.0
/*
 * mounts.  Most are made in the guest as they stand.  A bind mount of a host directory or file
 * becomes a share; what could not be shared in a way that works is replaced by the guest's
 * own (shared memory, kernel filesystems in their usual place, the standard devices) or refused.
 */
#include <errno.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "lib/cleanup.h"
#include "runtime/config_parts.h"

/* mount(2) takes one page of data, with its NUL. */
#define DATA_SIZE_MAX 4096

/* Not in every linux/magic.h. */
#define MQUEUE_MAGIC_ 0x19800202
#define CONFIGFS_MAGIC_ 0x62656570
#define FUSECTL_MAGIC_ 0x65735543
#define RPC_PIPEFS_MAGIC_ 0x67596969
#define NFSD_MAGIC_ 0x6e667364

/*
 * Mount options, as mount(8), crun and runc name them.  The `attr` ones also exist with an "r" in
 * front, "for all mounts below": in the guest nothing is mounted below (a share is one
 * filesystem however many the host has in it), so they mean the same here.
 */
static const struct option {
	const char *name;
	uint64_t set, clear;
	bool attr;
} options[] = {
	{"acl", MS_POSIXACL, 0, false},
	{"async", 0, MS_SYNCHRONOUS, false},
	{"atime", 0, MS_NOATIME, true},
	{"bind", MS_BIND, 0, false},
	{"defaults", 0, 0, false},
	{"dev", 0, MS_NODEV, true},
	{"diratime", 0, MS_NODIRATIME, true},
	{"dirsync", MS_DIRSYNC, 0, false},
	{"exec", 0, MS_NOEXEC, true},
	{"iversion", MS_I_VERSION, 0, false},
	{"lazytime", MS_LAZYTIME, 0, false},
	{"loud", 0, MS_SILENT, false},
	{"mand", MS_MANDLOCK, 0, false},
	{"noacl", 0, MS_POSIXACL, false},
	{"noatime", MS_NOATIME, 0, true},
	{"nodev", MS_NODEV, 0, true},
	{"nodiratime", MS_NODIRATIME, 0, true},
	{"noexec", MS_NOEXEC, 0, true},
	{"noiversion", 0, MS_I_VERSION, false},
	{"nolazytime", 0, MS_LAZYTIME, false},
	{"nomand", 0, MS_MANDLOCK, false},
	{"norelatime", 0, MS_RELATIME, true},
	{"nostrictatime", 0, MS_STRICTATIME, true},
	{"nosuid", MS_NOSUID, 0, true},
	{"nosymfollow", MS_NOSYMFOLLOW, 0, true},
	{"rbind", MS_BIND | MS_REC, 0, false},
	{"relatime", MS_RELATIME, 0, true},
	{"remount", MS_REMOUNT, 0, false},
	{"ro", MS_RDONLY, 0, true},
	{"rw", 0, MS_RDONLY, true},
	{"silent", MS_SILENT, 0, false},
	{"strictatime", MS_STRICTATIME, 0, true},
	{"suid", 0, MS_NOSUID, true},
	{"symfollow", 0, MS_NOSYMFOLLOW, true},
	{"sync", MS_SYNCHRONOUS, 0, false},
};

static const struct doc_name propagations[] = {
	{"private", MS_PRIVATE},       {"rprivate", MS_PRIVATE | MS_REC},
	{"shared", MS_SHARED},	       {"rshared", MS_SHARED | MS_REC},
	{"slave", MS_SLAVE},	       {"rslave", MS_SLAVE | MS_REC},
	{"unbindable", MS_UNBINDABLE}, {"runbindable", MS_UNBINDABLE | MS_REC},
};

uint64_t config_propagation(const char *name)
{
	const struct doc_name *p = doc_name_find(propagations, ARRAY_SIZE(propagations), name);

	return p ? p->value : 0;
}

static const struct option *find_option(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		if (!strcmp(options[i].name, name))
			return &options[i];
	for (size_t i = 0; *name == 'r' && i < ARRAY_SIZE(options); i++)
		if (options[i].attr && !strcmp(options[i].name, name + 1))
			return &options[i];
	return NULL;
}

const char *const *config_mount_option_names(void)
{
	static char with_r[ARRAY_SIZE(options)][16];
	static const char *names[2 * ARRAY_SIZE(options) + ARRAY_SIZE(propagations) + 2];
	size_t n = 0;

	if (names[0])
		return names;
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		names[n++] = options[i].name;
		if (!options[i].attr)
			continue;
		snprintf(with_r[i], sizeof(with_r[i]), "r%s", options[i].name);
		names[n++] = with_r[i];
	}
	for (size_t i = 0; i < ARRAY_SIZE(propagations); i++)
		names[n++] = propagations[i].name;
	names[n] = "tmpcopyup";
	return names;
}

/* Adds what the filesystem has to understand, separated by commas. */
static void append_data(struct doc *d, struct spec_mount *m, const char *option)
{
	size_t len = m->data ? strlen(m->data) : 0;

	if (!*option)
		return;
	if (len + 1 + strlen(option) >= DATA_SIZE_MAX) {
		doc_fail(d, E2BIG, NULL, "'%.40s' makes more than %d bytes of options", option,
			 DATA_SIZE_MAX);
		return;
	}
	if (!m->data)
		m->data = doc_alloc(d, DATA_SIZE_MAX, 1);
	if (m->data)
		snprintf(m->data + len, DATA_SIZE_MAX - len, "%s%s", len ? "," : "", option);
}

static void read_option(struct doc *d, struct spec_mount *m, const char *name)
{
	const struct option *o = find_option(name);
	uint64_t propagation = config_propagation(name);

	if (o) {
		m->flags = (m->flags | o->set) & ~o->clear;
	} else if (propagation) {
		m->propagation = propagation;
	} else if (!strcmp(name, "tmpcopyup")) {
		m->copy_up = true;
	} else if (!strcmp(name, "idmap") || !strcmp(name, "ridmap") ||
		   !strncmp(name, "idmap=", 6) || !strncmp(name, "ridmap=", 7)) {
		doc_fail(d, EOPNOTSUPP, NULL, "'%.200s': mapped ids are not supported", name);
	} else {
		append_data(d, m, name);
	}
}

static void read_options(struct doc *d, struct json_object *o, struct spec_mount *m)
{
	struct strv names;

	doc_strings(d, o, "options", &names);
	for (uint32_t i = 0; i < names.n && !d->rc; i++) {
		size_t mark = doc_enter_index(d, "options", i);

		read_option(d, m, names.v[i]);
		doc_leave(d, mark);
	}
}

/* Turns a bind mount into one of the guest's own filesystems. */
static void become(struct doc *d, struct spec_mount *m, const char *type)
{
	m->type = doc_strdup(d, type);
	m->source = doc_strdup(d, type);
	m->flags &= ~(uint64_t)(MS_BIND | MS_REC);
}

static bool is_below(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	return !strncmp(path, dir, n) && (!path[n] || path[n] == '/');
}

/* Filesystems that are views of the host's kernel, not files. */
static bool is_kernel_fs(const char *path)
{
	static const uint32_t magics[] = {PROC_SUPER_MAGIC,    SYSFS_MAGIC,	CGROUP_SUPER_MAGIC,
					  CGROUP2_SUPER_MAGIC, DEBUGFS_MAGIC,	TRACEFS_MAGIC,
					  SECURITYFS_MAGIC,    BPF_FS_MAGIC,	DEVPTS_SUPER_MAGIC,
					  EFIVARFS_MAGIC,      PSTOREFS_MAGIC,	NSFS_MAGIC,
					  HUGETLBFS_MAGIC,     BINFMTFS_MAGIC,	SELINUX_MAGIC,
					  MQUEUE_MAGIC_,       CONFIGFS_MAGIC_, FUSECTL_MAGIC_,
					  RPC_PIPEFS_MAGIC_,   NFSD_MAGIC_};
	struct statfs fs;

	if (is_below(path, "/proc") || is_below(path, "/sys"))
		return true;
	if (statfs(path, &fs) < 0)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(magics); i++)
		if ((uint32_t)fs.f_type == magics[i])
			return true;
	return false;
}

/* A kernel filesystem in its usual place is the guest's; the host's is not to be had.  False: the
 * mount is to be left out. */
static bool read_kernel_fs(struct doc *d, struct spec_mount *m, const char *source)
{
	static const struct {
		const char *path, *type;
	} usual[] = {{"/proc", "proc"}, {"/sys", "sysfs"}, {"/sys/fs/cgroup", "cgroup2"}};

	for (size_t i = 0; i < ARRAY_SIZE(usual); i++) {
		if (!strcmp(source, usual[i].path) && !strcmp(m->destination, usual[i].path)) {
			become(d, m, usual[i].type);
			return true;
		}
	}
	/* One hierarchy of a host with cgroup v1, for a systemd in the container; the guest's
	 * unified one, mounted above, serves it. */
	if (is_below(source, "/sys/fs/cgroup") && !strcmp(source, m->destination))
		return false;
	doc_fail(d, EOPNOTSUPP, "source",
		 "'%.200s' belongs to the host's kernel and cannot be shared with a guest", source);
	return false;
}

/*
 * /dev/shm from the host is how engines give a container its shared memory (its size, and its
 * company when it has any).  Memory shared by mmap(2) does not work over a file protocol, so the
 * guest gets a tmpfs of its own of that size.
 */
static bool read_shm(struct doc *d, struct spec_mount *m, const char *source)
{
	char option[64];
	struct statfs fs;

	if (strcmp(m->destination, "/dev/shm") || statfs(source, &fs) < 0 ||
	    (uint32_t)fs.f_type != TMPFS_MAGIC)
		return false;
	become(d, m, "tmpfs");
	append_data(d, m, "mode=1777");
	if (fs.f_blocks) {
		snprintf(option, sizeof(option), "size=%llu",
			 (unsigned long long)fs.f_blocks * (unsigned long long)fs.f_bsize);
		append_data(d, m, option);
	}
	return true;
}

/* Bound by engines that may not make nodes (rootless ones); the guest makes them itself. */
static bool is_standard_device(const struct spec_mount *m, const char *source)
{
	static const char *const devices[] = {"/dev/null",   "/dev/zero",    "/dev/full",
					      "/dev/random", "/dev/urandom", "/dev/tty"};

	for (size_t i = 0; i < ARRAY_SIZE(devices); i++)
		if (!strcmp(source, devices[i]) && !strcmp(m->destination, devices[i]))
			return true;
	return false;
}

/*
 * What is for a filesystem says nothing to a bind mount, and the kernel drops it.  So do we with
 * "mode=755", which runtimes take; but a lone word may be a misspelt "nosuid".
 */
static void drop_data(struct doc *d, struct spec_mount *m)
{
	for (char *save = NULL, *o = m->data ? strtok_r(m->data, ",", &save) : NULL; o;
	     o = strtok_r(NULL, ",", &save)) {
		if (strchr(o, '='))
			continue;
		doc_fail(d, EINVAL, "options",
			 "has '%.200s', which is not an option of bind mounts", o);
		return;
	}
	m->data = NULL;
}

static void add_share(struct doc *d, struct config *c, struct spec_mount *m, char *source,
		      bool is_dir)
{
	m->type = doc_strdup(d, "bind");
	m->source = NULL;
	m->share = (int32_t)c->shares_n;
	m->share_is_dir = is_dir;
	c->shares[c->shares_n++] = (struct config_share){
		.source = source,
		/* Of everything in it, so that what the host has mounted below is, too. */
		.readonly = m->flags & MS_RDONLY,
		.is_dir = is_dir,
		.recursive = m->flags & MS_REC,
	};
}

/* False: the mount is to be left out. */
static bool read_bind(struct doc *d, struct config *c, struct spec_mount *m)
{
	char *source = m->source ? doc_join(d, "source", d->bundle, m->source) : NULL;
	struct stat st;

	if (!source) {
		doc_fail(d, EINVAL, "source", "is missing");
		return false;
	}
	drop_data(d, m);
	m->flags |= MS_BIND;
	if (stat(source, &st) < 0) {
		doc_fail(d, errno, "source", "'%.200s': %s", source, strerror(errno));
	} else if (is_kernel_fs(source)) {
		return read_kernel_fs(d, m, source);
	} else if (S_ISDIR(st.st_mode) && read_shm(d, m, source)) {
		return true;
	} else if (S_ISDIR(st.st_mode) && is_below(source, "/dev") &&
		   !is_below(source, "/dev/shm")) {
		doc_fail(d, EOPNOTSUPP, "source",
			 "'%.200s': devices of the host cannot be shared with a guest", source);
	} else if (S_ISDIR(st.st_mode) || S_ISREG(st.st_mode)) {
		add_share(d, c, m, source, S_ISDIR(st.st_mode));
	} else if (S_ISCHR(st.st_mode) && is_standard_device(m, source)) {
		return false;
	} else {
		doc_fail(d, EOPNOTSUPP, "source",
			 "'%.200s': only directories and regular files can be shared with a guest",
			 source);
	}
	return true;
}

/* False: the mount is to be left out. */
static bool read_mount(struct doc *d, struct json_object *o, struct config *c, struct spec_mount *m)
{
	m->share = -1;
	doc_require(d, o, "destination");
	m->destination = doc_path(d, o, "destination");
	m->source = doc_string(d, o, "source");
	m->type = doc_string(d, o, "type");
	if (m->source)
		doc_join(d, "source", NULL, m->source); /* for its length */
	doc_refuse(d, o, "uidMappings", "mapped ids are not supported");
	doc_refuse(d, o, "gidMappings", "mapped ids are not supported");
	read_options(d, o, m);
	if (d->rc)
		return false;
	if ((m->flags & MS_BIND) || (m->type && !strcmp(m->type, "bind"))) {
		if (m->copy_up)
			doc_fail(d, EINVAL, "options", "has 'tmpcopyup', which is for tmpfs");
		return read_bind(d, c, m);
	}
	if (!m->type && !(m->flags & MS_REMOUNT) && !m->propagation)
		doc_fail(d, EINVAL, "type", "is missing");
	if (m->copy_up && (!m->type || strcmp(m->type, "tmpfs")))
		doc_fail(d, EINVAL, "options", "has 'tmpcopyup', which is for tmpfs");
	/* Whatever hierarchy the host has, the guest has the unified one. */
	if (m->type && !strcmp(m->type, "cgroup"))
		m->type = m->source = doc_strdup(d, "cgroup2");
	if (!m->source)
		m->source = m->type;
	return true;
}

void config_read_mounts(struct doc *d, struct json_object *o, struct config *c)
{
	struct spec_container *ct = &c->container;
	uint32_t n;
	struct json_object *a = doc_array(d, o, "mounts", &n);

	if (!n)
		return;
	ct->mounts = doc_alloc(d, n, sizeof(*ct->mounts));
	c->shares = doc_alloc(d, n, sizeof(*c->shares));
	for (uint32_t i = 0; i < n && !d->rc; i++) {
		size_t mark = doc_enter_index(d, "mounts", i);
		struct spec_mount m = {0};

		if (read_mount(d, doc_element(d, a, i), c, &m))
			ct->mounts[ct->mounts_n++] = m;
		doc_leave(d, mark);
	}
}
