/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of an OCI configuration, one reader each, behind config.h.  They read
 * from a document (config_doc.h), so errors stick to it and nothing is returned.
 * `o` is the object that has the members a part is made of.
 */
#ifndef CAISSON_RUNTIME_CONFIG_PARTS_H
#define CAISSON_RUNTIME_CONFIG_PARTS_H

#include "runtime/config.h"
#include "runtime/config_doc.h"

/* config.md, "process"; o is that object.  The filter is not part of it. */
void config_read_process(struct doc *d, struct json_object *o, struct spec_process *p);

/* config.md, "mounts"; o is the whole configuration. */
void config_read_mounts(struct doc *d, struct json_object *o, struct config *c);

/* A propagation by the name mount(8) gives it ("rprivate"): MS_*; 0 if there is none such. */
uint64_t config_propagation(const char *name);

/* config-linux.md without resources and seccomp; o is "linux", NULL if absent. */
void config_read_linux(struct doc *d, struct json_object *o, struct config *c);

/* config-linux.md, "control groups"; o is "linux.resources", NULL if absent. */
void config_read_resources(struct doc *d, struct json_object *o, struct config *c);

/* config.md, "POSIX-platform hooks"; o is the whole configuration. */
void config_read_hooks(struct doc *d, struct json_object *o, struct config *c);

#endif
