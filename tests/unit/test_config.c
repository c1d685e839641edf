// SPDX-License-Identifier: Apache-2.0
/*
 * runtime/config.h: what good configurations turn into, and the sentence for each bad one.
 * Most are the base below with one member put in another's place.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/mount.h>

#include <cmocka.h>
#include <json-c/json.h>
#include <json-c/json_pointer.h>

#include "lib/cleanup.h"
#include "runtime/config.h"

static char bundle[] = "/tmp/test-config-XXXXXX"; /* with dir/, file, fifo, sock in it */

static const char base[] =
	"{'ociVersion':'1.0.2-dev',"
	"'process':{'terminal':true,'consoleSize':{'height':24,'width':80},"
	" 'user':{'uid':1000,'gid':100,'umask':18,'additionalGids':[5,6]},"
	" 'args':['sh','-c','echo'],'env':['PATH=/bin','EMPTY='],'cwd':'/root',"
	" 'capabilities':{'bounding':['CAP_CHOWN','CAP_KILL','CAP_CHECKPOINT_RESTORE'],"
	"  'effective':['CAP_CHOWN'],'permitted':['CAP_CHOWN','kill'],"
	"  'inheritable':['CAP_KILL'],'ambient':['CAP_KILL','CAP_CHOWN']},"
	" 'rlimits':[{'type':'RLIMIT_NOFILE','soft':1024,'hard':4096},"
	"  {'type':'RLIMIT_CORE','soft':0,'hard':18446744073709551615}],"
	" 'noNewPrivileges':true,'oomScoreAdj':-500,'apparmorProfile':'p','selinuxLabel':'l'},"
	"'root':{'path':'rootfs','readonly':true},"
	"'hostname':'web','domainname':'example.org',"
	"'mounts':[{'destination':'/proc','type':'proc','source':'proc',"
	"  'options':['nosuid','noexec','nodev']},"
	" {'destination':'/dev','type':'tmpfs','source':'tmpfs',"
	"  'options':['nosuid','strictatime','mode=755','size=65536k']},"
	" {'destination':'/data','type':'bind','source':'dir','options':['rbind','ro','rslave']},"
	" {'destination':'/etc/hosts','source':'file','options':['bind','rprivate']},"
	" {'destination':'/sys/fs/cgroup','type':'cgroup','source':'cgroup','options':['ro']}],"
	"'hooks':{'prestart':[{'path':'/bin/a'}],"
	" 'poststop':[{'path':'/bin/b','args':['b','-x'],'env':['A=1'],'timeout':10},"
	"  {'path':'/bin/c'}]},"
	"'annotations':{'a.b':'c','empty':''},"
	"'linux':{'namespaces':[{'type':'pid'},{'type':'ipc'},{'type':'uts'},{'type':'mount'},"
	"  {'type':'cgroup'},{'type':'network','path':'/run/netns/x'}],"
	" 'devices':[{'type':'c','path':'/dev/fuse','major':10,'minor':229,'fileMode':8630,"
	"   'uid':1,'gid':2},{'type':'p','path':'/dev/pipe'}],"
	" 'cgroupsPath':'/pod/web','sysctl':{'net.ipv4.ip_forward':'1'},"
	" 'resources':{'devices':[{'allow':false,'access':'rwm'}],"
	"  'memory':{'limit':67108864,'reservation':1000,'swap':134217728},"
	"  'cpu':{'shares':1024,'quota':50000,'period':100000,'cpus':'0-1,3','mems':'0'},"
	"  'pids':{'limit':100},'unified':{'memory.high':'1000'}},"
	" 'maskedPaths':['/proc/kcore'],'readonlyPaths':['/proc/sys','/proc/bus'],"
	" 'rootfsPropagation':'rslave','personality':{'domain':'LINUX'},"
	" 'seccomp':{'defaultAction':'SCMP_ACT_ALLOW','flags':['SECCOMP_FILTER_FLAG_LOG'],"
	"  'architectures':['SCMP_ARCH_X86_64','SCMP_ARCH_X86','SCMP_ARCH_X32',"
	"   'SCMP_ARCH_AARCH64'],"
	"  'syscalls':[{'names':['swapoff','no_such_call'],'action':'SCMP_ACT_ERRNO',"
	"   'errnoRet':77},{'names':['personality'],'action':'SCMP_ACT_ERRNO',"
	"   'args':[{'index':0,'value':8,'op':'SCMP_CMP_EQ'},"
	"           {'index':0,'value':16,'op':'SCMP_CMP_EQ'}]}]}}}";

/* JSON is full of double quotes; here single ones stand for them.  To be freed. */
static char *quoted(const char *s)
{
	char *copy = strdup(s);

	for (char *p = copy; *p; p++)
		if (*p == '\'')
			*p = '"';
	return copy;
}

static long calloc_left = -1; /* calls until one fails; -1: none does */

/* Linked with --wrap=calloc: the arena's only door to memory. */
void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size)
{
	if (calloc_left >= 0 && calloc_left-- == 0)
		return NULL;
	return __real_calloc(n, size);
}

/* The base with the member at `where` (a JSON pointer; NULL: nothing) replaced by `value`. */
static int parse_with(struct config *c, const char *where, const char *value, struct error *err)
{
	_cleanup_free_ char *text = quoted(base);
	struct json_object *o = json_tokener_parse(text);
	const char *json;
	int rc;

	assert_non_null(o);
	if (where) {
		_cleanup_free_ char *new = quoted(value);

		if (json_pointer_set(&o, where, json_tokener_parse(new)))
			fail_msg("%s: no such place", where);
	}
	json = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
	rc = config_parse(c, bundle, json, strlen(json), err);
	json_object_put(o);
	return rc;
}

static void parse_good(struct config *c, const char *where, const char *value)
{
	struct error err = {0};

	if (parse_with(c, where, value, &err))
		fail_msg("%s: %s", where ? where : "base", err.text);
}

/* "@" in an expected text is the bundle. */
static void assert_text(const char *got, const char *want)
{
	const char *at = strchr(want, '@');
	char text[1024];

	snprintf(text, sizeof(text), "%.*s%s%s", at ? (int)(at - want) : (int)strlen(want), want,
		 at ? bundle : "", at ? at + 1 : "");
	assert_string_equal(got, text);
}

