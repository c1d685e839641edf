// SPDX-License-Identifier: Apache-2.0
/*
 * runner [-c CPUS] [-t SECONDS] [-w FILE] GUEST: runs a micro guest in ring 1 by /dev/caisson and
 * says how it ended.  FILE is a function's resourceN in sysfs: a window for the guest.  Exit
 * status: 0 the guest passed, 1 it failed, 2 it was skipped (by its own word), 3 it could not be
 * run, 4 the monitor killed it (and says why), 5 it did not end in time.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "kmod/rules.h"
#include "kmod/uapi/caisson.h"
#include "tests/cki/lib/outcome.h"

#define BLOCK (2ul << 20)
#define CPUS_MAX 4u

enum outcome { PASS, FAIL, SKIP, ERROR, KILLED, TIMEOUT };

static const char *const outcome_names[] = {"pass", "fail", "skip", "error", "killed", "timeout"};

struct cpu {
	struct sandbox *sandbox;
	int fd;
	struct caisson_run *run;
	pthread_t thread;
};

struct sandbox {
	int fd;
	uint8_t *memory; /* BLOCKS */
	uint64_t blocks[BLOCKS];
	uint64_t tables;
	volatile uint8_t *registers; /* NULL: no window */
	struct caisson_window_add window;
	struct cpu cpus[CPUS_MAX];
};

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "runner: %s: %s\n", what, strerror(errno));
	exit(ERROR);
}

static void operate(struct sandbox *s, uint64_t call, uint64_t a, uint64_t b)
{
	struct caisson_operation op = {.call = call, .a = a, .b = b};

	if (ioctl(s->fd, CAISSON_OPERATE, &op) < 0)
		die("page-table operation");
}

static uint64_t frame(const struct sandbox *s, unsigned int n)
{
	return s->tables + n * 4096ull;
}

static void set(struct sandbox *s, unsigned int table, unsigned int index, uint64_t value)
{
	operate(s, CAISSON_CALL_ENTRY_SET, frame(s, table) + index * 8, value);
}

/* The tables that the guest starts on: its memory, and the TABLE block. */
static void map(struct sandbox *s)
{
	const uint64_t table = CAISSON_PTE_P | CAISSON_PTE_W;

	operate(s, CAISSON_CALL_TABLE_NEW, frame(s, FRAME_L4), 4);
	operate(s, CAISSON_CALL_TABLE_NEW, frame(s, FRAME_L3), 3);
	operate(s, CAISSON_CALL_TABLE_NEW, frame(s, FRAME_L2), 2);
	set(s, FRAME_L4, 511, frame(s, FRAME_L3) | table);
	set(s, FRAME_L3, 510, frame(s, FRAME_L2) | table);
	for (unsigned int i = 0; i < BLOCKS; i++)
		set(s, FRAME_L2, i, s->blocks[i] | table | CAISSON_PTE_PS);
	set(s, FRAME_L2, (GUEST_TABLES - GUEST_BASE) / BLOCK,
	    s->tables | CAISSON_PTE_P | CAISSON_PTE_PS | CAISSON_PTE_NX);
}

