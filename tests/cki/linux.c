// SPDX-License-Identifier: Apache-2.0
/*
 * linux [-c CPUS] [-m MIB] [-t SECONDS] [-i INITRAMFS] [-a APPEND] KERNEL: boots the guest's kernel
 * in ring 1, without any device: its console is standard output.  What the engine does, in a
 * page, for whoever works on kernel or module.  Exit status: 0 it has powered off, 1 it has reset,
 * 2 it has given up, 3 it could not be run, 4 the module killed it, 5 it did not end in time.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include "kmod/rules.h"
#include "kmod/uapi/caisson.h"
#include "kmod/uapi/caisson_boot.h"
#include "lib/error.h"
#include "vmm/boot/cki.h"
#include "vmm/mem/mem.h"

#define BLOCK (1ul << CAISSON_BLOCK_SHIFT)
#define VCPUS_MAX 8u

enum { POWERED_OFF, RESET, PANIC, FAILED, KILLED, TIMEOUT };

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "linux: %s: %s\n", what, strerror(errno));
	exit(FAILED);
}

static uint64_t tsc_khz(void)
{
	struct timespec from, to;
	uint64_t tsc, ns;

	clock_gettime(CLOCK_MONOTONIC_RAW, &from);
	tsc = __rdtsc();
	usleep(200000);
	clock_gettime(CLOCK_MONOTONIC_RAW, &to);
	tsc = __rdtsc() - tsc;
	ns = (uint64_t)(to.tv_sec - from.tv_sec) * 1000000000u + (uint64_t)to.tv_nsec -
	     (uint64_t)from.tv_nsec;
	return tsc * 1000000u / ns;
}

static void memory_lend(struct cki_memory *mem, uint32_t blocks)
{
	static struct mem m;
	uint64_t *physical = calloc(blocks, sizeof(*physical));
	struct caisson_memory lent = {.size = blocks * BLOCK, .runs = (uint64_t)physical};
	struct error err = {0};

	/* One at a time, as the engine's. */
	if (flock(mem->fd, LOCK_EX) < 0)
		die("lock /dev/caisson");
	if (!physical || mem_init(&m, lent.size, true, &err) < 0 || mem_sort(&m, &err) < 0) {
		fprintf(stderr, "linux: memory: %s\n", err.text);
		exit(FAILED);
	}
	flock(mem->fd, LOCK_UN);
	mem->host = m.regions[0].at;
	lent.address = (uint64_t)mem->host;
	if (ioctl(mem->fd, CAISSON_ADD_MEMORY, &lent) < 0)
		die("lend memory");
	mem->blocks = physical;
	mem->blocks_n = blocks;
}

static void tables_add(struct cki_memory *mem)
{
	const uint32_t n = cki_table_blocks(mem->blocks_n);
	uint64_t *tables = calloc(n, sizeof(*tables));

	for (uint32_t i = 0; i < n; i++) {
		struct caisson_tables_add add;

		if (!tables || ioctl(mem->fd, CAISSON_ADD_TABLES, &add) < 0)
			die("add page tables");
		tables[i] = add.physical;
	}
	mem->tables = tables;
	mem->tables_n = n;
}

static void console(const struct cki_memory *mem, uint64_t at, uint64_t n)
{
	for (uint32_t i = 0; i < mem->blocks_n; i++)
		if (at - mem->blocks[i] < BLOCK && n <= BLOCK - (at - mem->blocks[i])) {
			fwrite(mem->host + i * BLOCK + (at - mem->blocks[i]), 1, n, stdout);
			fflush(stdout);
		}
}

/* What a call to the monitor does; -1: go on. */
static int serve(const struct cki_memory *mem, struct caisson_run *run)
{
	const uint64_t *a = (const uint64_t *)run->argument;

	run->answer = 0;
	switch (a[0]) {
	case CAISSON_MONITOR_CONSOLE:
		console(mem, a[1], a[2]);
		return -1;
	case CAISSON_MONITOR_POWER:
		return a[1] <= PANIC ? (int)a[1] : PANIC;
	case CAISSON_MONITOR_MMIO_READ:
	case CAISSON_MONITOR_MMIO_WRITE:
		return -1;
	default:
		run->answer = (uint64_t)-ENOSYS;
		return -1;
	}
}

static volatile sig_atomic_t late;
static sem_t ended;
static volatile int outcome = -1; /* of the first vCPU that has one */

static void on_signal(int number)
{
	(void)number;
}

