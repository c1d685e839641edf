// SPDX-License-Identifier: Apache-2.0
#include "guest/init/transport.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "guest/init/loop.h"
#include "guest/init/path.h"
#include "guest/init/uevent.h"
#include "lib/cleanup.h"

#define PORT_CLASS "/sys/class/virtio-ports"
#define PORT_NAME "caisson.agent"
/* A guest without its port is of no use to anyone; the host gives up on it long before. */
#define PORT_TIMEOUT_MS 10000

/* The port's device under /dev, or -ENOENT. */
static int port_find(char *ret, size_t size)
{
	_cleanup_closedir_ DIR *dir = opendir(PORT_CLASS);
	struct dirent *e;

	while (dir && (e = readdir(dir))) {
		char path[sizeof(e->d_name) + 8], name[64];

		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/name", e->d_name);
		if (path_read(dirfd(dir), path, name, sizeof(name)) < 0)
			continue;
		if (strcmp(name, PORT_NAME) == 0) {
			snprintf(ret, size, "/dev/%s", e->d_name);
			return 0;
		}
	}
	return -ENOENT;
}

/* The driver makes ports when the host's control messages arrive, maybe after we got to run. */
static int port_wait(char *ret, size_t size)
{
	const uint64_t until = loop_now_ms() + PORT_TIMEOUT_MS;
	_cleanup_close_ int events = -1;

	if (port_find(ret, size) == 0)
		return 0;
	events = uevent_open();
	while (port_find(ret, size) < 0)
		if (events < 0 || uevent_wait(events, until) < 0)
			return -ENOENT;
	return 0;
}

static int port_open(struct error *err)
{
	char path[300];
	int fd;

	if (port_wait(path, sizeof(path)) < 0)
		return error_set(err, ENOENT, "virtio port '" PORT_NAME "': not there");
	fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return error_errno(err, "open '%s'", path);
	return fd;
}

const struct transport transport_virtio_port = {
	.name = "virtio port " PORT_NAME,
	.open = port_open,
};
