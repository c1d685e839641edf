/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the channel to the host runs on.  The seam for another carrier (vsock, a
 * shared-memory ring with an eventfd): give a stream descriptor that
 *
 *  - is non-blocking and close-on-exec, and cannot be opened a second time by a
 *    container that can make device nodes;
 *  - works with edge-triggered epoll: EPOLLIN, EPOLLOUT, and EPOLLHUP for as long
 *    as the host is not there;
 *  - reads 0 bytes when the host is not there.
 */
#ifndef CAISSON_INIT_TRANSPORT_H
#define CAISSON_INIT_TRANSPORT_H

#include "lib/error.h"

struct transport {
	const char *name;
	/* The descriptor, or -errno.  Waits for the device to appear. */
	int (*open)(struct error *err);
};

/* The virtio-serial port named "caisson.agent". */
extern const struct transport transport_virtio_port;

#endif
