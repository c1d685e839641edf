// SPDX-License-Identifier: Apache-2.0
#include "vmm/growth.h"

#include <errno.h>
#include <unistd.h>

static void on_word(struct io_watch *w, uint32_t events)
{
	struct growth *g = w->arg;
	uint64_t bytes;

	(void)events;
	/* Also its end: there will be no more. */
	if (read(w->fd, &bytes, sizeof(bytes)) != (ssize_t)sizeof(bytes) ||
	    mem_grow(g->mem, bytes) < 0)
		io_remove(g->io, w);
	else
		virtio_mem_grown(g->dev);
}

int growth_init(struct growth *g, int fd, struct mem *mem, struct virtio_device *dev, struct io *io,
		struct error *err)
{
	int rc;

	*g = (struct growth){.mem = mem, .dev = dev, .io = io};
	g->watch = (struct io_watch){.fd = fd, .events = EPOLLIN, .ready = on_word, .arg = g};
	rc = io_add(io, &g->watch);
	errno = -rc;
	return rc < 0 ? error_errno(err, "watch for growth of the memory") : 0;
}
