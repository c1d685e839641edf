// SPDX-License-Identifier: Apache-2.0
#include "runtime/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <signal.h>
#include <unistd.h>

#include "lib/cleanup.h"

#define SCRATCH_MIN (4ull << 20) /* mkfs.ext4 makes nothing useful below */

__attribute__((noreturn)) static void exec_mkfs(int fd)
{
	int null = open("/dev/null", O_RDWR);
	char path[32];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	fcntl(fd, F_SETFD, 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	dup2(null, 0);
	dup2(null, 1);
	dup2(null, 2);
	/* No journal: the disk never outlives a crash.  Lazy tables: it is sparse. */
	execl("/sbin/mkfs.ext4", "mkfs.ext4", "-q", "-F", "-O", "^has_journal,^resize_inode", "-m",
	      "0", "-E", "lazy_itable_init=1,nodiscard,root_owner=0:0", path, (char *)NULL);
	_exit(127);
}

int scratch_open(const char *cache, uint64_t size, struct error *err)
{
	_cleanup_close_ int fd = -1;
	int status = 0;
	pid_t pid;

	if (size < SCRATCH_MIN)
		return error_set(err, EINVAL, "scratch_disk %llu is smaller than 4M",
				 (unsigned long long)size);
	if (mkdir(cache, 0700) < 0 && errno != EEXIST)
		return error_errno(err, "create '%s'", cache);
	fd = open(cache, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
		return error_errno(err, "scratch disk in '%s'", cache);
	pid = fork();
	if (pid < 0)
		return error_errno(err, "fork");
	if (pid == 0)
		exec_mkfs(fd);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return error_errno(err, "wait for mkfs.ext4");
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		return error_set(err, EIO, "mkfs.ext4 failed on the scratch disk (status %d)",
				 WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
	return steal_fd(&fd);
}
