// SPDX-License-Identifier: Apache-2.0
#include "runtime/config.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "runtime/config_doc.h"
#include "runtime/config_parts.h"
#include "runtime/json.h"
#include "runtime/seccomp.h"

/* 1.x of any kind: minor versions only add fields, and unknown fields are to be ignored. */
static void read_version(struct doc *d, struct json_object *o, struct config *c)
{
	const char *v = c->oci_version = doc_string_required(d, o, "ociVersion");

	if (!v)
		return;
	if (v[0] != '1' || v[1] != '.' || v[2] < '0' || v[2] > '9')
		doc_fail(d, EINVAL, "ociVersion", "'%.200s' is not a 1.x version", v);
}

static void read_root(struct doc *d, struct json_object *o, struct config *c)
{
	struct json_object *root;
	size_t mark;
	char *path;

	doc_require(d, o, "root");
	root = doc_object(d, o, "root");
	mark = doc_enter(d, "root");
	path = doc_string_required(d, root, "path");
	if (path)
		c->root_path = doc_join(d, "path", d->bundle, path);
	c->container.rootfs.readonly = doc_bool(d, root, "readonly");
	doc_leave(d, mark);
}

/* Both names are utsname fields: __NEW_UTS_LEN bytes, in include/uapi/linux/utsname.h. */
static char *read_utsname(struct doc *d, struct json_object *o, const char *field)
{
	char *s = doc_string(d, o, field);

	if (s && strlen(s) > 64)
		doc_fail(d, EINVAL, field, "'%.200s' is longer than 64 bytes", s);
	return s;
}

static void read_annotations(struct doc *d, struct json_object *o, struct config *c)
{
	doc_pairs(d, o, "annotations", &c->annotations, &c->annotations_n);
	for (uint32_t i = 0; i < c->annotations_n; i++)
		if (!*c->annotations[i].key)
			doc_fail(d, EINVAL, "annotations", "has an empty key");
}

/* Containerd's words, then CRI-O's and podman's. */
static const struct {
	const char *type, *sandbox;
} pod_annotations[] = {
	{"io.kubernetes.cri.container-type", "io.kubernetes.cri.sandbox-id"},
	{"io.kubernetes.cri-o.ContainerType", "io.kubernetes.cri-o.SandboxID"},
};

/* What the pod's containers may use together, where their manager knows; the machine holds it. */
static void read_pod_memory(struct config *c)
{
	const char *text = config_annotation(c, "io.kubernetes.cri.sandbox-memory");
	char *end;
	long long n = text ? strtoll(text, &end, 10) : 0;

	if (text && !*end && n > c->memory_limit)
		c->memory_limit = n;
}

/* Podman 5 says whose member a container is, and no type of either: any of its containers may be
 * the first of a pod. */
static void read_pod(struct doc *d, struct config *c)
{
	const char *manager = config_annotation(c, "io.container.manager");

	if (manager && strcmp(manager, "libpod") == 0)
		c->pod = POD_SANDBOX;
	for (size_t i = 0; i < ARRAY_SIZE(pod_annotations); i++) {
		const char *type = config_annotation(c, pod_annotations[i].type);
		const char *sandbox = config_annotation(c, pod_annotations[i].sandbox);

		if (type && strcmp(type, "sandbox") == 0) {
			c->pod = POD_SANDBOX;
		} else if (type && strcmp(type, "container") != 0) {
			doc_fail(d, EINVAL, "annotations",
				 "has %s '%.100s', not sandbox or container",
				 pod_annotations[i].type, type);
		} else if (sandbox) {
			c->pod = POD_MEMBER;
			c->sandbox = (char *)sandbox;
		}
	}
}

static void read_config(struct doc *d, struct json_object *o, struct config *c)
{
	struct spec_process *process = &c->container.process;
	struct json_object *linux_part = doc_object(d, o, "linux");
	size_t mark;

	read_version(d, o, c);
	read_root(d, o, c);
	doc_require(d, o, "process");
	mark = doc_enter(d, "process");
	config_read_process(d, doc_object(d, o, "process"), process);
	doc_leave(d, mark);
	c->container.hostname = read_utsname(d, o, "hostname");
	c->container.domainname = read_utsname(d, o, "domainname");
	config_read_mounts(d, o, c);
	config_read_hooks(d, o, c);
	read_annotations(d, o, c);
	read_pod(d, c);

	mark = doc_enter(d, "linux");
	config_read_linux(d, linux_part, c);
	doc_leave(d, mark);
	mark = doc_enter(d, "linux.resources");
	config_read_resources(d, doc_object(d, linux_part, "resources"), c);
	doc_leave(d, mark);
	if (c->pod == POD_SANDBOX)
		read_pod_memory(c);
	mark = doc_enter(d, "linux.seccomp");
	seccomp_read(d, doc_object(d, linux_part, "seccomp"), process);
	doc_leave(d, mark);
}

/* The bundle as an absolute path. */
static int absolute(char *ret, size_t size, const char *bundle, struct error *err)
{
	char cwd[PATH_MAX];
	int n;

	if (*bundle == '/') {
		n = snprintf(ret, size, "%s", bundle);
	} else {
		if (!getcwd(cwd, sizeof(cwd)))
			return error_errno(err, "current directory");
		n = snprintf(ret, size, "%s/%s", cwd, bundle);
	}
	if (n < 0 || (size_t)n >= size)
		return error_set(err, ENAMETOOLONG, "bundle '%.40s...' is too long a path", bundle);
	return 0;
}

