/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The OCI seccomp profile (config-linux.md, "Seccomp") compiled to a BPF program on
 * the host, so that the guest needs no compiler: the agent installs it with
 * seccomp(2) as it is.
 */
#ifndef CAISSON_RUNTIME_SECCOMP_H
#define CAISSON_RUNTIME_SECCOMP_H

#include "runtime/config_doc.h"

/*
 * Fills p->seccomp (in the document's arena) and p->seccomp_flags from o, the object
 * "linux.seccomp"; NULL: no filter.  System calls this libseccomp does not know are skipped, as
 * crun and runc do.  Errors stick to the document.
 */
void seccomp_read(struct doc *d, struct json_object *o, struct spec_process *p);

#endif
