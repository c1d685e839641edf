// SPDX-License-Identifier: Apache-2.0
/* Devices whose code is not merged yet. */
#include <errno.h>

#include "vmm/virtio/devices.h"

int virtio_net_new(const struct virtio_env *env, const struct virtio_net_config_host *c,
		   struct virtio_device **ret, struct error *err)
{
	(void)env, (void)c, (void)ret;
	return error_set(err, ENOTSUP, "no interfaces yet");
}
