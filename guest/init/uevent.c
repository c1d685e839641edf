// SPDX-License-Identifier: Apache-2.0
#include "guest/init/uevent.h"

#include <errno.h>
#include <linux/netlink.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "guest/init/loop.h"

int uevent_open(void)
{
	struct sockaddr_nl addr = {.nl_family = AF_NETLINK, .nl_groups = 1};
	int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
			NETLINK_KOBJECT_UEVENT);

	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		int rc = -errno;

		close(fd);
		return rc;
	}
	return fd;
}

int uevent_wait(int fd, uint64_t until_ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	uint64_t now = loop_now_ms();
	char drop[64];

	if (now >= until_ms || poll(&p, 1, (int)(until_ms - now)) == 0)
		return -ETIMEDOUT;
	/* Every event that is waiting counts as one; an overrun counts as an event too. */
	while (recv(fd, drop, sizeof(drop), 0) >= 0)
		;
	return 0;
}
