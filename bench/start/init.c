// SPDX-License-Identifier: Apache-2.0
/*
 * init [PROGRAM ARG...] (words of the command line that the kernel does not know): the init of the
 * bare machines that a start is compared with.  Without a program it ends the machine at once. With
 * one it says that it runs (BENCH_INIT on the console), mounts the root file system image on the
 * first disk, and runs the program there.
 */
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <unistd.h>

#define BENCH_INIT "\001"

static void run(char **argv)
{
	static char path[] = "PATH=/bin:/usr/bin";
	char *const env[] = {path, NULL};

	if (mount("dev", "/dev", "devtmpfs", 0, NULL) < 0 ||
	    mount("/dev/vda", "/run", "erofs", MS_RDONLY, NULL) < 0 || chdir("/run") < 0 ||
	    chroot(".") < 0)
		_exit(1);
	execve(argv[0], argv, env);
	_exit(127);
}

int main(int argc, char **argv)
{
	pid_t pid;

	if (argc < 2)
		return reboot(RB_AUTOBOOT);
	if (write(STDOUT_FILENO, BENCH_INIT, 1) < 0)
		return 1;
	pid = fork();
	if (pid == 0)
		run(argv + 1);
	while (wait(NULL) != pid)
		;
	return reboot(RB_AUTOBOOT);
}
