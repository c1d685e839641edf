/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Device nodes and links in a container's /dev: the default ones of the runtime
 * specification (config-linux.md, "Default Devices") and those of the configuration.
 */
#ifndef CAISSON_INIT_DEVICES_H
#define CAISSON_INIT_DEVICES_H

#include "lib/error.h"
#include "lib/spec.h"

int devices_make(int root, const struct spec_container *c, struct error *err);

#endif