static void test_process(void **state)
{
	struct spec_process *p;
	struct config c;

	(void)state;
	parse_good(&c, NULL, NULL);
	p = &c.container.process;
	assert_true(p->terminal && p->rows == 24 && p->columns == 80);
	assert_int_equal(p->args.n, 3);
	assert_string_equal(p->args.v[2], "echo");
	assert_int_equal(p->env.n, 2);
	assert_string_equal(p->env.v[1], "EMPTY=");
	assert_string_equal(p->cwd, "/root");
	assert_true(p->uid == 1000 && p->gid == 100 && p->umask == 022);
	assert_true(p->gids_n == 2 && p->gids[1] == 6);
	assert_true(p->caps[CAPS_BOUNDING] == (1ull << 40 | 1 << 5 | 1));
	assert_true(p->caps[CAPS_EFFECTIVE] == 1 && p->caps[CAPS_PERMITTED] == (1 << 5 | 1));
	assert_true(p->caps[CAPS_INHERITABLE] == 1 << 5);
	assert_true(p->caps[CAPS_AMBIENT] == 1 << 5); /* chown is not inheritable */
	assert_int_equal(p->rlimits_n, 2);
	assert_true(p->rlimits[0].resource == RLIMIT_NOFILE && p->rlimits[0].soft == 1024);
	assert_true(p->rlimits[1].soft == 0 && p->rlimits[1].hard == UINT64_MAX);
	assert_true(p->no_new_privileges && p->oom_score_adj_set && p->oom_score_adj == -500);
	config_done(&c);
}

static void test_defaults(void **state)
{
	static const char json[] = "{\"ociVersion\":\"1.2.0\",\"root\":{\"path\":\"/r\"},"
				   "\"process\":{\"args\":[\"a\"],\"cwd\":\"/\"},\"linux\":null}\n";
	struct error err = {0};
	struct spec_resources *r;
	struct config c;

	(void)state;
	assert_int_equal(config_parse(&c, bundle, json, strlen(json), &err), 0);
	assert_string_equal(c.root_path, "/r");
	assert_false(c.container.rootfs.readonly || c.netns_set);
	assert_true(c.container.process.umask == UINT32_MAX);
	assert_false(c.container.process.oom_score_adj_set);
	assert_null(c.container.hostname);
	assert_null(c.container.id);
	assert_true(c.container.unshare ==
		    (CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP));
	r = &c.container.resources;
	assert_true(r->memory_max == -1 && r->memory_low == -1 && r->memory_swap_max == -1);
	assert_true(r->pids_max == -1 && r->cpu_quota_us == -1 && r->cpu_period_us == -1);
	assert_true(r->cpu_weight == 0 && c.memory_limit == -1);
	assert_true(c.host.cpu_quota_us == -1 && c.host.cpu_period_us == -1);
	assert_true(!c.host.cpu_shares && !c.host.cpuset_cpus && !c.host.cpuset_mems);
	assert_int_equal(c.container.process.seccomp.size, 0);
	for (int i = 0; i < CAPS_SETS; i++)
		assert_true(!c.container.process.caps[i]);
	config_done(&c);
	assert_null(c.arena);
}

static void test_container(void **state)
{
	struct spec_container *ct;
	struct config c;
	char root[64];

	(void)state;
	parse_good(&c, NULL, NULL);
	ct = &c.container;
	snprintf(root, sizeof(root), "%s/rootfs", bundle);
	assert_string_equal(c.root_path, root);
	assert_string_equal(c.oci_version, "1.0.2-dev");
	assert_true(ct->rootfs.readonly && ct->rootfs.propagation == (MS_SLAVE | MS_REC));
	assert_string_equal(ct->hostname, "web");
	assert_string_equal(ct->domainname, "example.org");
	assert_true(ct->unshare == (CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP));
	assert_true(c.netns_set);
	assert_string_equal(c.netns_path, "/run/netns/x");
	assert_string_equal(c.cgroups_path, "/pod/web");
	assert_int_equal(ct->devices_n, 2);
	assert_true(ct->devices[0].mode == (S_IFCHR | 0666) && ct->devices[0].minor == 229);
	assert_true(ct->devices[0].uid == 1 && ct->devices[0].gid == 2);
	assert_true(ct->devices[1].mode == (S_IFIFO | 0666));
	assert_true(ct->sysctl_n == 1 && ct->masked_paths.n == 1 && ct->readonly_paths.n == 2);
	assert_string_equal(ct->sysctl[0].key, "net.ipv4.ip_forward");
	assert_string_equal(config_annotation(&c, "a.b"), "c");
	assert_string_equal(config_annotation(&c, "empty"), "");
	assert_null(config_annotation(&c, "a"));
	assert_int_equal(c.hooks[HOOK_PRESTART].n, 1);
	assert_int_equal(c.hooks[HOOK_POSTSTOP].n, 2);
	assert_int_equal(c.hooks[HOOK_POSTSTOP].v[0].timeout_s, 10);
	assert_string_equal(c.hooks[HOOK_POSTSTOP].v[0].args.v[1], "-x");
	assert_string_equal(c.hooks[HOOK_POSTSTOP].v[1].path, "/bin/c");
	config_done(&c);
}

static void test_resources(void **state)
{
	struct spec_resources *r;
	struct config c;

	(void)state;
	parse_good(&c, NULL, NULL);
	r = &c.container.resources;
	assert_true(r->memory_max == 64 << 20 && r->memory_low == 1000);
	assert_true(r->memory_swap_max == 64 << 20); /* swap alone, not with memory */
	assert_true(c.memory_limit == 64 << 20 && r->pids_max == 100);
	assert_true(r->cpu_quota_us == 50000 && r->cpu_period_us == 100000);
	assert_true(r->cpu_weight == 39 && c.host.cpu_shares == 1024);
	assert_true(c.host.cpu_quota_us == 50000 && c.host.cpu_period_us == 100000);
	assert_string_equal(c.host.cpuset_cpus, "0-1,3");
	assert_string_equal(c.host.cpuset_mems, "0");
	assert_true(r->unified_n == 1);
	assert_string_equal(r->unified[0].value, "1000");
	config_done(&c);
}

static const struct {
	const char *where, *value;
	int64_t max, swap_max, pids;
	uint64_t weight;
} limits[] = {
	{"/linux/resources/memory/swap", "67108864", 64 << 20, 0, 100, 39},
	{"/linux/resources/memory/swap", "-1", 64 << 20, SPEC_LIMIT_NONE, 100, 39},
	{"/linux/resources/memory", "{'limit':-1,'swap':-1}", SPEC_LIMIT_NONE, SPEC_LIMIT_NONE, 100,
	 39},
	{"/linux/resources/memory", "{'limit':0}", -1, -1, 100, 39},
	{"/linux/resources/pids/limit", "0", 64 << 20, 64 << 20, -1, 39},
	{"/linux/resources/pids/limit", "-1", 64 << 20, 64 << 20, SPEC_LIMIT_NONE, 39},
	{"/linux/resources/cpu/shares", "2", 64 << 20, 64 << 20, 100, 1},
	{"/linux/resources/cpu/shares", "1", 64 << 20, 64 << 20, 100, 1},
	{"/linux/resources/cpu/shares", "0", 64 << 20, 64 << 20, 100, 0},
	{"/linux/resources/cpu/shares", "262144", 64 << 20, 64 << 20, 100, 10000},
	{"/linux/resources/cpu/shares", "18446744073709551615", 64 << 20, 64 << 20, 100, 10000},
	{"/linux/resources/cpu/quota", "-1", 64 << 20, 64 << 20, 100, 39},
};

