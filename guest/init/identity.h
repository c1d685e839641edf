/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who a container's process is: limits, user, groups, capabilities, filter.
 * All calls change the calling process for good.
 */
#ifndef CAISSON_INIT_IDENTITY_H
#define CAISSON_INIT_IDENTITY_H

#include "lib/error.h"
#include "lib/spec.h"

int identity_set_limits(const struct spec_process *p, struct error *err);
/*
 * User, groups, capabilities.  If a filter is to be installed without
 * no_new_privileges, CAP_SYS_ADMIN stays on top of them until identity_seal().
 */
int identity_assume(const struct spec_process *p, struct error *err);
/* The last step before execve(2): the seccomp filter. */
int identity_seal(const struct spec_process *p, struct error *err);

#endif