static void sandbox_make(struct sandbox *s)
{
	struct caisson_memory m = {.size = BLOCKS * BLOCK, .runs = (uint64_t)s->blocks};
	struct caisson_tables_add tables;
	int memory = memfd_create("guest", MFD_CLOEXEC | MFD_HUGETLB);

	s->fd = open("/dev/caisson", O_RDWR | O_CLOEXEC);
	if (s->fd < 0)
		die("/dev/caisson");
	if (ioctl(s->fd, CAISSON_GET_VERSION) != CAISSON_API)
		die("the module is of another version");
	if (memory < 0 || ftruncate(memory, BLOCKS * BLOCK) < 0)
		die("huge pages");
	s->memory = mmap(NULL, BLOCKS * BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
	if (s->memory == MAP_FAILED)
		die("map huge pages");
	close(memory);
	m.address = (uint64_t)s->memory;
	if (ioctl(s->fd, CAISSON_ADD_MEMORY, &m) < 0)
		die("lend memory");
	if (ioctl(s->fd, CAISSON_ADD_TABLES, &tables) < 0)
		die("add page tables");
	s->tables = tables.physical;
	map(s);
}

/* The guest's entry point. */
static uint64_t load(struct sandbox *s, const char *path)
{
	static uint8_t file[1 << 20];
	const Elf64_Ehdr *head = (const void *)file;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, file, sizeof(file)) < (ssize_t)sizeof(*head))
		die(path);
	close(fd);
	for (unsigned int i = 0; i < head->e_phnum; i++) {
		const Elf64_Phdr *p = (const void *)(file + head->e_phoff + i * sizeof(*p));

		if (p->p_type == PT_LOAD)
			memcpy(s->memory + p->p_paddr, file + p->p_offset, p->p_filesz);
	}
	return head->e_entry;
}

static void cpu_make(struct sandbox *s, unsigned int number, uint64_t rip, uint64_t boot)
{
	struct caisson_registers r = {
		.rip = rip, .cs = CAISSON_CS, .rdi = boot, .root = frame(s, FRAME_L4)};
	struct cpu *cpu = &s->cpus[number];

	cpu->sandbox = s;
	cpu->fd = ioctl(s->fd, CAISSON_ADD_VCPU);
	if (cpu->fd < 0)
		die("add a vCPU");
	cpu->run = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, cpu->fd, 0);
	if (cpu->run == MAP_FAILED)
		die("map the vCPU");
	/* The others are for the guest to start. */
	if (number == 0 && ioctl(cpu->fd, CAISSON_SET_REGISTERS, &r) < 0)
		die("set registers");
}

/* All but the first page of it. */
static void window_make(struct sandbox *s, const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		die(path);
	s->registers = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (s->registers == MAP_FAILED)
		die("map a function's registers");
	close(fd);
	s->registers += 4096;
	s->window.address = (uint64_t)s->registers;
	s->window.size = (uint64_t)st.st_size - 4096;
	if (ioctl(s->fd, CAISSON_ADD_WINDOW, &s->window) < 0)
		die("lend a window");
}

/* Answers a doorbell with an interrupt. */
static void *bell_thread(void *arg)
{
	const int *fds = arg;
	uint64_t n;

	while (read(fds[0], &n, sizeof(n)) == sizeof(n))
		if (write(fds[1], &(uint64_t){1}, sizeof(n)) < 0)
			break;
	die("doorbell");
}

static void bell_make(struct sandbox *s)
{
	static int fds[2];
	pthread_t thread;

	fds[0] = eventfd(0, EFD_CLOEXEC);
	fds[1] = eventfd(0, EFD_CLOEXEC);
	if (fds[0] < 0 || fds[1] < 0 ||
	    ioctl(s->fd, CAISSON_IOEVENTFD,
		  &(struct caisson_ioeventfd){.argument = {MONITOR_BELL, BELL_RSI, BELL_RDX, 0},
					      .fd = fds[0]}) < 0 ||
	    ioctl(s->fd, CAISSON_IRQFD,
		  &(struct caisson_irqfd){.fd = fds[1], .vcpu = 0, .event = EVENT_BELL}) < 0 ||
	    pthread_create(&thread, NULL, bell_thread, fds))
		die("make a doorbell");
}

static void start(struct sandbox *s, const struct sandbox *other, unsigned int cpus,
		  const char *path)
{
	const uint64_t at = BLOCK - 4096, rip = load(s, path);
	struct boot boot = {.tables = s->tables,
			    .foreign = other->blocks[0],
			    .foreign_table = frame(other, FRAME_L4),
			    .window = s->window.physical,
			    .window_size = s->window.size};

	memcpy(boot.blocks, s->blocks, sizeof(boot.blocks));
	memcpy(s->memory + at, &boot, sizeof(boot));
	for (unsigned int i = 0; i < cpus; i++)
		cpu_make(s, i, rip, GUEST_BASE + at);
	bell_make(s);
}

