/* SPDX-License-Identifier: Apache-2.0 */
/* What the engines do alike whose CPUs and devices are inside the monitor: both together. */
#ifndef CAISSON_ENGINE_INSIDE_H
#define CAISSON_ENGINE_INSIDE_H

#include "lib/error.h"
#include "vmm/cpus.h"
#include "vmm/devices.h"

/* As the operations of the same names in struct engine_ops. */
int inside_launch(struct devices *d, struct cpus *c, struct error *err);
int inside_pause(struct devices *d, struct cpus *c, struct error *err);
void inside_resume(struct devices *d, struct cpus *c);
/* After cpus_stop(): 0, the machine's end was an orderly one; else its reason. */
int inside_end(const struct cpus *c, struct error *err);

#endif