static void test_limits(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
		struct spec_resources *r;
		struct config c;

		parse_good(&c, limits[i].where, limits[i].value);
		r = &c.container.resources;
		assert_true(r->memory_max == limits[i].max);
		assert_true(c.memory_limit == (limits[i].max > 0 ? limits[i].max : -1));
		assert_true(r->memory_swap_max == limits[i].swap_max);
		assert_true(r->pids_max == limits[i].pids && r->cpu_weight == limits[i].weight);
		config_done(&c);
	}
}

static void test_mounts(void **state)
{
	struct spec_mount *m;
	struct config c;
	char path[64];

	(void)state;
	parse_good(&c, NULL, NULL);
	m = c.container.mounts;
	assert_int_equal(c.container.mounts_n, 5);
	assert_true(m[0].flags == (MS_NOSUID | MS_NOEXEC | MS_NODEV) && m[0].share == -1);
	assert_string_equal(m[1].data, "mode=755,size=65536k");
	assert_true(m[1].flags == (MS_NOSUID | MS_STRICTATIME));
	assert_true(m[2].flags == (MS_BIND | MS_REC | MS_RDONLY) && m[2].share == 0);
	assert_true(m[2].share_is_dir && m[2].propagation == (MS_SLAVE | MS_REC));
	assert_null(m[2].source);
	assert_string_equal(m[3].type, "bind");
	assert_true(m[3].share == 1 && !m[3].share_is_dir && m[3].flags == MS_BIND);
	assert_string_equal(m[4].type, "cgroup2");
	assert_int_equal(c.shares_n, 2);
	assert_true(c.shares[0].readonly && c.shares[0].is_dir && c.shares[0].recursive);
	assert_false(c.shares[1].readonly || c.shares[1].is_dir || c.shares[1].recursive);
	snprintf(path, sizeof(path), "%s/file", bundle);
	assert_string_equal(c.shares[1].source, path);
	config_done(&c);
}

/* One mount, in place of /proc: what it turns into. */
static const struct {
	const char *json, *type, *source, *data;
	uint64_t flags, propagation;
	bool copy_up;
} mounts[] = {
	{"{'destination':'/t','type':'tmpfs','options':['tmpcopyup','ro','rw','size=1m']}", "tmpfs",
	 "tmpfs", "size=1m", 0, 0, true},
	{"{'destination':'/t','type':'tmpfs','options':['rro','rnosuid','rnodev','rnoexec']}",
	 "tmpfs", "tmpfs", NULL, MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, 0, false},
	{"{'destination':'/t','type':'tmpfs','options':['noatime','nodiratime','sync','dirsync',"
	 "'mand','iversion','lazytime','silent','nosymfollow','defaults','acl']}",
	 "tmpfs", "tmpfs", NULL,
	 MS_NOATIME | MS_NODIRATIME | MS_SYNCHRONOUS | MS_DIRSYNC | MS_MANDLOCK | MS_I_VERSION |
		 MS_LAZYTIME | MS_SILENT | MS_NOSYMFOLLOW | MS_POSIXACL,
	 0, false},
	{"{'destination':'/t','type':'tmpfs','options':['noatime','atime','nosuid','suid','nodev',"
	 "'dev','noexec','exec','sync','async','ro','rrw','relatime','norelatime','mand','nomand',"
	 "'silent','loud','strictatime','nostrictatime','nosymfollow','symfollow']}",
	 "tmpfs", "tmpfs", NULL, 0, 0, false},
	{"{'destination':'/t','type':'tmpfs','options':['private','rshared']}", "tmpfs", "tmpfs",
	 NULL, 0, MS_SHARED | MS_REC, false},
	{"{'destination':'/t','type':'tmpfs','options':['runbindable','']}", "tmpfs", "tmpfs", NULL,
	 0, MS_UNBINDABLE | MS_REC, false},

	{"{'destination':'/t','options':['remount','ro']}", NULL, NULL, NULL,
	 MS_REMOUNT | MS_RDONLY, 0, false},
	{"{'destination':'/t','options':['slave']}", NULL, NULL, NULL, 0, MS_SLAVE, false},
	{"{'destination':'/x','type':'overlay','source':'overlay',"
	 "'options':['lowerdir=/a','upperdir=/b']}",
	 "overlay", "overlay", "lowerdir=/a,upperdir=/b", 0, 0, false},
	{"{'destination':'/proc','type':'bind','source':'/proc','options':['rbind','nosuid']}",
	 "proc", "proc", NULL, MS_NOSUID, 0, false},
	{"{'destination':'/sys','source':'/sys','options':['rbind','ro','rprivate']}", "sysfs",
	 "sysfs", NULL, MS_RDONLY, MS_PRIVATE | MS_REC, false},
};

static void test_mount_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(mounts); i++) {
		struct error err = {0};
		struct spec_mount *m;
		struct config c;

		if (parse_with(&c, "/mounts/0", mounts[i].json, &err))
			fail_msg("%s: %s", mounts[i].json, err.text);
		m = &c.container.mounts[0];
		assert_int_equal(m->flags, mounts[i].flags);
		assert_int_equal(m->propagation, mounts[i].propagation);
		assert_int_equal(m->copy_up, mounts[i].copy_up);
		assert_int_equal(m->share, -1);
#define SAME(a, b) assert_true((a) && (b) ? !strcmp(a, b) : (a) == (b))
		SAME(m->type, mounts[i].type);
		SAME(m->source, mounts[i].source);
		SAME(m->data, mounts[i].data);
#undef SAME
		config_done(&c);
	}
}

/*
 * runtime-tools' validation/mounts binds a directory with a tmpfs' options beside the mount's own,
 * which runc and crun take (the kernel drops them); we refused it.
 */
static void test_bind_with_data(void **state)
{
	struct error err = {0};
	struct spec_mount *m;
	struct config c;

	(void)state;
	if (parse_with(&c, "/mounts/2/options", "['nosuid','mode=755','size=1k','rbind']", &err))
		fail_msg("%s", err.text);
	m = &c.container.mounts[2];
	assert_string_equal(m->type, "bind");
	assert_int_equal(m->flags, MS_BIND | MS_REC | MS_NOSUID);
	assert_null(m->data);
	config_done(&c);
}

/* Memory shared by mmap(2) does not work over a file protocol. */
static void test_shm(void **state)
{
	static const char json[] = "{'destination':'/dev/shm','type':'bind','source':'/dev/shm',"
				   "'options':['bind','nosuid']}";
	struct spec_mount *m;
	struct config c;

	(void)state;
	parse_good(&c, "/mounts/0", json);
	m = &c.container.mounts[0];
	if (m->share >= 0) {
		config_done(&c);
		print_message("skipped: /dev/shm is not a tmpfs here\n");
		skip();
	}
	assert_string_equal(m->type, "tmpfs");
	assert_true(m->flags == MS_NOSUID);
	assert_memory_equal(m->data, "mode=1777", 9);
	assert_int_equal(c.shares_n, 2);
	config_done(&c);
}

