// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>

#include "lib/cleanup.h"
#include "runtime/config_parts.h"

/* chown(2) and setresuid(2) take this id as "leave as is". */
#define ID_MAX (UINT32_MAX - 1)

/* Without "CAP_". */
static const struct doc_name capabilities[] = {
	{"CHOWN", CAP_CHOWN},
	{"DAC_OVERRIDE", CAP_DAC_OVERRIDE},
	{"DAC_READ_SEARCH", CAP_DAC_READ_SEARCH},
	{"FOWNER", CAP_FOWNER},
	{"FSETID", CAP_FSETID},
	{"KILL", CAP_KILL},
	{"SETGID", CAP_SETGID},
	{"SETUID", CAP_SETUID},
	{"SETPCAP", CAP_SETPCAP},
	{"LINUX_IMMUTABLE", CAP_LINUX_IMMUTABLE},
	{"NET_BIND_SERVICE", CAP_NET_BIND_SERVICE},
	{"NET_BROADCAST", CAP_NET_BROADCAST},
	{"NET_ADMIN", CAP_NET_ADMIN},
	{"NET_RAW", CAP_NET_RAW},
	{"IPC_LOCK", CAP_IPC_LOCK},
	{"IPC_OWNER", CAP_IPC_OWNER},
	{"SYS_MODULE", CAP_SYS_MODULE},
	{"SYS_RAWIO", CAP_SYS_RAWIO},
	{"SYS_CHROOT", CAP_SYS_CHROOT},
	{"SYS_PTRACE", CAP_SYS_PTRACE},
	{"SYS_PACCT", CAP_SYS_PACCT},
	{"SYS_ADMIN", CAP_SYS_ADMIN},
	{"SYS_BOOT", CAP_SYS_BOOT},
	{"SYS_NICE", CAP_SYS_NICE},
	{"SYS_RESOURCE", CAP_SYS_RESOURCE},
	{"SYS_TIME", CAP_SYS_TIME},
	{"SYS_TTY_CONFIG", CAP_SYS_TTY_CONFIG},
	{"MKNOD", CAP_MKNOD},
	{"LEASE", CAP_LEASE},
	{"AUDIT_WRITE", CAP_AUDIT_WRITE},
	{"AUDIT_CONTROL", CAP_AUDIT_CONTROL},
	{"SETFCAP", CAP_SETFCAP},
	{"MAC_OVERRIDE", CAP_MAC_OVERRIDE},
	{"MAC_ADMIN", CAP_MAC_ADMIN},
	{"SYSLOG", CAP_SYSLOG},
	{"WAKE_ALARM", CAP_WAKE_ALARM},
	{"BLOCK_SUSPEND", CAP_BLOCK_SUSPEND},
	{"AUDIT_READ", CAP_AUDIT_READ},
	{"PERFMON", CAP_PERFMON},
	{"BPF", CAP_BPF},
	{"CHECKPOINT_RESTORE", CAP_CHECKPOINT_RESTORE},
};

static const char *const cap_sets[CAPS_SETS] = {
	[CAPS_BOUNDING] = "bounding",	    [CAPS_EFFECTIVE] = "effective",
	[CAPS_INHERITABLE] = "inheritable", [CAPS_PERMITTED] = "permitted",
	[CAPS_AMBIENT] = "ambient",
};

