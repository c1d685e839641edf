// SPDX-License-Identifier: Apache-2.0
#include "daemon/notify.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/cleanup.h"

#define LISTEN_FIRST 3 /* sd_listen_fds(3) */
#define FDS_MAX 65536

static int connect_to(const char *path)
{
	_cleanup_close_ int fd = -1;
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	size_t size = path ? strlen(path) : 0;

	if ((size < 2 || size >= sizeof(a.sun_path)) || (*path != '/' && *path != '@'))
		return -1;
	memcpy(a.sun_path, path, size);
	if (*path == '@')
		a.sun_path[0] = 0;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&a,
			      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size)) < 0)
		return -1;
	return steal_fd(&fd);
}

static void inherit(struct notify *n)
{
	const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
	const char *names = getenv("LISTEN_FDNAMES");
	int fds = count ? atoi(count) : 0;

	if (!pid || atoi(pid) != getpid() || fds <= 0 || fds > FDS_MAX || !names)
		return;
	n->fds = calloc((size_t)fds, sizeof(*n->fds));
	for (int i = 0; n->fds && i < fds; i++) {
		size_t size = strcspn(names, ":");

		fcntl(LISTEN_FIRST + i, F_SETFD, FD_CLOEXEC);
		n->fds[n->n++] = (struct notify_fd){.name = strndup(names, size),
						    .fd = LISTEN_FIRST + i};
		names += size + (names[size] == ':');
	}
}

void notify_init(struct notify *n)
{
	*n = (struct notify){.fd = connect_to(getenv("NOTIFY_SOCKET"))};
	inherit(n);
	unsetenv("NOTIFY_SOCKET");
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
}

static void tell(struct notify *n, const char *text, int fd)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec iov = {.iov_base = (char *)text, .iov_len = strlen(text)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (n->fd < 0)
		return;
	if (fd >= 0) {
		msg.msg_control = control.buf;
		msg.msg_controllen = sizeof(control.buf);
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.align), &fd, sizeof(int));
	}
	/* Lost, it costs time after a restart and nothing else. */
	if (sendmsg(n->fd, &msg, MSG_NOSIGNAL) < 0)
		return;
}

void notify_settle(struct notify *n)
{
	for (unsigned int i = 0; i < n->n; i++) {
		if (n->fds[i].fd >= 0 && n->fds[i].name)
			notify_remove(n, n->fds[i].name);
		cleanup_close(&n->fds[i].fd);
		free(n->fds[i].name);
	}
	free(n->fds);
	n->fds = NULL;
	n->n = 0;
}

void notify_done(struct notify *n)
{
	notify_settle(n);
	cleanup_close(&n->fd);
	n->fd = -1;
}

void notify_ready(struct notify *n)
{
	tell(n, "READY=1", -1);
}

void notify_stopping(struct notify *n)
{
	tell(n, "STOPPING=1", -1);
}

void notify_store(struct notify *n, const char *name, int fd)
{
	char text[300];

	if (fd < 0)
		return;
	/* No FDPOLL: these do not hang up. */
	snprintf(text, sizeof(text), "FDSTORE=1\nFDPOLL=0\nFDNAME=%s", name);
	tell(n, text, fd);
}

void notify_remove(struct notify *n, const char *name)
{
	char text[300];

	snprintf(text, sizeof(text), "FDSTOREREMOVE=1\nFDNAME=%s", name);
	tell(n, text, -1);
}

int notify_take(struct notify *n, const char *name)
{
	for (unsigned int i = 0; i < n->n; i++)
		if (n->fds[i].name && strcmp(n->fds[i].name, name) == 0)
			return steal_fd(&n->fds[i].fd);
	return -1;
}