static void test_standard_devices(void **state)
{
	struct config c;

	(void)state;
	parse_good(&c, "/mounts/0",
		   "{'destination':'/dev/null','type':'bind','source':'/dev/null'}");
	assert_int_equal(c.container.mounts_n, 4);
	assert_int_equal(c.container.mounts[1].share, 0);
	config_done(&c);
}

static void test_namespaces(void **state)
{
	struct config c;

	(void)state;
	parse_good(&c, "/linux/namespaces", "[{'type':'uts'},{'type':'network'},{'type':'time'}]");
	assert_true(c.container.unshare == CLONE_NEWUTS && c.netns_set && !c.netns_path);
	config_done(&c);
	parse_good(&c, "/linux/namespaces",
		   "[{'type':'uts','path':''},{'type':'pid','path':null}]");
	assert_true(c.container.unshare == (CLONE_NEWUTS | CLONE_NEWPID) && !c.netns_set);
	config_done(&c);
}

static void install(const struct spec_process *p)
{
	struct sock_fprog prog = {.len = (unsigned short)(p->seccomp.size / 8),
				  .filter = (struct sock_filter *)p->seccomp.data};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, p->seccomp_flags, &prog))
		_exit(1);
}

/* The filter, as the agent installs it, does what the profile says. */
static void test_seccomp(void **state)
{
	struct config c;
	int status;
	pid_t pid;

	(void)state;
	parse_good(&c, NULL, NULL);
	assert_true(c.container.process.seccomp.size >= 8);
	assert_int_equal(c.container.process.seccomp.size % sizeof(struct sock_filter), 0);
	assert_int_equal(c.container.process.seccomp_flags, SECCOMP_FILTER_FLAG_LOG);
	pid = fork();
	if (!pid) {
		install(&c.container.process);
		if (syscall(SYS_swapoff, "") != -1 || errno != 77)
			_exit(2);
		if (syscall(SYS_personality, 8) != -1 || errno != EPERM)
			_exit(3);
		if (syscall(SYS_personality, 16) != -1 || errno != EPERM)
			_exit(4);
		if (syscall(SYS_personality, 0xffffffff) == -1)
			_exit(5);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	config_done(&c);
}

/* What `features` lists. */
static void test_names(void **state)
{
	const char *const *names = config_mount_option_names();
	int n = 0, seen = 0;

	(void)state;
	assert_int_equal(config_capability("CAP_CHOWN"), 0);
	assert_int_equal(config_capability("checkpoint_restore"), 40);
	assert_int_equal(config_capability("CAP_CAP_CHOWN"), -1);
	assert_int_equal(config_capability(""), -1);
	assert_ptr_equal(config_mount_option_names(), names);
	for (; names[n]; n++) {
		char json[128];
		struct config c;

		snprintf(json, sizeof(json), "{'destination':'/t','type':'tmpfs','options':['%s']}",
			 names[n]);
		seen += !strcmp(names[n], "rro") + !strcmp(names[n], "tmpcopyup") +
			!strcmp(names[n], "rslave");
		if (strstr(names[n], "bind") && !strstr(names[n], "unbindable"))
			continue;
		parse_good(&c, "/mounts/0", json);
		assert_null(c.container.mounts[0].data); /* understood, not passed on */
		config_done(&c);
	}
	assert_int_equal(seen, 3);
}

static const struct {
	const char *where, *value;
} good[] = {
	{"/ociVersion", "'1.0.0'"},
	{"/ociVersion", "'1.3.0'"},
	{"/process/user", "null"},
	{"/process/capabilities", "null"},
	{"/process/capabilities/ambient", "null"},
	{"/process/rlimits", "[]"},
	{"/process/scheduler", "null"},
	{"/process/consoleSize", "null"},
	{"/process/noSuchField", "{'a':[1]}"},
	{"/mounts", "null"},
	{"/mounts", "[]"},
	{"/hooks", "null"},
	{"/hooks", "{}"},
	{"/annotations", "null"},
	{"/vm", "{'kernel':{'path':7}}"},
	{"/windows", "{'layerFolders':['x']}"},
	{"/hostname", "''"},
	{"/linux/uidMappings", "[]"},
	{"/linux/intelRdt", "null"},
	{"/linux/mountLabel", "'system_u'"},
	{"/linux/cgroupsPath", "'system.slice:caisson:web'"},
	{"/linux/sysctl", "{'net/ipv4/conf/eth0.1/forwarding':'1'}"},
	{"/linux/devices/0/type", "'u'"},
	{"/linux/devices/0/fileMode", "438"},
	{"/linux/resources", "null"},
	{"/linux/resources/blockIO", "{'weight':10}"},
	{"/linux/resources/hugepageLimits", "[{'pageSize':'2MB','limit':1}]"},
	{"/linux/resources/cpu/cpus", "''"},
	{"/linux/seccomp", "null"},
	{"/linux/seccomp/listenerPath", "''"},
	{"/linux/seccomp/syscalls", "null"},
	{"/linux/seccomp/syscalls/1/action", "'SCMP_ACT_LOG'"},
	{"/linux/seccomp/syscalls/1/action", "'SCMP_ACT_ALLOW'"},
	{"/linux/seccomp/syscalls/1/action", "'SCMP_ACT_KILL_PROCESS'"},
	{"/linux/rootfsPropagation", "''"},
	{"/linux/personality", "null"},
};

static void test_good(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		struct config c;

		parse_good(&c, good[i].where, good[i].value);
		config_done(&c);
	}
}

#define SHARE_ONLY ": only directories and regular files can be shared with a guest"
#define HOST_KERNEL " belongs to the host's kernel and cannot be shared with a guest"
#define NOT_JOINED ": a host namespace cannot be joined from behind a guest kernel"
#define BIND(source) "{'destination':'/x','type':'bind','source':'" source "'}"

