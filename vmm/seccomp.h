/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CAISSON_VMM_SECCOMP_H
#define CAISSON_VMM_SECCOMP_H

#include "lib/error.h"

/* Restricts the calling thread to what the monitor's loop needs; any other system call kills the
 * process.  The list, with a reason beside each, is in seccomp.c. */
int vmm_seccomp(struct error *err);

#endif
