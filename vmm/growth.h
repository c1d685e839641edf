/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest that starts small and grows: whoever lends the memory zeroes it and maps it
 * for DMA piece by piece while the guest runs, and says so on a descriptor (a pipe or a
 * socket): 8 bytes, little endian, the number of bytes behind machine.memory that are
 * ready now, each time more than before, in multiples of MEM_GROWTH_STEP.
 *
 * The lender is believed: what it says is ready, the guest reads.  One that says what
 * cannot be is listened to no more.
 */
#ifndef CAISSON_GROWTH_H
#define CAISSON_GROWTH_H

#include "lib/error.h"
#include "vmm/io.h"
#include "vmm/mem/mem.h"
#include "vmm/virtio/devices.h"

struct growth {
	struct mem *mem;
	struct virtio_device *dev;
	struct io *io;
	struct io_watch watch;
};

/* Listens in the I/O thread.  All of these outlive it. */
int growth_init(struct growth *g, int fd, struct mem *mem, struct virtio_device *dev, struct io *io,
		struct error *err);

#endif