static const struct {
	const char *where, *value;
	int code;
	const char *text; /* after "config.json: " */
} bad[] = {
	{"/ociVersion", "null", EINVAL, "ociVersion is missing"},
	{"/ociVersion", "''", EINVAL, "ociVersion is empty"},
	{"/ociVersion", "1", EINVAL, "ociVersion 1 is not a string"},
	{"/ociVersion", "'2.0.0'", EINVAL, "ociVersion '2.0.0' is not a 1.x version"},
	{"/ociVersion", "'1.x'", EINVAL, "ociVersion '1.x' is not a 1.x version"},
	{"/root", "null", EINVAL, "root is missing"},
	{"/root", "[]", EINVAL, "root [...] is not an object"},
	{"/root/path", "null", EINVAL, "root.path is missing"},
	{"/root/readonly", "'yes'", EINVAL, "root.readonly 'yes' is not true or false"},
	{"/process", "null", EINVAL, "process is missing"},
	{"/process/args", "null", EINVAL, "process.args is missing"},
	{"/process/args", "[]", EINVAL, "process.args is empty"},
	{"/process/args", "'sh'", EINVAL, "process.args 'sh' is not an array"},
	{"/process/args/0", "''", EINVAL, "process.args[0] is empty"},
	{"/process/args/1", "5", EINVAL, "process.args[1] 5 is not a string"},
	{"/process/args/2", "null", EINVAL, "process.args[2] is null"},
	{"/process/cwd", "null", EINVAL, "process.cwd is missing"},
	{"/process/cwd", "'tmp'", EINVAL, "process.cwd 'tmp' is not an absolute path"},
	{"/process/cwd", "'a\\nb'", EINVAL, "process.cwd 'a b' is not an absolute path"},
	{"/process/cwd", "true", EINVAL, "process.cwd true is not a string"},
	{"/process/env/1", "'PATH'", EINVAL, "process.env[1] 'PATH' is not NAME=value"},
	{"/process/env/1", "'=x'", EINVAL, "process.env[1] '=x' is not NAME=value"},
	{"/process/terminal", "1", EINVAL, "process.terminal 1 is not true or false"},
	{"/process/consoleSize/height", "65536", ERANGE,
	 "process.consoleSize.height 65536 is greater than 65535"},
	{"/process/consoleSize/width", "-1", ERANGE, "process.consoleSize.width -1 is negative"},
	{"/process/user/uid", "-1", ERANGE, "process.user.uid -1 is negative"},
	{"/process/user/uid", "4294967295", ERANGE,
	 "process.user.uid 4294967295 is greater than 4294967294"},
	{"/process/user/gid", "'0'", EINVAL, "process.user.gid '0' is not an integer"},
	{"/process/user/gid", "1.0", EINVAL, "process.user.gid 1.0 is not an integer"},
	{"/process/user/umask", "512", ERANGE, "process.user.umask 512 is greater than 511"},
	{"/process/user/additionalGids/1", "-5", EINVAL,
	 "process.user.additionalGids has -5, which is not a group id"},
	{"/process/user/additionalGids/1", "null", EINVAL,
	 "process.user.additionalGids has null, which is not a group id"},
	{"/process/capabilities/bounding/0", "'CAP_FLY'", EINVAL,
	 "process.capabilities.bounding has 'CAP_FLY', which is not a capability"},
	{"/process/capabilities/bounding/0", "'CAP_'", EINVAL,
	 "process.capabilities.bounding has 'CAP_', which is not a capability"},
	{"/process/capabilities/effective", "['CAP_SYS_ADMIN']", EINVAL,
	 "process.capabilities.effective has 'CAP_SYS_ADMIN', which is not permitted"},
	{"/process/rlimits/0/type", "'RLIMIT_FUN'", EINVAL,
	 "process.rlimits[0].type 'RLIMIT_FUN' is not a resource limit"},
	{"/process/rlimits/1/type", "'RLIMIT_NOFILE'", EINVAL,
	 "process.rlimits[1].type 'RLIMIT_NOFILE' is there twice"},
	{"/process/rlimits/0/soft", "5000", EINVAL,
	 "process.rlimits[0].soft 5000 is greater than the hard limit 4096"},
	{"/process/rlimits/0/soft", "null", EINVAL, "process.rlimits[0].soft is missing"},
	{"/process/rlimits/0/hard", "-1", ERANGE, "process.rlimits[0].hard -1 is negative"},
	{"/process/rlimits/0", "null", EINVAL, "process.rlimits[0] is null"},
	{"/process/rlimits/0", "7", EINVAL, "process.rlimits[0] 7 is not an object"},
	{"/process/oomScoreAdj", "1001", ERANGE, "process.oomScoreAdj 1001 is greater than 1000"},
	{"/process/oomScoreAdj", "-1001", ERANGE, "process.oomScoreAdj -1001 is less than -1000"},
	{"/process/oomScoreAdj", "18446744073709551615", ERANGE,
	 "process.oomScoreAdj 18446744073709551615 is greater than 1000"},
	{"/process/apparmorProfile", "7", EINVAL, "process.apparmorProfile 7 is not a string"},
	{"/process/scheduler", "{'policy':'SCHED_FIFO'}", EOPNOTSUPP,
	 "process.scheduler {...}: scheduling policies are not supported"},
	{"/process/ioPriority", "{'class':'IOPRIO_CLASS_RT'}", EOPNOTSUPP,
	 "process.ioPriority {...}: I/O priorities are not supported"},
	{"/hostname", "'aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffff12345'", EINVAL,
	 "hostname 'aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffff12345' "
	 "is longer than 64 bytes"},
	{"/domainname", "['x']", EINVAL, "domainname [...] is not a string"},
	{"/annotations/x", "1", EINVAL, "annotations['x'] 1 is not a string"},
	{"/annotations/x", "null", EINVAL, "annotations['x'] is null"},
	{"/annotations", "{'':'x'}", EINVAL, "annotations has an empty key"},
	{"/hooks/prestart/0/path", "'a'", EINVAL,
	 "hooks.prestart[0].path 'a' is not an absolute path"},
	{"/hooks/poststop/1/path", "null", EINVAL, "hooks.poststop[1].path is missing"},
	{"/hooks/poststop/0/timeout", "0", ERANGE, "hooks.poststop[0].timeout 0 is less than 1"},
	{"/hooks/poststop/0/env/0", "'A'", EINVAL,
	 "hooks.poststop[0].env[0] 'A' is not NAME=value"},
	{"/hooks/createRuntime", "{}", EINVAL, "hooks.createRuntime {...} is not an array"},
	{"/mounts", "{}", EINVAL, "mounts {...} is not an array"},
	{"/mounts/3/destination", "'tmp'", EINVAL,
	 "mounts[3].destination 'tmp' is not an absolute path"},
	{"/mounts/3/destination", "null", EINVAL, "mounts[3].destination is missing"},
	{"/mounts/0/type", "null", EINVAL, "mounts[0].type is missing"},
	{"/mounts/0/options", "'ro'", EINVAL, "mounts[0].options 'ro' is not an array"},
	{"/mounts/0/options/1", "null", EINVAL, "mounts[0].options[1] is null"},
	{"/mounts/0/options/1", "'idmap'", EOPNOTSUPP,
	 "mounts[0].options[1] 'idmap': mapped ids are not supported"},
	{"/mounts/0/options/1", "'ridmap=uids=0-1-1'", EOPNOTSUPP,
	 "mounts[0].options[1] 'ridmap=uids=0-1-1': mapped ids are not supported"},
	{"/mounts/0/options/1", "'tmpcopyup'", EINVAL,
	 "mounts[0].options has 'tmpcopyup', which is for tmpfs"},
	{"/mounts/2/uidMappings", "[{}]", EOPNOTSUPP,
	 "mounts[2].uidMappings [...]: mapped ids are not supported"},
	{"/mounts/2/source", "'/nope'", ENOENT,
	 "mounts[2].source '/nope': No such file or directory"},
	{"/mounts/2/source", "'nope'", ENOENT,
	 "mounts[2].source '@/nope': No such file or directory"},
	{"/mounts/2/source", "null", EINVAL, "mounts[2].source is missing"},
	{"/mounts/2/source", "'fifo'", EOPNOTSUPP, "mounts[2].source '@/fifo'" SHARE_ONLY},
	{"/mounts/2/source", "'sock'", EOPNOTSUPP, "mounts[2].source '@/sock'" SHARE_ONLY},
	{"/mounts/2", BIND("/dev/null"), EOPNOTSUPP, "mounts[2].source '/dev/null'" SHARE_ONLY},
	{"/mounts/2", BIND("/proc"), EOPNOTSUPP, "mounts[2].source '/proc'" HOST_KERNEL},
	{"/mounts/2", BIND("/proc/self"), EOPNOTSUPP, "mounts[2].source '/proc/self'" HOST_KERNEL},
	{"/mounts/2", BIND("/sys/kernel"), EOPNOTSUPP,
	 "mounts[2].source '/sys/kernel'" HOST_KERNEL},
	{"/mounts/2", BIND("/dev"), EOPNOTSUPP,
	 "mounts[2].source '/dev': devices of the host cannot be shared with a guest"},
	{"/mounts/2/options", "['rbind','nosiud']", EINVAL,
	 "mounts[2].options has 'nosiud', which is not an option of bind mounts"},
	{"/mounts/2/options", "['rbind','mode=755,nosiud','size=1k']", EINVAL,
	 "mounts[2].options has 'nosiud', which is not an option of bind mounts"},
	{"/linux", "[]", EINVAL, "linux [...] is not an object"},
	{"/linux/namespaces/0/type", "'pod'", EINVAL,
	 "linux.namespaces[0].type 'pod' is not a namespace"},
	{"/linux/namespaces/1/type", "'pid'", EINVAL,
	 "linux.namespaces[1].type 'pid' is there twice"},
	{"/linux/namespaces/0/path", "'/proc/1/ns/pid'", EOPNOTSUPP,
	 "linux.namespaces[0].path '/proc/1/ns/pid'" NOT_JOINED},
	{"/linux/namespaces/1/path", "'/proc/1/ns/ipc'", EOPNOTSUPP,
	 "linux.namespaces[1].path '/proc/1/ns/ipc'" NOT_JOINED},
	{"/linux/namespaces/5/path", "'netns'", EINVAL,
	 "linux.namespaces[5].path 'netns' is not an absolute path"},
	{"/linux/namespaces/3/type", "'user'", EOPNOTSUPP,
	 "linux.namespaces[3].type 'user': user namespaces are not supported yet"},
	{"/linux/namespaces", "[]", EINVAL,
	 "linux.namespaces has no uts, which hostname 'web' needs"},
	{"/linux/uidMappings", "[{'containerID':0}]", EOPNOTSUPP,
	 "linux.uidMappings [...]: user namespaces are not supported yet"},
	{"/linux/timeOffsets", "{'monotonic':{}}", EOPNOTSUPP,
	 "linux.timeOffsets {...}: time namespaces with offsets are not supported"},
	{"/linux/intelRdt", "{'closID':'x'}", EOPNOTSUPP,
	 "linux.intelRdt {...}: cache and bandwidth allocation is not supported"},
	{"/linux/devices/0/type", "'x'", EINVAL, "linux.devices[0].type 'x' is not a device type"},
	{"/linux/devices/0/path", "'dev'", EINVAL,
	 "linux.devices[0].path 'dev' is not an absolute path"},
	{"/linux/devices/0/major", "null", EINVAL, "linux.devices[0].major is missing"},
	{"/linux/devices/0/major", "-1", ERANGE, "linux.devices[0].major -1 is negative"},
	{"/linux/devices/0/minor", "1048576", ERANGE,
	 "linux.devices[0].minor 1048576 is greater than 1048575"},
	{"/linux/devices/0/fileMode", "25014", EINVAL,
	 "linux.devices[0].fileMode 25014 is not a mode of that type"},
	{"/linux/cgroupsPath", "7", EINVAL, "linux.cgroupsPath 7 is not a string"},
	{"/linux/sysctl", "{'a/../b':'1'}", EINVAL,
	 "linux.sysctl has 'a/../b', which is not a sysctl"},
	{"/linux/sysctl", "{'kernel.x y':'1'}", EINVAL,
	 "linux.sysctl has 'kernel.x y', which is not a sysctl"},
	{"/linux/sysctl", "{'/etc/passwd':'1'}", EINVAL,
	 "linux.sysctl has '/etc/passwd', which is not a sysctl"},
	{"/linux/sysctl", "{'a.b':1}", EINVAL, "linux.sysctl['a.b'] 1 is not a string"},
	{"/linux/maskedPaths/0", "'proc'", EINVAL,
	 "linux.maskedPaths[0] 'proc' is not an absolute path"},
	{"/linux/readonlyPaths/1", "''", EINVAL,
	 "linux.readonlyPaths[1] '' is not an absolute path"},
	{"/linux/rootfsPropagation", "'sideways'", EINVAL,
	 "linux.rootfsPropagation 'sideways' is not a propagation"},
	{"/linux/personality/domain", "'LINUX32'", EOPNOTSUPP,
	 "linux.personality.domain 'LINUX32' is not supported, only LINUX"},
	{"/linux/personality/flags", "['x']", EOPNOTSUPP,
	 "linux.personality.flags [...]: personality flags are not supported"},
	{"/linux/resources/memory/limit", "-2", ERANGE,
	 "linux.resources.memory.limit -2 is less than -1"},
	{"/linux/resources/memory/limit", "9223372036854775808", ERANGE,
	 "linux.resources.memory.limit 9223372036854775808 is greater than 9223372036854775807"},
	{"/linux/resources/memory/swap", "1000", EINVAL,
	 "linux.resources.memory.swap 1000 is less than memory.limit 67108864"},
	{"/linux/resources/memory/limit", "null", EINVAL,
	 "linux.resources.memory.swap 134217728 needs memory.limit"},
	{"/linux/resources/cpu/shares", "-1", ERANGE, "linux.resources.cpu.shares -1 is negative"},
	{"/linux/resources/cpu/quota", "999", ERANGE,
	 "linux.resources.cpu.quota 999 is less than 1000 microseconds"},
	{"/linux/resources/cpu/period", "10", ERANGE,
	 "linux.resources.cpu.period 10 is less than 1000 microseconds"},
	{"/linux/resources/cpu/period", "1000001", ERANGE,
	 "linux.resources.cpu.period 1000001 is greater than 1000000"},
	{"/linux/resources/cpu/cpus", "'0-'", EINVAL,
	 "linux.resources.cpu.cpus '0-' is not a list of numbers and ranges"},
	{"/linux/resources/cpu/mems", "'1,'", EINVAL,
	 "linux.resources.cpu.mems '1,' is not a list of numbers and ranges"},
	{"/linux/resources/cpu/cpus", "'all'", EINVAL,
	 "linux.resources.cpu.cpus 'all' is not a list of numbers and ranges"},
	{"/linux/resources/pids/limit", "'max'", EINVAL,
	 "linux.resources.pids.limit 'max' is not an integer"},
	{"/linux/resources/unified", "{'a/b':'1'}", EINVAL,
	 "linux.resources.unified has 'a/b', which is not a cgroup file"},
	{"/linux/resources/unified", "{'..':'1'}", EINVAL,
	 "linux.resources.unified has '..', which is not a cgroup file"},
	{"/linux/resources/unified/memory.high", "5", EINVAL,
	 "linux.resources.unified['memory.high'] 5 is not a string"},
	{"/linux/resources/devices", "7", EINVAL, "linux.resources.devices 7 is not an array"},
	{"/linux/seccomp/defaultAction", "null", EINVAL, "linux.seccomp.defaultAction is missing"},
	{"/linux/seccomp/defaultAction", "'ALLOW'", EINVAL,
	 "linux.seccomp.defaultAction 'ALLOW' is not an action"},
	{"/linux/seccomp/defaultErrnoRet", "1", EINVAL,
	 "linux.seccomp.defaultErrnoRet does not go with action 'SCMP_ACT_ALLOW'"},
	{"/linux/seccomp/defaultAction", "'SCMP_ACT_NOTIFY'", EOPNOTSUPP,
	 "linux.seccomp.defaultAction 'SCMP_ACT_NOTIFY' is not supported: a listener on the host "
	 "cannot look into a guest"},
	{"/linux/seccomp/listenerPath", "'/run/l'", EOPNOTSUPP,
	 "linux.seccomp.listenerPath '/run/l': a listener on the host cannot look into a guest"},
	{"/linux/seccomp/architectures/0", "'x86'", EINVAL,
	 "linux.seccomp.architectures has 'x86', which is not an architecture"},
	{"/linux/seccomp/architectures/0", "'SCMP_ARCH_PDP11'", EINVAL,
	 "linux.seccomp.architectures has 'SCMP_ARCH_PDP11', which is not an architecture"},
	{"/linux/seccomp/flags/0", "'SECCOMP_FILTER_FLAG_NEW_LISTENER'", EINVAL,
	 "linux.seccomp.flags has 'SECCOMP_FILTER_FLAG_NEW_LISTENER', which is not supported"},
	{"/linux/seccomp/syscalls/0/names", "[]", EINVAL,
	 "linux.seccomp.syscalls[0].names is empty"},
	{"/linux/seccomp/syscalls/0/action", "'SCMP_ACT_SING'", EINVAL,
	 "linux.seccomp.syscalls[0].action 'SCMP_ACT_SING' is not an action"},
	{"/linux/seccomp/syscalls/0/action", "'SCMP_ACT_LOG'", EINVAL,
	 "linux.seccomp.syscalls[0].errnoRet does not go with action 'SCMP_ACT_LOG'"},
	{"/linux/seccomp/syscalls/0/errnoRet", "4096", ERANGE,
	 "linux.seccomp.syscalls[0].errnoRet 4096 is greater than 4095"},
	{"/linux/seccomp/syscalls/1/args/0/index", "6", ERANGE,
	 "linux.seccomp.syscalls[1].args[0].index 6 is greater than 5"},
	{"/linux/seccomp/syscalls/1/args/0/op", "'SCMP_CMP_ODD'", EINVAL,
	 "linux.seccomp.syscalls[1].args[0].op 'SCMP_CMP_ODD' is not an operator"},
	{"/linux/seccomp/syscalls/1/args", "[{},{},{},{},{},{},{}]", E2BIG,
	 "linux.seccomp.syscalls[1].args has 7 elements, more than 6"},
};

