// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>

#include "cli/command.h"
#include "runtime/config.h"
#include "runtime/json.h"
#include "vmm/engine/engine.h"

#ifndef CAISSON_VERSION
#define CAISSON_VERSION "0.0.0"
#endif

static const struct option options[] = {{.name = NULL}};

static struct json_object *strings(const char *const *v)
{
	struct json_object *list = json_object_new_array();

	for (; *v; v++)
		json_object_array_add(list, json_object_new_string(*v));
	return list;
}

static struct json_object *enabled(bool yes)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "enabled", json_object_new_boolean(yes));
	return o;
}

static struct json_object *linux_features(void)
{
	static const char *const namespaces[] = {"cgroup", "ipc", "mount", "network",
						 "pid",	   "uts", NULL};
	struct json_object *l = json_object_new_object(), *cgroup = json_object_new_object();

	json_object_object_add(l, "namespaces", strings(namespaces));
	json_object_object_add(cgroup, "v1", json_object_new_boolean(true));
	json_object_object_add(cgroup, "v2", json_object_new_boolean(true));
	json_object_object_add(cgroup, "systemd", json_object_new_boolean(true));
	json_object_object_add(cgroup, "systemdUser", json_object_new_boolean(false));
	json_object_object_add(l, "cgroup", cgroup);
	json_object_object_add(l, "seccomp", enabled(true));
	json_object_object_add(l, "apparmor", enabled(false));
	json_object_object_add(l, "selinux", enabled(false));
	json_object_object_add(l, "intelRdt", enabled(false));
	return l;
}

/* runtime-spec 1.2, features.md. */
static int run(const struct globals *g, unsigned int argc, char **argv, struct error *err)
{
	static const char *const hooks[] = {"prestart",
					    "createRuntime",
					    "createContainer",
					    "startContainer",
					    "poststart",
					    "poststop",
					    NULL};
	_cleanup_json_ struct json_object *j = json_object_new_object();
	struct json_object *a = json_object_new_object();

	(void)g, (void)argc, (void)argv, (void)err;
	json_object_object_add(j, "ociVersionMin", json_object_new_string("1.0.0"));
	json_object_object_add(j, "ociVersionMax", json_object_new_string("1.2.0"));
	json_object_object_add(j, "hooks", strings(hooks));
	json_object_object_add(j, "mountOptions", strings(config_mount_option_names()));
	json_object_object_add(j, "linux", linux_features());
	json_object_object_add(a, "io.caisson.version", json_object_new_string(CAISSON_VERSION));
	for (int i = 0; engines[i]; i++) {
		char key[64];

		snprintf(key, sizeof(key), "io.caisson.engine.%s", engines[i]->name);
		json_object_object_add(a, key, json_object_new_string(engines[i]->summary));
	}
	json_object_object_add(j, "annotations", a);
	puts(json_object_to_json_string_ext(j, JSON_C_TO_STRING_PRETTY |
						       JSON_C_TO_STRING_NOSLASHESCAPE));
	return 0;
}

const struct command cmd_features = {
	.name = "features",
	.args = "",
	.summary = "show what this runtime supports, as JSON",
	.options = options,
	.run = run,
};
