/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting for a device: the kernel's uevents say that something changed; the
 * caller then looks again.  Nothing in an uevent is believed or even read.
 */
#ifndef CAISSON_INIT_UEVENT_H
#define CAISSON_INIT_UEVENT_H

#include <stdint.h>

/* A socket (close-on-exec) or -errno. */
int uevent_open(void);
/* Waits for the next event: 0, or -ETIMEDOUT at that time (as loop_now_ms()). */
int uevent_wait(int fd, uint64_t until_ms);

#endif