static void test_bad(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct error err = {0};
		struct config c;
		int rc = parse_with(&c, bad[i].where, bad[i].value, &err);

		if (!rc)
			fail_msg("%s = %s: accepted", bad[i].where, bad[i].value);
		assert_memory_equal(err.text, "config.json: ", 13);
		assert_text(err.text + 13, bad[i].text);
		assert_int_equal(rc, -bad[i].code);
		assert_int_equal(err.code, bad[i].code);
		assert_null(c.arena);
		assert_null(c.root_path);
	}
}

static const struct {
	const char *json;
	int code;
	const char *text;
} bad_json[] = {
	{"", EINVAL, "the JSON text ends too early"},
	{"{", EINVAL, "the JSON text ends too early"},
	{"{\"a", EINVAL, "the JSON text ends too early"},
	{"[]", EINVAL, "the JSON text is not an object"},
	{"null ", EINVAL, "the JSON text is not an object"},
	{"{} {}", EINVAL, "not JSON: unexpected character at byte 3"},
	{"{}x", EINVAL, "not JSON: unexpected character at byte 2"},
	{"{\"a\":1,}", EINVAL, "not JSON: object property name separator ',' expected at byte 7"},
	{"{'a':1}", EINVAL, "unexpected single quote at byte 1"},
	{"{\"a\":\"x\\u0000y\"}", EINVAL, "string at byte 5 contains NUL"},
	{"{\"a\\u0000\":1}", EINVAL, "string at byte 1 contains NUL"},
	{"{\"a\":18446744073709551616}", ERANGE, "the number 18446744073709551616 is out of range"},
	{"{\"a\":-9223372036854775809}", ERANGE, "the number -9223372036854775809 is out of range"},
	{"{\"a\":\"\xff\"}", EINVAL, "not JSON: invalid utf-8 string at byte 6"},
};

