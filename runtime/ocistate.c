// SPDX-License-Identifier: Apache-2.0
#include "runtime/ocistate.h"

struct json_object *ocistate_json(const struct state *s)
{
	struct json_object *j = json_object_new_object(), *a = json_object_new_object();
	enum state_status status = state_status(s);

	json_object_object_add(j, "ociVersion", json_object_new_string(s->oci_version));
	json_object_object_add(j, "id", json_object_new_string(s->id));
	/* The specification knows no "paused"; runc and crun show it, and their users look for it.
	 */
	json_object_object_add(j, "status", json_object_new_string(state_status_name(status)));
	json_object_object_add(j, "pid",
			       json_object_new_int(status == STATUS_STOPPED ? 0 : s->init.pid));
	json_object_object_add(j, "bundle", json_object_new_string(s->bundle));
	json_object_object_add(j, "created", json_object_new_string(s->created));
	for (uint32_t i = 0; i < s->annotations_n; i++)
		json_object_object_add(a, s->annotations[i].key,
				       json_object_new_string(s->annotations[i].value));
	json_object_object_add(j, "annotations", a);
	return j;
}
