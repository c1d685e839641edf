// SPDX-License-Identifier: Apache-2.0
#include "vmm/engine/inside.h"

/* How long a CPU, or a device, may take to come to rest: a reset waits for disk requests. */
#define PAUSE_MS 5000

int inside_launch(struct devices *d, struct cpus *c, struct error *err)
{
	return devices_start(d, err) < 0 || cpus_start(c, err) < 0 ? -err->code : 0;
}

/* The CPUs first: what they have kicked is then seen as well. */
int inside_pause(struct devices *d, struct cpus *c, struct error *err)
{
	if (cpus_pause(c, PAUSE_MS, err) < 0)
		return -err->code;
	if (devices_pause(d, PAUSE_MS, err) < 0) {
		cpus_resume(c);
		return -err->code;
	}
	return 0;
}

void inside_resume(struct devices *d, struct cpus *c)
{
	devices_resume(d);
	cpus_resume(c);
}

int inside_end(const struct cpus *c, struct error *err)
{
	return c->end.code ? error_set(err, c->end.code, "%s", c->end.text) : 0;
}