static void test_bad_json(void **state)
{
	struct error err = {0};
	struct config c;
	char deep[100];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad_json); i++) {
		const char *s = bad_json[i].json;

		assert_int_equal(config_parse(&c, bundle, s, strlen(s), &err), -bad_json[i].code);
		assert_memory_equal(err.text, "config.json: ", 13);
		if (strncmp(bad_json[i].text, "not JSON", 8))
			assert_string_equal(err.text + 13, bad_json[i].text);
		else /* the rest is json-c's */
			assert_memory_equal(err.text + 13, "not JSON: ", 10);
	}
	assert_int_equal(config_parse(&c, bundle, "{}\0{}", 5, &err), -EINVAL);
	assert_string_equal(err.text, "config.json: unexpected NUL at byte 2");
	memset(deep, '[', sizeof(deep));
	memcpy(deep, "{\"a\":", 5);
	assert_int_equal(config_parse(&c, bundle, deep, sizeof(deep), &err), -EINVAL);
	assert_non_null(strstr(err.text, "nesting too deep"));
}

static void test_too_large(void **state)
{
	_cleanup_free_ char *big = malloc(CONFIG_SIZE_MAX + 1);
	_cleanup_free_ char *path = malloc(5000);
	struct error err = {0};
	struct config c;

	(void)state;
	memset(big, ' ', CONFIG_SIZE_MAX + 1);
	assert_int_equal(config_parse(&c, bundle, big, CONFIG_SIZE_MAX + 1, &err), -EFBIG);
	assert_string_equal(err.text, "config.json: the file is larger than 4194304 bytes");

	memset(path, 'a', 5000);
	memcpy(path, "'/", 2);
	memcpy(path + 4997, "'\0", 2);
	assert_int_equal(parse_with(&c, "/process/cwd", path, &err), -ENAMETOOLONG);
	assert_non_null(strstr(err.text, "process.cwd '/aaa"));
	assert_int_equal(parse_with(&c, "/root/path", path, &err), -ENAMETOOLONG);
	assert_non_null(strstr(err.text, "root.path '/aaa"));
	assert_int_equal(parse_with(&c, "/mounts/2/source", path, &err), -ENAMETOOLONG);
	assert_non_null(strstr(err.text, "mounts[2].source '/aaa"));
	path[1] = 'a';
	assert_int_equal(parse_with(&c, "/mounts/1/options/0", path, &err), -E2BIG);
	assert_non_null(strstr(err.text, "mounts[1].options[0] 'aaa"));
}

