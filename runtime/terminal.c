// SPDX-License-Identifier: Apache-2.0
#include "runtime/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/cleanup.h"

static int send_master(const char *socket_path, int master, const char *name, struct error *err)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec iov = {.iov_base = (void *)name, .iov_len = strlen(name)};
	struct msghdr mh = {.msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control.buf,
			    .msg_controllen = sizeof(control.buf)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&mh);

	if (strlen(socket_path) >= sizeof(a.sun_path))
		return error_set(err, ENAMETOOLONG,
				 "--console-socket '%s' is longer than %zu bytes", socket_path,
				 sizeof(a.sun_path) - 1);
	strcpy(a.sun_path, socket_path);
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return error_errno(err, "--console-socket '%s'", socket_path);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &master, sizeof(int));
	if (sendmsg(fd, &mh, MSG_NOSIGNAL) < 0)
		return error_errno(err, "send the terminal to --console-socket '%s'", socket_path);
	return 0;
}

int terminal_open(const char *socket_path, uint16_t rows, uint16_t columns, struct error *err)
{
	_cleanup_close_ int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), slave = -1;
	struct winsize ws = {.ws_row = rows, .ws_col = columns};
	struct termios raw;
	char name[64];

	if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0 ||
	    ptsname_r(master, name, sizeof(name)) != 0)
		return error_errno(err, "open a pseudo-terminal");
	slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		return error_errno(err, "open '%s'", name);
	if (rows && columns && ioctl(master, TIOCSWINSZ, &ws) < 0)
		return error_errno(err, "set the size of '%s'", name);
	if (terminal_raw(slave, &raw, err) < 0)
		return -err->code;
	if (send_master(socket_path, master, name, err) < 0)
		return -err->code;
	return steal_fd(&slave);
}

void terminal_size(int fd, uint16_t *rows, uint16_t *columns)
{
	struct winsize ws;

	if (*rows || *columns || ioctl(fd, TIOCGWINSZ, &ws) < 0)
		return;
	*rows = ws.ws_row;
	*columns = ws.ws_col;
}

int terminal_raw(int fd, struct termios *ret_saved, struct error *err)
{
	struct termios raw;

	if (tcgetattr(fd, ret_saved) < 0)
		return error_errno(err, "process.terminal is set, but there is no terminal here "
					"and no --console-socket");
	raw = *ret_saved;
	cfmakeraw(&raw);
	if (tcsetattr(fd, TCSANOW, &raw) < 0)
		return error_errno(err, "make the terminal raw");
	return 0;
}

void terminal_restore(int fd, const struct termios *saved)
{
	tcsetattr(fd, TCSANOW, saved);
}
