// SPDX-License-Identifier: Apache-2.0
#include "runtime/seccomp.h"

#include <ctype.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/cleanup.h"

#define ERRNO_MAX 4095 /* the kernel's MAX_ERRNO; it would cut a greater one to this */
#define ARGS_MAX 6

static const struct doc_name actions[] = {
	{"SCMP_ACT_ALLOW", SCMP_ACT_ALLOW},
	{"SCMP_ACT_ERRNO", SCMP_ACT_ERRNO(0)},
	{"SCMP_ACT_KILL", SCMP_ACT_KILL},
	{"SCMP_ACT_KILL_PROCESS", SCMP_ACT_KILL_PROCESS},
	{"SCMP_ACT_KILL_THREAD", SCMP_ACT_KILL_THREAD},
	{"SCMP_ACT_LOG", SCMP_ACT_LOG},
	{"SCMP_ACT_NOTIFY", SCMP_ACT_NOTIFY},
	{"SCMP_ACT_TRACE", SCMP_ACT_TRACE(0)},
	{"SCMP_ACT_TRAP", SCMP_ACT_TRAP},
};

static const struct doc_name operators[] = {
	{"SCMP_CMP_EQ", SCMP_CMP_EQ}, {"SCMP_CMP_GE", SCMP_CMP_GE},
	{"SCMP_CMP_GT", SCMP_CMP_GT}, {"SCMP_CMP_LE", SCMP_CMP_LE},
	{"SCMP_CMP_LT", SCMP_CMP_LT}, {"SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ},
	{"SCMP_CMP_NE", SCMP_CMP_NE},
};

static const struct doc_name flags[] = {
	{"SECCOMP_FILTER_FLAG_LOG", SECCOMP_FILTER_FLAG_LOG},
	{"SECCOMP_FILTER_FLAG_SPEC_ALLOW", SECCOMP_FILTER_FLAG_SPEC_ALLOW},
	{"SECCOMP_FILTER_FLAG_TSYNC", SECCOMP_FILTER_FLAG_TSYNC},
};

static void cleanup_filter(scmp_filter_ctx *filter)
{
	if (*filter)
		seccomp_release(*filter);
}

/* The action in `field` with the value of errno it returns, from `errno_field`. */
static uint32_t read_action(struct doc *d, struct json_object *o, const char *field,
			    const char *errno_field)
{
	const char *name = doc_string_required(d, o, field);
	const struct doc_name *a = name ? doc_name_find(actions, ARRAY_SIZE(actions), name) : NULL;
	uint32_t value;

	if (!name)
		return 0;
	if (!a) {
		doc_fail(d, EINVAL, field, "'%.200s' is not an action", name);
		return 0;
	}
	if (a->value == SCMP_ACT_NOTIFY)
		doc_fail(d, EOPNOTSUPP, field,
			 "'%s' is not supported: a listener on the host "
			 "cannot look into a guest",
			 name);
	if (a->value != SCMP_ACT_ERRNO(0) && a->value != SCMP_ACT_TRACE(0)) {
		/* config-linux.md: "When the action doesn't support an errno, the runtime MUST
		 * print an error". */
		if (doc_has(d, o, errno_field))
			doc_fail(d, EINVAL, errno_field, "does not go with action '%s'", name);
		return (uint32_t)a->value;
	}
	value = (uint32_t)doc_uint(d, o, errno_field, ERRNO_MAX, EPERM);
	return (uint32_t)a->value | value;
}

/* The native architecture is in a filter from the start.  The kernel of a guest is of the host's
 * architecture, so only its relatives (x86, x32) can ever match. */
static void add_architectures(struct doc *d, struct json_object *o, scmp_filter_ctx filter)
{
	struct strv names;

	doc_strings(d, o, "architectures", &names);
	for (uint32_t i = 0; i < names.n && !d->rc; i++) {
		char lower[32] = "";
		const char *name = names.v[i];
		uint32_t arch = 0;
		int rc = 0;

		if (!strncmp(name, "SCMP_ARCH_", 10) && strlen(name) < sizeof(lower)) {
			for (size_t k = 0; name[10 + k]; k++)
				lower[k] = (char)tolower((unsigned char)name[10 + k]);
			arch = seccomp_arch_resolve_name(lower);
		}
		if (!arch) {
			doc_fail(d, EINVAL, "architectures",
				 "has '%.200s', which is not an architecture", name);
			return;
		}
		if (arch == SCMP_ARCH_X86_64 || arch == SCMP_ARCH_X86 || arch == SCMP_ARCH_X32)
			rc = seccomp_arch_add(filter, arch);
		if (rc < 0 && rc != -EEXIST)
			doc_fail(d, -rc, "architectures", "'%s': %s", name, strerror(-rc));
	}
}

static void read_arg(struct doc *d, struct json_object *o, struct scmp_arg_cmp *arg)
{
	const char *op = doc_string_required(d, o, "op");
	const struct doc_name *n = op ? doc_name_find(operators, ARRAY_SIZE(operators), op) : NULL;

	if (op && !n)
		doc_fail(d, EINVAL, "op", "'%.200s' is not an operator", op);
	doc_require(d, o, "index");
	doc_require(d, o, "value");
	arg->arg = (unsigned int)doc_uint(d, o, "index", ARGS_MAX - 1, 0);
	arg->op = n ? (enum scmp_compare)n->value : SCMP_CMP_EQ;
	arg->datum_a = doc_uint(d, o, "value", UINT64_MAX, 0);
	arg->datum_b = doc_uint(d, o, "valueTwo", UINT64_MAX, 0);
}

struct rule {
	uint32_t action;
	struct scmp_arg_cmp args[ARGS_MAX];
	uint32_t args_n;
	bool any; /* an argument is compared twice: any comparison will do, as in runc and crun */
};

static void read_args(struct doc *d, struct json_object *o, struct rule *r)
{
	unsigned int seen = 0;
	uint32_t n;
	struct json_object *a = doc_array(d, o, "args", &n);

	if (n > ARGS_MAX) {
		doc_fail(d, E2BIG, "args", "has %u elements, more than %d", n, ARGS_MAX);
		return;
	}
	for (uint32_t i = 0; i < n && !d->rc; i++) {
		size_t mark = doc_enter_index(d, "args", i);

		read_arg(d, doc_element(d, a, i), &r->args[i]);
		if (seen & 1u << r->args[i].arg)
			r->any = true;
		seen |= 1u << r->args[i].arg;
		doc_leave(d, mark);
	}
	r->args_n = n;
}

static void add_rule(struct doc *d, scmp_filter_ctx filter, const struct rule *r, const char *name)
{
	int call = seccomp_syscall_resolve_name(name);
	uint32_t step = r->any ? 1 : r->args_n;
	uint32_t at = 0;
	int rc;

	if (call == __NR_SCMP_ERROR)
		return;
	do {
		rc = seccomp_rule_add_array(filter, r->action, call, step, r->args + at);
		at += step;
		/* The same rule twice is no harm. */
		if (rc < 0 && rc != -EEXIST)
			doc_fail(d, -rc, NULL, "cannot be a rule for '%.100s': %s", name,
				 strerror(-rc));
	} while (at < r->args_n && !d->rc);
}

static void read_syscall(struct doc *d, struct json_object *o, scmp_filter_ctx filter,
			 uint32_t default_action)
{
	struct rule r = {0};
	struct strv names;

	r.action = read_action(d, o, "action", "errnoRet");
	read_args(d, o, &r);
	doc_strings(d, o, "names", &names);
	if (!names.n)
		doc_fail(d, EINVAL, "names", "is empty");
	/* libseccomp refuses a rule that does what happens anyway. */
	for (uint32_t i = 0; i < names.n && !d->rc && r.action != default_action; i++)
		add_rule(d, filter, &r, names.v[i]);
}

static void export(struct doc *d, scmp_filter_ctx filter, struct blob *ret)
{
	_cleanup_close_ int fd = memfd_create("seccomp", MFD_CLOEXEC);
	off_t size;
	int rc;

	if (fd < 0) {
		doc_fail(d, errno, NULL, "memfd_create: %s", strerror(errno));
		return;
	}
	rc = seccomp_export_bpf(filter, fd);
	if (rc < 0) {
		doc_fail(d, -rc, NULL, "cannot be compiled: %s", strerror(-rc));
		return;
	}
	size = lseek(fd, 0, SEEK_END);
	if (size <= 0 || (size_t)size % sizeof(struct sock_filter)) {
		doc_fail(d, EIO, NULL, "compiles to %lld bytes", (long long)size);
		return;
	}
	if ((size_t)size > BPF_MAXINSNS * sizeof(struct sock_filter)) {
		doc_fail(d, E2BIG, NULL, "compiles to %zu instructions, more than %d",
			 (size_t)size / sizeof(struct sock_filter), BPF_MAXINSNS);
		return;
	}
	ret->data = doc_alloc(d, (size_t)size, 1);
	if (!ret->data)
		return;
	if (pread(fd, ret->data, (size_t)size, 0) != size)
		doc_fail(d, EIO, NULL, "cannot be read back");
	ret->size = (uint32_t)size;
}

static uint32_t read_flags(struct doc *d, struct json_object *o)
{
	struct strv names;
	uint32_t set = 0;

	doc_strings(d, o, "flags", &names);
	for (uint32_t i = 0; i < names.n && !d->rc; i++) {
		const struct doc_name *f = doc_name_find(flags, ARRAY_SIZE(flags), names.v[i]);

		if (!f)
			doc_fail(d, EINVAL, "flags", "has '%.200s', which is not supported",
				 names.v[i]);
		else
			set |= (uint32_t)f->value;
	}
	return set;
}

void seccomp_read(struct doc *d, struct json_object *o, struct spec_process *p)
{
	_cleanup_(cleanup_filter) scmp_filter_ctx filter = NULL;
	struct json_object *a;
	uint32_t action, n;

	if (!o)
		return;
	action = read_action(d, o, "defaultAction", "defaultErrnoRet");
	doc_refuse(d, o, "listenerPath", "a listener on the host cannot look into a guest");
	p->seccomp_flags = read_flags(d, o);
	a = doc_array(d, o, "syscalls", &n);
	if (d->rc)
		return;
	filter = seccomp_init(action);
	if (!filter) {
		doc_fail(d, ENOMEM, NULL, "seccomp_init failed");
		return;
	}
	add_architectures(d, o, filter);
	for (uint32_t i = 0; i < n && !d->rc; i++) {
		size_t mark = doc_enter_index(d, "syscalls", i);

		read_syscall(d, doc_element(d, a, i), filter, action);
		doc_leave(d, mark);
	}
	if (!d->rc)
		export(d, filter, &p->seccomp);
}