static void write_bundle_file(const char *name, const char *text)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", bundle, name);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void test_load(void **state)
{
	_cleanup_free_ char *text = quoted(base);
	struct error err = {0};
	struct config c;
	char path[64];

	(void)state;
	snprintf(path, sizeof(path), "%s/config.json", bundle);
	unlink(path);
	assert_int_equal(config_load(&c, bundle, NULL, &err), -ENOENT);
	assert_text(err.text, "open '@/config.json': No such file or directory");
	write_bundle_file("config.json", text);
	assert_int_equal(config_load(&c, bundle, NULL, &err), 0);
	assert_int_equal(c.shares_n, 2);
	config_done(&c);

	write_bundle_file("other.json", "{}");
	snprintf(path, sizeof(path), "%s/other.json", bundle);
	assert_int_equal(config_load(&c, bundle, path, &err), -EINVAL);
	assert_text(err.text, "@/other.json: ociVersion is missing");
	assert_int_equal(config_load(&c, bundle, bundle, &err), -EISDIR);
	assert_int_equal(config_load(&c, bundle, "/dev/zero", &err), -EFBIG);
	assert_int_equal(config_load(&c, bundle, "/nope", NULL), -ENOENT);
}

static void test_process_document(void **state)
{
	_cleanup_free_ char *text = quoted("{'args':['ls'],'cwd':'/x','env':['A=b']}");
	struct error err = {0};
	struct spec_process p;
	struct config c;
	char path[64];

	(void)state;
	parse_good(&c, NULL, NULL);
	assert_int_equal(config_process_parse(&p, &c, text, strlen(text), &err), 0);
	assert_string_equal(p.args.v[0], "ls");
	assert_string_equal(p.cwd, "/x");
	assert_true(!p.terminal && !p.uid && !p.caps[CAPS_BOUNDING] && p.umask == UINT32_MAX);
	assert_ptr_equal(p.seccomp.data, c.container.process.seccomp.data);
	assert_int_equal(p.seccomp_flags, c.container.process.seccomp_flags);

	write_bundle_file("process.json", text);
	snprintf(path, sizeof(path), "%s/process.json", bundle);
	assert_int_equal(config_process_load(&p, &c, path, &err), 0);
	assert_string_equal(p.env.v[0], "A=b");
	assert_int_equal(config_process_parse(&p, &c, "{\"cwd\":\"/\"}", 11, &err), -EINVAL);
	assert_string_equal(err.text, "process: args is missing");
	assert_null(p.cwd);
	write_bundle_file("process.json", "{\"args\":[\"a\"],\"cwd\":\"x\"}");
	assert_int_equal(config_process_load(&p, &c, path, &err), -EINVAL);
	assert_text(err.text, "@/process.json: cwd 'x' is not an absolute path");
	config_done(&c);
}

/* Whichever allocation fails, it is ENOMEM and nothing is left behind. */
static void test_out_of_memory(void **state)
{
	_cleanup_free_ char *json = quoted(base);
	struct error err = {0};
	struct config c;
	long n = 0;
	int rc;

	(void)state;
	do {
		calloc_left = n++;
		rc = config_parse(&c, bundle, json, strlen(json), &err);
		calloc_left = -1;
		assert_true(!rc || (rc == -ENOMEM && !c.arena));
	} while (rc);
	assert_true(n > 100);
	config_done(&c);
}

/* Configurations as engines write them; the fuzzer's seeds. */
static void test_engines(void **state)
{
	const char *root = getenv("CAISSON_SOURCE");
	char dir[4096], path[8192];
	struct dirent *e;
	int seen = 0;
	DIR *d;

	(void)state;
	snprintf(dir, sizeof(dir), "%s/tests/fuzz/corpus/config", root ? root : ".");
	d = opendir(dir);
	if (!d) {
		print_message("skipped: no '%s'; CAISSON_SOURCE is the source tree\n", dir);
		skip();
	}
	while ((e = readdir(d))) {
		struct error err = {0};
		struct config c;

		if (*e->d_name == '.' || !strcmp(e->d_name, "process.json"))
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		if (config_load(&c, "/", path, &err))
			fail_msg("%s", err.text);
		config_done(&c);
		seen++;
	}
	closedir(d);
	assert_true(seen >= 10);
}

static int setup(void **state)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	char path[64];
	int fd;

	(void)state;
	if (!mkdtemp(bundle))
		return -1;
	snprintf(path, sizeof(path), "%s/dir", bundle);
	if (mkdir(path, 0700) < 0)
		return -1;
	snprintf(path, sizeof(path), "%s/fifo", bundle);
	if (mkfifo(path, 0600) < 0)
		return -1;
	write_bundle_file("file", "");
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/sock", bundle);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0)
		return -1;
	close(fd);
	return 0;
}

static int teardown(void **state)
{
	static const char *const names[] = {"file",	   "fifo",	 "sock",
					    "config.json", "other.json", "process.json"};
	char path[128];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", bundle, names[i]);
		unlink(path);
	}
	snprintf(path, sizeof(path), "%s/dir", bundle);
	rmdir(path);
	return rmdir(bundle);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_process),	      cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_container),     cmocka_unit_test(test_resources),
		cmocka_unit_test(test_limits),	      cmocka_unit_test(test_mounts),
		cmocka_unit_test(test_mount_table),   cmocka_unit_test(test_bind_with_data),
		cmocka_unit_test(test_shm),	      cmocka_unit_test(test_standard_devices),
		cmocka_unit_test(test_namespaces),    cmocka_unit_test(test_seccomp),
		cmocka_unit_test(test_good),	      cmocka_unit_test(test_bad),
		cmocka_unit_test(test_bad_json),      cmocka_unit_test(test_too_large),
		cmocka_unit_test(test_load),	      cmocka_unit_test(test_process_document),
		cmocka_unit_test(test_out_of_memory), cmocka_unit_test(test_names),
		cmocka_unit_test(test_engines),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