static int parse(struct config *ret, const char *bundle, const char *name, const char *json,
		 size_t size, struct error *err)
{
	_cleanup_json_ struct json_object *o = NULL;
	char base[PATH_MAX];
	struct doc d = {.name = name, .bundle = base, .err = err, .arena = &ret->arena};
	int rc;

	*ret = (struct config){.memory_limit = -1};
	rc = absolute(base, sizeof(base), bundle, err);
	if (rc < 0)
		return rc;
	if (size > CONFIG_SIZE_MAX)
		return doc_fail(&d, EFBIG, NULL, "the file is larger than %u bytes",
				CONFIG_SIZE_MAX);
	o = doc_parse(&d, json, size);
	read_config(&d, o, ret);
	if (d.rc)
		config_done(ret);
	return d.rc;
}

int config_parse(struct config *ret, const char *bundle, const char *json, size_t size,
		 struct error *err)
{
	return parse(ret, bundle, "config.json", json, size, err);
}

/* All of a file; more than CONFIG_SIZE_MAX is an error. */
static int read_file(char **ret, size_t *ret_size, const char *path, struct error *err)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	_cleanup_free_ char *buf = NULL;
	size_t size = 0;

	if (fd < 0)
		return error_errno(err, "open '%s'", path);
	buf = malloc(CONFIG_SIZE_MAX + 1);
	if (!buf)
		return error_errno(err, "read '%s'", path);
	while (size <= CONFIG_SIZE_MAX) {
		ssize_t n = read(fd, buf + size, CONFIG_SIZE_MAX + 1 - size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_errno(err, "read '%s'", path);
		if (!n)
			break;
		size += (size_t)n;
	}
	if (size > CONFIG_SIZE_MAX)
		return error_set(err, EFBIG, "'%s' is larger than %u bytes", path, CONFIG_SIZE_MAX);
	*ret = steal_ptr(&buf);
	*ret_size = size;
	return 0;
}

int config_load(struct config *ret, const char *bundle, const char *path, struct error *err)
{
	_cleanup_free_ char *joined = NULL;
	_cleanup_free_ char *json = NULL;
	size_t size = 0;
	int rc;

	*ret = (struct config){.memory_limit = -1};
	if (!path && asprintf(&joined, "%s/config.json", bundle) < 0)
		return error_set(err, ENOMEM, "out of memory");
	rc = read_file(&json, &size, path ? path : joined, err);
	if (rc < 0)
		return rc;
	return parse(ret, bundle, path ? path : "config.json", json, size, err);
}

void config_done(struct config *c)
{
	arena_done(&c->arena);
	*c = (struct config){.memory_limit = -1};
}

const char *config_annotation(const struct config *c, const char *key)
{
	for (uint32_t i = 0; i < c->annotations_n; i++)
		if (!strcmp(c->annotations[i].key, key))
			return c->annotations[i].value;
	return NULL;
}

static int parse_process(struct spec_process *ret, struct config *c, const char *name,
			 const char *json, size_t size, struct error *err)
{
	_cleanup_json_ struct json_object *o = NULL;
	struct doc d = {.name = name, .err = err, .arena = &c->arena};

	*ret = (struct spec_process){.umask = UINT32_MAX};
	if (size > CONFIG_SIZE_MAX)
		return doc_fail(&d, EFBIG, NULL, "the file is larger than %u bytes",
				CONFIG_SIZE_MAX);
	o = doc_parse(&d, json, size);
	config_read_process(&d, o, ret);
	if (d.rc) {
		*ret = (struct spec_process){.umask = UINT32_MAX};
		return d.rc;
	}
	ret->seccomp = c->container.process.seccomp;
	ret->seccomp_flags = c->container.process.seccomp_flags;
	return 0;
}

int config_process_parse(struct spec_process *ret, struct config *c, const char *json, size_t size,
			 struct error *err)
{
	return parse_process(ret, c, "process", json, size, err);
}

int config_process_load(struct spec_process *ret, struct config *c, const char *path,
			struct error *err)
{
	_cleanup_free_ char *json = NULL;
	size_t size = 0;
	int rc;

	*ret = (struct spec_process){.umask = UINT32_MAX};
	rc = read_file(&json, &size, path, err);
	if (rc < 0)
		return rc;
	return parse_process(ret, c, path, json, size, err);
}

int config_resources_parse(struct config *c, const char *name, const char *json, size_t size,
			   struct error *err)
{
	_cleanup_json_ struct json_object *o = NULL;
	struct doc d = {.name = name, .err = err, .arena = &c->arena};

	*c = (struct config){.memory_limit = -1};
	o = doc_parse(&d, json, size);
	config_read_resources(&d, o, c);
	if (d.rc)
		config_done(c);
	return d.rc;
}

int config_resources_load(struct config *c, const char *path, struct error *err)
{
	_cleanup_free_ char *json = NULL;
	size_t size = 0;

	if (read_file(&json, &size, path, err) < 0)
		return -err->code;
	return config_resources_parse(c, path, json, size, err);
}
