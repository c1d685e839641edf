/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The OCI configuration (runtime-spec 1.2, config.md and config-linux.md), read,
 * checked and split by who acts on it: what the guest does is in `container`
 * (lib/spec.h), the rest is for the host.
 *
 * Trust: the file comes from the runtime's caller and may be malformed or hostile;
 * nothing here touches the host beyond reading the file and stat(2) of bind sources.
 * Errors are one sentence that names the field and the bad value:
 *
 *	config.json: process.cwd 'tmp' is not an absolute path
 */
#ifndef CAISSON_RUNTIME_CONFIG_H
#define CAISSON_RUNTIME_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/error.h"
#include "lib/spec.h"

#define CONFIG_SIZE_MAX (4u << 20) /* bytes; a larger file is refused */

enum config_hook_kind {
	HOOK_PRESTART,
	HOOK_CREATE_RUNTIME,
	HOOK_CREATE_CONTAINER,
	HOOK_START_CONTAINER,
	HOOK_POSTSTART,
	HOOK_POSTSTOP,
	HOOK_KINDS
};

/* Their names in the document, by kind. */
extern const char *const config_hook_names[HOOK_KINDS];

struct config_hook {
	char *path; /* absolute */
	struct strv args, env;
	int32_t timeout_s; /* 0: none */
};

struct config_hooks {
	struct config_hook *v;
	uint32_t n;
};

/* A host directory or file that the guest gets to see; its number is its index. */
struct config_share {
	char *source; /* absolute */
	bool readonly, is_dir, recursive;
};

/* What the host's own cgroup of the sandbox gets (the guest's limits are in container.resources).
 * 0 or NULL: unset. */
struct config_host_resources {
	int64_t cpu_quota_us, cpu_period_us; /* or SPEC_LIMIT_* */
	uint64_t cpu_shares;		     /* cgroup v1 scale, 2..262144 */
	char *cpuset_cpus, *cpuset_mems;
};

/* What the container is to the containers around it, by the annotations of its manager. */
enum config_pod {
	POD_NONE,
	POD_SANDBOX, /* the first of a pod: others may join its guest */
	POD_MEMBER,  /* it joins the guest of `sandbox` */
};

struct config {
	char *oci_version;
	enum config_pod pod;
	char *sandbox;	 /* id of a member's sandbox; else NULL */
	uint64_t joined; /* CLONE_NEW*: namespaces given by path, which are the sandbox's */
	struct spec_pair *joined_paths; /* type and path of each of them, and of the network */
	uint32_t joined_n;
	char *root_path; /* absolute; relative ones are taken from the bundle; not resolved */
	struct spec_container container; /* id and rootfs.lower_serial are left NULL */
	struct config_share *shares;
	uint32_t shares_n;
	bool netns_set;	    /* linux.namespaces has a network entry */
	char *netns_path;   /* and its path; NULL: a new, empty one */
	char *cgroups_path; /* as given; NULL: none */
	struct config_host_resources host;
	int64_t memory_limit; /* linux.resources.memory.limit in bytes, or the pod's; -1: none */
	struct config_hooks hooks[HOOK_KINDS];
	struct spec_pair *annotations;
	uint32_t annotations_n;
	struct msg_chunk *arena; /* owns everything above */
};

/*
 * Reads `bundle`/config.json (or `path`, when not NULL, with the same meaning of relative paths).
 * 0 or -errno with err set; on error *ret is empty.  config_done() frees.
 */
int config_load(struct config *ret, const char *bundle, const char *path, struct error *err);

/* The same from memory (size bytes, need not be NUL-terminated); the fuzzer's door. */
int config_parse(struct config *ret, const char *bundle, const char *json, size_t size,
		 struct error *err);
void config_done(struct config *c);

/* The value of an annotation, or NULL. */
const char *config_annotation(const struct config *c, const char *key);

/*
 * A process document as `exec --process FILE` gets it (config.md, "process").  It lives in
 * the arena of c, the configuration of the container it goes into; what the document leaves out
 * is NOT taken from c's process (as crun and runc have it).  The seccomp filter is c's.
 */
int config_process_load(struct spec_process *ret, struct config *c, const char *path,
			struct error *err);
int config_process_parse(struct spec_process *ret, struct config *c, const char *json, size_t size,
			 struct error *err);

/*
 * Resources alone, as `update --resources FILE` gets them (config-linux.md, "control groups"), into
 * c->container.resources, c->host and c->memory_limit.  *c is new; config_done() frees.
 */
int config_resources_load(struct config *c, const char *path, struct error *err);
int config_resources_parse(struct config *c, const char *name, const char *json, size_t size,
			   struct error *err);

/* The number of a capability by its name, with or without CAP_; -1 if there is none such. */
int config_capability(const char *name);

/* The mount options that are understood (not passed on), NULL-terminated. */
const char *const *config_mount_option_names(void);

#endif
