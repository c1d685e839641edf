/* SPDX-License-Identifier: Apache-2.0 */
/* The state as the OCI runtime specification shows it (runtime.md, "State"). */
#ifndef CAISSON_RUNTIME_OCISTATE_H
#define CAISSON_RUNTIME_OCISTATE_H

#include <json-c/json.h>

#include "runtime/state.h"

struct json_object *ocistate_json(const struct state *s);

#endif
