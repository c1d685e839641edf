// SPDX-License-Identifier: Apache-2.0
/*
 * launch monitor PROGRAM KERNEL IMAGE MIB DIR: starts the machine monitor PROGRAM (caisson-vmm,
 * with the kvm engine) as the command does: one CPU, MIB of memory in huge pages, IMAGE as a disk,
 *     jail and socket in DIR.
 * launch exec PROGRAM ARG...: starts a program.
 *
 * Prints "NANOSECONDS PID": the time of CLOCK_MONOTONIC right before the process was made, and the
 * process.  It is killed when standard input ends.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/timeline.h"
#include "runtime/client.h"
#include "runtime/spawn.h"
#include "vmm/machine.h"

static pid_t start_monitor(char **argv, struct error *err)
{
	static struct spawned monitor; /* its descriptors are the monitor's lifeline */
	static char jail[PATH_MAX], id[] = "bench", serial[] = "lower", none[] = "", kvm[] = "kvm",
				    initrd[] = "/dev/null";
	struct machine_disk disk = {.serial = serial, .readonly = true};
	int dir_fd = open(argv[4], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct machine m = {.id = id,
			    .engine = kvm,
			    .kernel = argv[1],
			    .initrd = initrd,
			    .cmdline = none,
			    .vcpus = 1,
			    .memory = strtoull(argv[3], NULL, 10) << 20,
			    .hugepages = true,
			    .memory_fd = -1,
			    .disks = &disk,
			    .disks_n = 1,
			    .jail_dir = jail,
			    .log_fd = STDERR_FILENO,
			    .boot_timeout_ms = 3600000};

	snprintf(jail, sizeof(jail), "%s/jail", argv[4]);
	disk.fd = open(argv[2], O_RDONLY | O_CLOEXEC);
	if (dir_fd < 0 || disk.fd < 0 || mkdir(jail, 0700) < 0)
		return error_errno(err, "'%s', '%s'", argv[2], jail);
	m.listen_fd = client_listen(dir_fd, err);
	if (m.listen_fd < 0)
		return m.listen_fd;
	printf("%" PRIu64, monotonic_ns());
	if (spawn_monitor(argv[0], &m, 0, &monitor, err) < 0)
		return -err->code;
	spawn_go(&monitor);
	return monitor.pid;
}

static pid_t start_program(char **argv, struct error *err)
{
	pid_t pid;

	printf("%" PRIu64, monotonic_ns());
	fflush(stdout);
	pid = vfork();
	if (pid == 0) {
		execvp(argv[0], argv);
		_exit(127);
	}
	return pid < 0 ? error_errno(err, "fork") : pid;
}

int main(int argc, char **argv)
{
	struct error err = {0};
	pid_t pid = -1;
	char byte;

	if (argc == 7 && strcmp(argv[1], "monitor") == 0)
		pid = start_monitor(argv + 2, &err);
	else if (argc > 2 && strcmp(argv[1], "exec") == 0)
		pid = start_program(argv + 2, &err);
	else
		error_set(&err, EINVAL,
			  "usage: launch monitor PROGRAM KERNEL IMAGE MIB DIR | exec "
			  "PROGRAM ARG...");
	if (pid < 0) {
		fprintf(stderr, "launch: %s\n", err.text);
		return 1;
	}
	printf(" %d\n", pid);
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return 0;
}
