// SPDX-License-Identifier: Apache-2.0
/*
 * lender -k KERNEL -i INITRAMFS [-e ENGINE] [-f ADDRESS]... [-m MIB] [-g MIB] [-c CPUS]
 *	[-a CMDLINE] [-t SECONDS] [-u auto|type1|iommufd] [-H] VMM
 * runs one guest with functions of the host's (bound to vfio-pci), lent as vmm/vfio/lend.h does, in
 * the monitor VMM on engine kvm or cki.  -H: memory of 2 MiB pages, as cki has it anyway.  -g: at
 *SIGUSR1 the guest grows by so much.  Standard output gets what the monitor logs: why the guest
 *ended, and its console. Standard error gets times, in milliseconds, and the monitor's timeline.
 *Afterwards the functions are reset, as a lender would.  SIGTERM ends the guest.  Exit status 0:
 *the guest ended.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/timeline.h"
#include "vmm/machine.h"
#include "vmm/mem/blocks.h"
#include "vmm/vfio/device.h"
#include "vmm/vfio/lend.h"

#define FUNCTIONS_MAX 32

struct options {
	char *kernel, *initrd, *cmdline, *vmm, *engine;
	char *functions[FUNCTIONS_MAX];
	uint32_t functions_n, cpus, seconds;
	uint64_t mib, growth_mib;
	enum vfio_kind iommu;
	bool hugepages, in_place;
};

static void die(const struct error *err)
{
	fprintf(stderr, "lender: %s\n", err->text);
	exit(1);
}

static void die_errno(const char *what)
{
	fprintf(stderr, "lender: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void took(const char *what, uint64_t since)
{
	fprintf(stderr, "lender: %s %.1f ms\n", what, (double)(monotonic_ns() - since) / 1e6);
}

static int make_memory(const struct options *o)
{
	int fd = memfd_create("lent", MFD_CLOEXEC | MFD_ALLOW_SEALING |
					      (o->hugepages ? MFD_HUGETLB | MFD_HUGE_2MB : 0u));

	if (fd < 0 || ftruncate(fd, (off_t)(o->mib + o->growth_mib) << 20) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0)
		die_errno("make memory");
	return fd;
}

/* As the host has its pages, as far as that can be had: one at a time (daemon/memory.c). */
static void sort_memory(const struct options *o, int fd)
{
	const uint64_t size = o->mib << 20;
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	const int lock = open("/dev/caisson", O_RDWR | O_CLOEXEC);
	struct error err = {0};

	if (at == MAP_FAILED)
		die_errno("map memory");
	if (lock < 0 || flock(lock, LOCK_EX) < 0)
		die_errno("lock '/dev/caisson'");
	if (mem_blocks_sort(at, fd, size, true, &err) < 0)
		die(&err);
	munmap(at, size);
	close(lock);
}

static int make_listener(const char *dir)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%s/socket", dir);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 1) < 0)
		die_errno("make a socket");
	return fd;
}

/* Above what the monitor's start puts in order, and inherited. */
static int pass(int fd)
{
	int copy = fcntl(fd, F_DUPFD, 64);

	if (copy < 0)
		die_errno("pass a descriptor");
	return copy;
}

__attribute__((noreturn)) static void run_monitor(const struct options *o, struct machine *m,
						  struct vfio_lent *lent)
{
	struct machine_function functions[FUNCTIONS_MAX];
	int fd = memfd_create("machine", MFD_CLOEXEC), pipefd[2];
	char *argv[] = {o->vmm, m->id, NULL};
	struct msg msg;

	for (uint32_t i = 0; i < o->functions_n; i++)
		functions[i] = (struct machine_function){.name = lent[i].address,
							 .device_fd = pass(lent[i].device_fd)};
	m->functions = functions;
	m->functions_n = o->functions_n;
	m->memory_fd = pass(m->memory_fd);
	m->growth_fd = pass(m->growth_fd);
	m->listen_fd = pass(m->listen_fd);
	m->log_fd = pass(STDOUT_FILENO);
	m->status_fd = pass(STDERR_FILENO);
	m->timeline_fd = pass(STDERR_FILENO);
	/* Committed at once. */
	if (pipe(pipefd) < 0 || write(pipefd[1], "", 1) != 1)
		die_errno("pipe");
	m->lifeline_fd = pass(pipefd[0]);
	msg_init_encode(&msg);
	machine_codec(&msg, m);
	if (msg.broken || fd < 0 || write(fd, msg.data, msg.size) != (ssize_t)msg.size ||
	    dup2(fd, MACHINE_FD) < 0)
		die_errno("encode the machine");
	close_range(MACHINE_FD + 1, 63, 0);
	execv(o->vmm, argv);
	die_errno(o->vmm);
	_exit(1);
}

static void lend(const struct options *o, struct vfio_lent *lent, int memory)
{
	struct error err = {0};

	for (uint32_t i = 0; i < o->functions_n; i++) {
		uint64_t begin = monotonic_ns();

		if (vfio_open(&lent[i], o->functions[i], o->iommu, &err) < 0)
			die(&err);
		took("open", begin);
		begin = monotonic_ns();
		if ((o->in_place ? vfio_map_in_place : vfio_map)(&lent[i], memory, o->mib << 20,
								 &err) < 0)
			die(&err);
		took("map", begin);
	}
}

static void take_back(const struct options *o, struct vfio_lent *lent)
{
	struct error err = {0};

	for (uint32_t i = 0; i < o->functions_n; i++) {
		uint64_t begin = monotonic_ns();

		/* Who unbinds it resets it himself. */
		if (vfio_device_reset(lent[i].device_fd, &err) < 0)
			fprintf(stderr, "lender: %s\n", err.text);
		took("reset", begin);
		if (vfio_unmap(&lent[i], &err) < 0)
			die(&err);
		vfio_close(&lent[i]);
	}
}

