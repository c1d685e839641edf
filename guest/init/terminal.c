// SPDX-License-Identifier: Apache-2.0
#include "guest/init/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "guest/init/path.h"
#include "lib/cleanup.h"

/* What is at that place comes from an image: it may be anything, and must not block us. */
static int open_ptmx(int root)
{
	int fd = path_open_in(root, "/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK);
	struct stat st;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0 || !S_ISCHR(st.st_mode) || st.st_rdev != makedev(5, 2)) {
		close(fd);
		return -ENOTTY;
	}
	return fd;
}

static int open_fallback(const char *dir)
{
	_cleanup_close_ int at = -1;
	int fd;

	if (mount("devpts", dir, "devpts", MS_NOSUID | MS_NOEXEC, "ptmxmode=0666,mode=0620") < 0)
		return -errno;
	at = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	fd = openat(at, "ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int terminal_open(struct terminal *ret, int root, const char *fallback,
		  const struct spec_process *p, struct error *err)
{
	_cleanup_close_ int master = open_ptmx(root), slave = -1;
	int unlock = 0;

	if (master < 0 && fallback)
		master = open_fallback(fallback);
	if (master < 0) {
		errno = -master;
		return error_errno(err, "open '/dev/pts/ptmx'");
	}
	if (ioctl(master, TIOCSPTLCK, &unlock) < 0)
		return error_errno(err, "unlock the terminal");
	slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		return error_errno(err, "open the terminal");
	if (p->rows && p->columns)
		terminal_resize(master, p->rows, p->columns);
	if (p->uid && fchown(slave, p->uid, (gid_t)-1) < 0)
		return error_errno(err, "give the terminal to user %u", p->uid);
	*ret = (struct terminal){.master = steal_fd(&master), .slave = steal_fd(&slave)};
	return 0;
}

int terminal_bind_console(const struct terminal *t, int root, struct error *err)
{
	_cleanup_close_ int to = path_create_in(root, "/dev/console", false, err);
	char from_path[PATH_FD_SIZE], to_path[PATH_FD_SIZE];

	if (to < 0)
		return to;
	path_of_fd(from_path, t->slave);
	path_of_fd(to_path, to);
	if (mount(from_path, to_path, NULL, MS_BIND, NULL) < 0)
		return error_errno(err, "bind the terminal to '/dev/console'");
	return 0;
}

int terminal_acquire(const struct terminal *t, struct error *err)
{
	if (ioctl(t->slave, TIOCSCTTY, 0) < 0)
		return error_errno(err, "take the controlling terminal");
	return 0;
}

void terminal_resize(int master, uint16_t rows, uint16_t columns)
{
	struct winsize size = {.ws_row = rows, .ws_col = columns};

	ioctl(master, TIOCSWINSZ, &size);
}