static void registers_say(const struct caisson_registers *r)
{
	fprintf(stderr,
		"linux: rip %llx cs %llx rsp %llx rflags %llx\n"
		"linux: rax %llx rbx %llx rcx %llx rdx %llx rsi %llx rdi %llx rbp %llx\n"
		"linux: r8 %llx r9 %llx r10 %llx r11 %llx r12 %llx gs %llx\n",
		r->rip, r->cs, r->rsp, r->rflags, r->rax, r->rbx, r->rcx, r->rdx, r->rsi, r->rdi,
		r->rbp, r->r8, r->r9, r->r10, r->r11, r->r12, r->gs_base);
}

struct vcpu {
	const struct cki_memory *mem;
	int fd;
	struct caisson_run *run;
	pthread_t thread;
};

static void vcpu_make(struct vcpu *v, const struct cki_memory *mem)
{
	v->mem = mem;
	v->fd = ioctl(mem->fd, CAISSON_ADD_VCPU);
	if (v->fd < 0)
		die("add a vCPU");
	v->run = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	if (v->run == MAP_FAILED)
		die("map a vCPU");
}

static int vcpu_run(struct vcpu *v)
{
	int said = -1;

	while (said < 0) {
		if (late) {
			registers_say(&v->run->registers);
			return TIMEOUT;
		}
		if (ioctl(v->fd, CAISSON_RUN) < 0) {
			if (errno != EINTR)
				die("run");
			continue;
		}
		if (v->run->exit == CAISSON_EXIT_KILLED) {
			fprintf(stderr, "linux: killed: %.128s\n", v->run->text);
			registers_say(&v->run->registers);
			return KILLED;
		}
		said = serve(v->mem, v->run);
	}
	return said;
}

static void *vcpu_thread(void *arg)
{
	int said = vcpu_run(arg);

	if (outcome < 0)
		outcome = said;
	sem_post(&ended);
	return NULL;
}

static int run(const struct cki_memory *mem, const struct cki_entry *entry, unsigned int vcpus,
	       unsigned int seconds)
{
	const struct caisson_registers r = {
		.rip = entry->rip, .cs = CAISSON_CS, .rdi = entry->rdi, .root = entry->root};
	static struct vcpu v[VCPUS_MAX];
	struct timespec until;

	for (unsigned int i = 0; i < vcpus; i++)
		vcpu_make(&v[i], mem);
	if (ioctl(v[0].fd, CAISSON_SET_REGISTERS, &r) < 0)
		die("set registers");
	for (unsigned int i = 0; i < vcpus; i++)
		if (pthread_create(&v[i].thread, NULL, vcpu_thread, &v[i]))
			die("a thread");
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += seconds;
	if (sem_timedwait(&ended, &until) == 0)
		return outcome; /* the others die with the process */
	late = 1;
	for (unsigned int i = 0; i < vcpus; i++) {
		pthread_kill(v[i].thread, SIGUSR1);
		sem_wait(&ended);
	}
	return TIMEOUT;
}

int main(int argc, char **argv)
{
	const struct sigaction action = {.sa_handler = on_signal};
	struct cki_guest guest = {.cmdline = "", .vcpus = 1};
	struct cki_memory mem = {.fd = open("/dev/caisson", O_RDWR | O_CLOEXEC)};
	unsigned int seconds = 60, mib = 256;
	struct error err = {0};
	struct cki_entry entry;
	int opt;

	while ((opt = getopt(argc, argv, "c:m:t:i:a:")) != -1) {
		if (opt == 'c')
			guest.vcpus = (uint32_t)atoi(optarg);
		else if (opt == 'm')
			mib = (unsigned int)atoi(optarg);
		else if (opt == 't')
			seconds = (unsigned int)atoi(optarg);
		else if (opt == 'i')
			guest.initrd = optarg;
		else if (opt == 'a')
			guest.cmdline = optarg;
		else
			goto usage;
	}
	if (optind + 1 != argc || mib < 64 || mib > 2048 || !guest.vcpus || guest.vcpus > VCPUS_MAX)
		goto usage;
	guest.kernel = argv[optind];
	if (mem.fd < 0)
		die("/dev/caisson");
	if (ioctl(mem.fd, CAISSON_GET_VERSION) != CAISSON_API)
		die("the module is of another version");
	guest.tsc_khz = tsc_khz();
	memory_lend(&mem, mib / 2);
	tables_add(&mem);
	if (cki_load(&mem, &guest, &entry, &err) < 0) {
		fprintf(stderr, "linux: %s\n", err.text);
		return FAILED;
	}
	sigaction(SIGUSR1, &action, NULL);
	return run(&mem, &entry, guest.vcpus, seconds);
usage:
	fprintf(stderr,
		"usage: linux [-c CPUS] [-m MIB] [-t SECONDS] [-i INITRAMFS] [-a APPEND] KERNEL\n");
	return FAILED;
}