static const struct doc_name rlimits[] = {
	{"RLIMIT_AS", RLIMIT_AS},
	{"RLIMIT_CORE", RLIMIT_CORE},
	{"RLIMIT_CPU", RLIMIT_CPU},
	{"RLIMIT_DATA", RLIMIT_DATA},
	{"RLIMIT_FSIZE", RLIMIT_FSIZE},
	{"RLIMIT_LOCKS", RLIMIT_LOCKS},
	{"RLIMIT_MEMLOCK", RLIMIT_MEMLOCK},
	{"RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE},
	{"RLIMIT_NICE", RLIMIT_NICE},
	{"RLIMIT_NOFILE", RLIMIT_NOFILE},
	{"RLIMIT_NPROC", RLIMIT_NPROC},
	{"RLIMIT_RSS", RLIMIT_RSS},
	{"RLIMIT_RTPRIO", RLIMIT_RTPRIO},
	{"RLIMIT_RTTIME", RLIMIT_RTTIME},
	{"RLIMIT_SIGPENDING", RLIMIT_SIGPENDING},
	{"RLIMIT_STACK", RLIMIT_STACK},
};

static void read_user(struct doc *d, struct json_object *o, struct spec_process *p)
{
	size_t mark = doc_enter(d, "user");
	struct json_object *a;

	p->uid = (uint32_t)doc_uint(d, o, "uid", ID_MAX, 0);
	p->gid = (uint32_t)doc_uint(d, o, "gid", ID_MAX, 0);
	p->umask = (uint32_t)doc_uint(d, o, "umask", 0777, UINT32_MAX);
	a = doc_array(d, o, "additionalGids", &p->gids_n);
	p->gids = p->gids_n ? doc_alloc(d, p->gids_n, sizeof(*p->gids)) : NULL;
	for (uint32_t i = 0; i < p->gids_n && !d->rc; i++) {
		struct json_object *j = json_object_array_get_idx(a, i);

		if (!json_object_is_type(j, json_type_int) || json_object_get_int64(j) < 0 ||
		    json_object_get_int64(j) > ID_MAX)
			doc_fail(d, EINVAL, "additionalGids", "has %.60s, which is not a group id",
				 json_object_to_json_string_ext(j, JSON_C_TO_STRING_PLAIN));
		p->gids[i] = (uint32_t)json_object_get_int64(j);
	}
	doc_leave(d, mark);
}

int config_capability(const char *name)
{
	if (!strncasecmp(name, "CAP_", 4))
		name += 4;
	for (size_t i = 0; i < ARRAY_SIZE(capabilities); i++)
		if (!strcasecmp(capabilities[i].name, name))
			return (int)capabilities[i].value;
	return -1;
}

static uint64_t read_cap_set(struct doc *d, struct json_object *o, const char *field)
{
	uint64_t set = 0;
	struct strv names;

	doc_strings(d, o, field, &names);
	for (uint32_t i = 0; i < names.n && !d->rc; i++) {
		int cap = config_capability(names.v[i]);

		if (cap < 0)
			doc_fail(d, EINVAL, field, "has '%.200s', which is not a capability",
				 names.v[i]);
		else
			set |= 1ull << cap;
	}
	return set;
}

static void read_capabilities(struct doc *d, struct json_object *o, struct spec_process *p)
{
	size_t mark = doc_enter(d, "capabilities");
	uint64_t beyond;

	for (int s = 0; s < CAPS_SETS; s++)
		p->caps[s] = read_cap_set(d, o, cap_sets[s]);
	/* capset(2) would say no more than EPERM. */
	beyond = p->caps[CAPS_EFFECTIVE] & ~p->caps[CAPS_PERMITTED];
	for (size_t k = 0; k < ARRAY_SIZE(capabilities); k++)
		if (beyond & 1ull << capabilities[k].value)
			doc_fail(d, EINVAL, "effective", "has 'CAP_%s', which is not permitted",
				 capabilities[k].name);
	/* What cannot be ambient is left out, as runc does: engines list it regardless. */
	p->caps[CAPS_AMBIENT] &= p->caps[CAPS_PERMITTED] & p->caps[CAPS_INHERITABLE];
	doc_leave(d, mark);
}

static void read_rlimit(struct doc *d, struct json_object *o, struct spec_process *p, uint32_t n)
{
	struct spec_rlimit *r = &p->rlimits[n];
	const char *type = doc_string_required(d, o, "type");
	const struct doc_name *name;

	if (!type)
		return;
	name = doc_name_find(rlimits, ARRAY_SIZE(rlimits), type);
	if (!name) {
		doc_fail(d, EINVAL, "type", "'%.200s' is not a resource limit", type);
		return;
	}
	r->resource = (uint32_t)name->value;
	for (uint32_t i = 0; i < n; i++)
		if (p->rlimits[i].resource == r->resource)
			doc_fail(d, EINVAL, "type", "'%s' is there twice", type);
	doc_require(d, o, "soft");
	doc_require(d, o, "hard");
	r->soft = doc_uint(d, o, "soft", UINT64_MAX, 0);
	r->hard = doc_uint(d, o, "hard", UINT64_MAX, 0);
	if (r->soft > r->hard)
		doc_fail(d, EINVAL, "soft", "%" PRIu64 " is greater than the hard limit %" PRIu64,
			 r->soft, r->hard);
}

static void read_rlimits(struct doc *d, struct json_object *o, struct spec_process *p)
{
	struct json_object *a = doc_array(d, o, "rlimits", &p->rlimits_n);

	p->rlimits = p->rlimits_n ? doc_alloc(d, p->rlimits_n, sizeof(*p->rlimits)) : NULL;
	for (uint32_t i = 0; i < p->rlimits_n && !d->rc; i++) {
		size_t mark = doc_enter_index(d, "rlimits", i);

		read_rlimit(d, doc_element(d, a, i), p, i);
		doc_leave(d, mark);
	}
}

static void read_args(struct doc *d, struct json_object *o, struct spec_process *p)
{
	doc_require(d, o, "args");
	doc_strings(d, o, "args", &p->args);
	if (!p->args.n)
		doc_fail(d, EINVAL, "args", "is empty");
	else if (!*p->args.v[0])
		doc_fail(d, EINVAL, "args[0]", "is empty");
}

void config_read_process(struct doc *d, struct json_object *o, struct spec_process *p)
{
	struct json_object *size = doc_object(d, o, "consoleSize");
	size_t mark = doc_enter(d, "consoleSize");

	p->rows = (uint16_t)doc_uint(d, size, "height", UINT16_MAX, 0);
	p->columns = (uint16_t)doc_uint(d, size, "width", UINT16_MAX, 0);
	doc_leave(d, mark);
	p->terminal = doc_bool(d, o, "terminal");
	read_args(d, o, p);
	doc_env(d, o, "env", &p->env);
	doc_require(d, o, "cwd");
	p->cwd = doc_path(d, o, "cwd");
	read_user(d, doc_object(d, o, "user"), p);
	read_capabilities(d, doc_object(d, o, "capabilities"), p);
	read_rlimits(d, o, p);
	p->no_new_privileges = doc_bool(d, o, "noNewPrivileges");
	p->oom_score_adj_set = doc_has(d, o, "oomScoreAdj");
	p->oom_score_adj = (int32_t)doc_int(d, o, "oomScoreAdj", -1000, 1000, 0);
	/*
	 * The guest kernel has no AppArmor and no SELinux, and the host's policy for the
	 * container has nothing to act on behind it: engines set these by default, so they are
	 * taken and dropped.
	 */
	doc_string(d, o, "apparmorProfile");
	doc_string(d, o, "selinuxLabel");
	/* These only come from someone who means them; to drop them would be a lie. */
	doc_refuse(d, o, "ioPriority", "I/O priorities are not supported");
	doc_refuse(d, o, "scheduler", "scheduling policies are not supported");
	doc_refuse(d, o, "execCPUAffinity", "CPU affinity is not supported");
}
