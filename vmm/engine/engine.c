// SPDX-License-Identifier: Apache-2.0
#include "vmm/engine/engine.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "vmm/engine/emu.h"

const struct engine_ops *const engines[] = {
	&engine_emu,
	NULL,
};

const struct engine_ops *engine_choose(const char *name, struct error *err)
{
	bool any = strcmp(name, "auto") == 0;
	struct error why = {0};

	for (int i = 0; engines[i]; i++) {
		if (!any && strcmp(engines[i]->name, name) != 0)
			continue;
		if (engines[i]->probe(&why) == 0)
			return engines[i];
		if (!any) {
			*err = why;
			error_wrap(err, "engine '%s'", name);
			return NULL;
		}
	}
	if (any)
		error_set(err, ENODEV, "no engine runs on this machine (see `caisson doctor`): %s",
			  why.text);
	else
		error_set(err, EINVAL, "engine '%s' is not one of this build", name);
	return NULL;
}