/* What a hypercall to the monitor does; -1: go on. */
static int serve(const struct sandbox *s, struct caisson_run *run)
{
	const uint64_t *a = (const uint64_t *)run->argument;

	run->answer = 0;
	switch (a[0]) {
	case MONITOR_TEXT:
		if (a[2] <= 4096 && a[1] <= BLOCKS * BLOCK - a[2])
			fwrite(s->memory + a[1], 1, a[2], stdout);
		return -1;
	case MONITOR_END:
		return a[1] <= SKIP ? (int)a[1] : FAIL;
	case MONITOR_WINDOW:
		if (s->registers && a[1] <= s->window.size - 8)
			run->answer = *(const volatile uint64_t *)(s->registers + a[1]);
		return -1;
	case MONITOR_ECHO:
		run->answer = a[1] + 1;
		return -1;
	default:
		run->answer = (uint64_t)-ENOSYS;
		return -1;
	}
}

static sem_t ended;
static volatile int outcome = -1; /* of the first CPU that has one */

static void on_signal(int number)
{
	(void)number;
}

static int run_one(struct cpu *cpu)
{
	int said = -1;

	while (said < 0) {
		if (ioctl(cpu->fd, CAISSON_RUN) < 0) {
			if (errno != EINTR)
				die("run");
			if (outcome < 0)
				continue;
			fprintf(stderr, "runner: it was at %#llx\n", cpu->run->registers.rip);
			return outcome;
		}
		if (cpu->run->exit == CAISSON_EXIT_KILLED) {
			fprintf(stderr, "runner: killed: %.128s\n", cpu->run->text);
			return KILLED;
		}
		said = serve(cpu->sandbox, cpu->run);
	}
	return said;
}

static void *run_thread(void *arg)
{
	int said = run_one(arg);

	if (outcome < 0)
		outcome = said;
	sem_post(&ended);
	return NULL;
}

static void run(struct sandbox *s, unsigned int cpus, int seconds)
{
	struct timespec until;

	sem_init(&ended, 0, 0);
	for (unsigned int i = 0; i < cpus; i++)
		if (pthread_create(&s->cpus[i].thread, NULL, run_thread, &s->cpus[i]))
			die("a thread");
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += seconds;
	if (sem_timedwait(&ended, &until) == 0)
		return; /* the others die with the process */
	outcome = TIMEOUT;
	for (unsigned int i = 0; i < cpus; i++) {
		pthread_kill(s->cpus[i].thread, SIGUSR1);
		sem_wait(&ended);
	}
}

int main(int argc, char **argv)
{
	const struct sigaction action = {.sa_handler = on_signal};
	static struct sandbox s, other;
	const char *window = NULL;
	int opt, cpus = 1, seconds = 60;

	while ((opt = getopt(argc, argv, "c:t:w:")) != -1) {
		if (opt == 'c')
			cpus = atoi(optarg);
		else if (opt == 't')
			seconds = atoi(optarg);
		else if (opt == 'w')
			window = optarg;
		else
			goto usage;
	}
	if (optind + 1 != argc || cpus < 1 || cpus > (int)CPUS_MAX)
		goto usage;
	sandbox_make(&other);
	sandbox_make(&s);
	if (window)
		window_make(&s, window);
	start(&s, &other, (unsigned int)cpus, argv[optind]);
	sigaction(SIGUSR1, &action, NULL);
	run(&s, (unsigned int)cpus, seconds);
	fflush(stdout);
	fprintf(stderr, "%s: %s\n", argv[optind], outcome_names[outcome]);
	return outcome;
usage:
	fprintf(stderr, "usage: runner [-c CPUS] [-t SECONDS] [-w FILE] GUEST\n");
	return ERROR;
}
