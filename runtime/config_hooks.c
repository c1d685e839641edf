// SPDX-License-Identifier: Apache-2.0
#include <errno.h>

#include "runtime/config_parts.h"

const char *const config_hook_names[HOOK_KINDS] = {
	[HOOK_PRESTART] = "prestart",
	[HOOK_CREATE_RUNTIME] = "createRuntime",
	[HOOK_CREATE_CONTAINER] = "createContainer",
	[HOOK_START_CONTAINER] = "startContainer",
	[HOOK_POSTSTART] = "poststart",
	[HOOK_POSTSTOP] = "poststop",
};

static void read_hook(struct doc *d, struct json_object *o, struct config_hook *h)
{
	doc_require(d, o, "path");
	h->path = doc_path(d, o, "path");
	doc_strings(d, o, "args", &h->args);
	doc_env(d, o, "env", &h->env);
	h->timeout_s = (int32_t)doc_int(d, o, "timeout", 1, INT32_MAX, 0);
}

void config_read_hooks(struct doc *d, struct json_object *o, struct config *c)
{
	struct json_object *hooks = doc_object(d, o, "hooks");
	size_t top = doc_enter(d, "hooks");

	for (int k = 0; hooks && k < HOOK_KINDS; k++) {
		struct config_hooks *list = &c->hooks[k];
		uint32_t n;
		struct json_object *a = doc_array(d, hooks, config_hook_names[k], &n);

		list->v = n ? doc_alloc(d, n, sizeof(*list->v)) : NULL;
		for (uint32_t i = 0; i < n && !d->rc; i++) {
			size_t mark = doc_enter_index(d, config_hook_names[k], i);

			read_hook(d, doc_element(d, a, i), &list->v[i]);
			doc_leave(d, mark);
		}
		list->n = n;
	}
	doc_leave(d, top);
}
