// SPDX-License-Identifier: Apache-2.0
#include "vmm/engine/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

#include "vmm/engine/cki.h"
#include "vmm/engine/emu.h"
#include "vmm/engine/kvm.h"

const struct engine_ops *const engines[] = {
	&engine_kvm,
	&engine_cki,
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

const struct engine_ops *engine_find(const char *name, struct error *err)
{
	for (int i = 0; engines[i]; i++)
		if (strcmp(engines[i]->name, name) == 0)
			return engines[i];
	error_set(err, EINVAL, "engine '%s' is not one of this build", name);
	return NULL;
}

int engine_channel(int *ret_ours, int *ret_theirs, struct error *err)
{
	int sv[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
		return error_errno(err, "socketpair");
	*ret_ours = sv[0];
	*ret_theirs = sv[1];
	if (fcntl(sv[0], F_SETFL, O_NONBLOCK) < 0)
		return error_errno(err, "set a socket non-blocking");
	return 0;
}
