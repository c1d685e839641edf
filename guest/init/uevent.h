/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting for a device: the kernel's uevents say that something changed; the
 * caller then looks again.  Nothing in an uevent is believed or even read.
 */
#ifndef CAISSON_INIT_UEVENT_H
#define CAISSON_INIT_UEVENT_H

/* A socket (close-on-exec) or -errno. */
int uevent_open(void);
/* Waits for the next event: 0, or -ETIMEDOUT after timeout_ms (negative: never). */
int uevent_wait(int fd, int timeout_ms);

#endif