static pid_t monitor;
static volatile sig_atomic_t grow_now;

static void on_term(int sig)
{
	kill(monitor, sig);
}

static void on_grow(int sig)
{
	(void)sig;
	grow_now = 1;
}

/* Zeroed by being new, mapped for every function, and only then the guest's. */
static void grow(const struct options *o, struct vfio_lent *lent, int memory, int growth_fd)
{
	const uint64_t size = o->mib << 20, bytes = o->growth_mib << 20;
	const uint64_t begin = monotonic_ns();
	struct error err = {0};
	struct mem_extent e;

	grow_now = 0;
	if (!mem_growth(size, size + bytes, &e)) {
		fprintf(stderr, "lender: it cannot grow\n");
		exit(1);
	}
	for (uint32_t i = 0; i < o->functions_n; i++)
		if (vfio_map_extent(&lent[i], memory, &e, &err) < 0)
			die(&err);
	if (write(growth_fd, &bytes, sizeof(bytes)) != (ssize_t)sizeof(bytes))
		die_errno("say that memory is ready");
	took("grow", begin);
}

/* How the monitor ended. */
static int wait_monitor(const struct options *o, struct vfio_lent *lent, int memory, int growth_fd)
{
	const struct sigaction term = {.sa_handler = on_term}, more = {.sa_handler = on_grow};
	int status;

	sigaction(SIGTERM, &term, NULL);
	sigaction(SIGUSR1, &more, NULL);
	while (waitpid(monitor, &status, 0) < 0) {
		if (errno != EINTR)
			die_errno("wait for the monitor");
		if (grow_now)
			grow(o, lent, memory, growth_fd);
	}
	return status;
}

static int run(const struct options *o)
{
	char dir[] = "/tmp/lender.XXXXXX", jail[64], socket_path[64];
	static struct vfio_lent lent[FUNCTIONS_MAX];
	int memory = make_memory(o), status, growth[2];
	struct machine m = {
		.id = (char *)"lender",
		.engine = o->engine,
		.kernel = o->kernel,
		.initrd = o->initrd,
		.cmdline = o->cmdline,
		.vcpus = o->cpus,
		.memory = o->mib << 20,
		.hugepages = o->hugepages,
		.memory_fd = memory,
		.memory_max = (o->mib + o->growth_mib) << 20,
		.jail_dir = jail,
		.timeline_fd = -1,
		.boot_timeout_ms = o->seconds * 1000,
		.sandbox = {.hostname = (char *)"guest"},
	};

	if (!mkdtemp(dir))
		die_errno("make a directory");
	snprintf(jail, sizeof(jail), "%s/jail", dir);
	snprintf(socket_path, sizeof(socket_path), "%s/socket", dir);
	if (mkdir(jail, 0700) < 0 || pipe2(growth, O_CLOEXEC) < 0)
		die_errno("make a directory and a pipe");
	m.growth_fd = growth[0];
	m.listen_fd = make_listener(dir);
	if (o->in_place)
		sort_memory(o, memory);
	lend(o, lent, memory);
	monitor = fork();
	if (monitor == 0)
		run_monitor(o, &m, lent);
	if (monitor < 0)
		die_errno("run the monitor");
	status = wait_monitor(o, lent, memory, growth[1]);
	take_back(o, lent);
	unlink(socket_path);
	rmdir(jail);
	rmdir(dir);
	/* Its status says that the guest ended by itself, which it does here. */
	return WIFEXITED(status) && WEXITSTATUS(status) <= 1 ? 0 : 1;
}

int main(int argc, char **argv)
{
	struct options o = {.cmdline = (char *)"",
			    .engine = (char *)"kvm",
			    .cpus = 1,
			    .seconds = 120,
			    .mib = 128};
	int opt;

	while ((opt = getopt(argc, argv, "k:i:e:f:m:g:c:a:t:u:H")) != -1)
		switch (opt) {
		case 'k':
			o.kernel = optarg;
			break;
		case 'i':
			o.initrd = optarg;
			break;
		case 'e':
			o.engine = optarg;
			o.in_place = strcmp(optarg, "cki") == 0;
			break;
		case 'f':
			if (o.functions_n < FUNCTIONS_MAX)
				o.functions[o.functions_n++] = optarg;
			break;
		case 'm':
			o.mib = strtoull(optarg, NULL, 10);
			break;
		case 'g':
			o.growth_mib = strtoull(optarg, NULL, 10);
			break;
		case 'c':
			o.cpus = (uint32_t)atoi(optarg);
			break;
		case 'a':
			o.cmdline = optarg;
			break;
		case 't':
			o.seconds = (uint32_t)atoi(optarg);
			break;
		case 'u':
			if (vfio_kind_parse(optarg, &o.iommu) < 0)
				return 2;
			break;
		case 'H':
			o.hugepages = true;
			break;
		default:
			return 2;
		}
	if (optind + 1 != argc || !o.kernel || !o.initrd) {
		fprintf(stderr,
			"usage: lender -k KERNEL -i INITRAMFS [-e ENGINE] [-f ADDRESS]... [-m MIB] "
			"[-g MIB] [-c CPUS] [-a CMDLINE] [-t SECONDS] [-u IOMMU] [-H] VMM\n");
		return 2;
	}
	o.hugepages |= o.in_place;
	o.vmm = argv[optind];
	return run(&o);
}
