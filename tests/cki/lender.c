// SPDX-License-Identifier: Apache-2.0
/*
 * lender CASE MEMORY CACHED REGISTERS: windows, from the monitor process's side: what is none is
 * not lent, and what is taken away from the process is taken away from the guest.  The files are
 * resourceN of functions in sysfs: of 4 MiB; the same, write-combined; with an MSI-X table in it.
 *
 * lender vfio-CASE - FUNCTION GROUP: the same with vfio-pci's mapping of FUNCTION, of /dev/vfio's
 * GROUP, whose first window has 2 pages before its MSI-X table.
 *
 * Status 0 if all was as it must be, 1 with a line otherwise.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>

#include "kmod/rules.h"
#include "kmod/uapi/caisson.h"
#include "tests/cki/check.h"

#define PAGE 4096ul
#define BLOCK (2ul << 20)

static const char *memory_path, *cached_path, *registers_path;

/* --- What is lent ------------------------------------------------------------------------------
 */

static size_t size_of(const char *path)
{
	struct stat st;

	check(stat(path, &st) == 0);
	return (size_t)st.st_size;
}

/* `size` bytes from `offset`; at `at`, if it is not NULL. */
static uint8_t *map_part(const char *path, int protection, void *at, size_t offset, size_t size)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	uint8_t *result;

	check(fd >= 0);
	result = mmap(at, size, protection, MAP_SHARED | (at ? MAP_FIXED : 0), fd, (off_t)offset);
	check(result != MAP_FAILED);
	close(fd);
	return result;
}

static uint8_t *reserve(size_t size)
{
	uint8_t *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	check(at != MAP_FAILED);
	return at;
}

/* In two mappings, each of which is taken away whole: the kernel has something to say of parts of
 * them. */
static uint8_t *map(const char *path)
{
	const size_t half = size_of(path) / 2;
	uint8_t *at = reserve(2 * half);

	map_part(path, PROT_READ | PROT_WRITE, at, 0, half);
	map_part(path, PROT_READ | PROT_WRITE, at + half, half, half);
	return at;
}

static int open_sandbox(void)
{
	int fd = open("/dev/caisson", O_RDWR | O_CLOEXEC);

	check(fd >= 0);
	return fd;
}

static int lend(int fd, const void *address, uint64_t size, uint64_t *ret_physical)
{
	struct caisson_window_add a = {.address = (uint64_t)address, .size = size};

	if (ioctl(fd, CAISSON_ADD_WINDOW, &a) < 0)
		return -1;
	if (ret_physical)
		*ret_physical = a.physical;
	return 0;
}

/* --- A guest -----------------------------------------------------------------------------------
 */

#define BASE 0xffffffff80000000ull
#define WINDOW_AT (BASE + BLOCK)

struct guest {
	int fd, vcpu;
	struct caisson_run *run;
	uint8_t *memory;
	uint64_t data, tables;
	pthread_t thread;
	int result; /* of CAISSON_RUN */
};

static void operate(const struct guest *g, uint64_t call, uint64_t a, uint64_t b)
{
	struct caisson_operation op = {.call = call, .a = a, .b = b};

	check(ioctl(g->fd, CAISSON_OPERATE, &op) == 0);
}

static uint64_t entry(const struct guest *g, unsigned int frame, unsigned int index)
{
	return g->tables + frame * PAGE + index * 8ul;
}

static void tables_make(struct guest *g, uint64_t window)
{
	const uint64_t rw = CAISSON_PTE_P | CAISSON_PTE_W;

	for (unsigned int level = 4; level > 0; level--)
		operate(g, CAISSON_CALL_TABLE_NEW, entry(g, 4 - level, 0), level);
	operate(g, CAISSON_CALL_ENTRY_SET, entry(g, 0, 511), entry(g, 1, 0) | rw);
	operate(g, CAISSON_CALL_ENTRY_SET, entry(g, 1, 510), entry(g, 2, 0) | rw);
	operate(g, CAISSON_CALL_ENTRY_SET, entry(g, 2, 0), g->data | rw | CAISSON_PTE_PS);
	operate(g, CAISSON_CALL_ENTRY_SET, entry(g, 2, 1), entry(g, 3, 0) | rw);
	operate(g, CAISSON_CALL_ENTRY_SET, entry(g, 3, 0),
		window | rw | CAISSON_PTE_NX | CAISSON_PTE_PCD);
}

/* With one vCPU, and a window, which begins with that page of `registers`. */
static void guest_make(struct guest *g, const uint8_t *registers, uint64_t size)
{
	struct caisson_memory m = {.size = BLOCK, .runs = (uint64_t)&g->data};
	struct caisson_tables_add a;
	uint64_t window;

	g->fd = open_sandbox();
	g->memory = mmap(NULL, BLOCK, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	check(g->memory != MAP_FAILED);
	m.address = (uint64_t)g->memory;
	check(ioctl(g->fd, CAISSON_ADD_MEMORY, &m) == 0);
	check(ioctl(g->fd, CAISSON_ADD_TABLES, &a) == 0);
	g->tables = a.physical;
	check(lend(g->fd, registers, size, &window) == 0);
	tables_make(g, window);
	g->vcpu = ioctl(g->fd, CAISSON_ADD_VCPU);
	check(g->vcpu >= 0);
	g->run = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, g->vcpu, 0);
	check(g->run != MAP_FAILED);
}

/* What it may do; each counts its rounds at R12. */
static const uint8_t reads[] = {0x48, 0x8b, 0x03,	/* mov rax, [rbx] */
				0x49, 0xff, 0x04, 0x24, /* inc qword [r12] */
				0xeb, 0xf7};
static const uint8_t calls[] = {0xb8, 0x00, 0x00, 0x00, 0x00, /* mov eax, a call */
				0x0f, 0x05, 0x49, 0xff, 0x04, 0x24, 0xeb, 0xf3};

static volatile uint64_t *counter(const struct guest *g)
{
	return (volatile uint64_t *)(g->memory + PAGE);
}

static void guest_start(struct guest *g, const uint8_t *code, size_t size, uint8_t call)
{
	struct caisson_registers r = {.rip = BASE,
				      .cs = CAISSON_CS,
				      .rbx = WINDOW_AT,
				      .r12 = BASE + PAGE,
				      .rdi = entry(g, 3, 5),
				      .root = entry(g, 0, 0)};

	memcpy(g->memory, code, size);
	if (call)
		g->memory[1] = call;
	check(ioctl(g->vcpu, CAISSON_SET_REGISTERS, &r) == 0);
}

static void *run_thread(void *arg)
{
	struct guest *g = arg;

	do
		g->result = ioctl(g->vcpu, CAISSON_RUN);
	while (g->result < 0 && errno == EINTR);
	return NULL;
}

static void guest_run(struct guest *g)
{
	check(pthread_create(&g->thread, NULL, run_thread, g) == 0);
}

static void guest_done(struct guest *g)
{
	check(munmap(g->run, PAGE) == 0 && close(g->vcpu) == 0);
	check(munmap(g->memory, BLOCK) == 0 && close(g->fd) == 0);
}

static bool is_over(const struct guest *g)
{
	return g->result == 0 && g->run->exit == CAISSON_EXIT_KILLED &&
	       strstr(g->run->text, "a window was taken away");
}

/* --- Ways to take it away ----------------------------------------------------------------------
 */

static void by_munmap(uint8_t *at, size_t size)
{
	check(munmap(at, size) == 0);
}

/* The half that the guest has not mapped. */
static void by_munmap_half(uint8_t *at, size_t size)
{
	check(munmap(at + size / 2, size / 2) == 0);
}

static void by_mprotect(uint8_t *at, size_t size)
{
	check(mprotect(at, size, PROT_READ) == 0);
}

static void by_mremap(uint8_t *at, size_t size)
{
	check(mremap(at, size / 2, size / 2, MREMAP_MAYMOVE | MREMAP_FIXED, reserve(size / 2)) !=
	      MAP_FAILED);
}

static void by_map_over(uint8_t *at, size_t size)
{
	check(mmap(at, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
		   0) == at);
}

static void (*const ways[])(uint8_t *, size_t) = {by_munmap, by_munmap_half, by_mprotect, by_mremap,
						  by_map_over};
#define WAYS (sizeof(ways) / sizeof(ways[0]))

/* --- Cases -------------------------------------------------------------------------------------
 */

/* Memory, holes, other memory types; what is not the function's, or is its MSI-X table. */
static void refuses(void)
{
	const size_t size = size_of(memory_path), registers_size = size_of(registers_path);
	uint8_t *at = map_part(cached_path, PROT_READ | PROT_WRITE, NULL, 0, size), *good,
		*registers;
	int fd = open_sandbox(), mem = open("/dev/mem", O_RDWR | O_SYNC | O_CLOEXEC);

	/* Another memory type than registers have. */
	refused(lend(fd, at, PAGE, NULL), EINVAL);
	check(munmap(at, size) == 0);
	/* Addresses and sizes; ordinary memory. */
	good = map(memory_path);
	refused(ioctl(fd, CAISSON_ADD_WINDOW, NULL), EFAULT);
	refused(lend(fd, good + 1, PAGE, NULL), EINVAL);
	refused(lend(fd, good, PAGE + 1, NULL), EINVAL);
	refused(lend(fd, good, 0, NULL), EINVAL);
	refused(lend(fd, good, -PAGE, NULL), E2BIG);
	refused(lend(fd, NULL, PAGE, NULL), EINVAL);
	refused(lend(fd, (void *)0xffff800000000000, PAGE, NULL), EINVAL);
	refused(lend(fd, (void *)0xffffffffff600000, PAGE, NULL), EINVAL);
	refused(lend(fd, (void *)(0x7ffffffff000 - PAGE), 2 * PAGE, NULL), EINVAL);
	at = reserve(4 * PAGE);
	memset(at, 1, 4 * PAGE);
	refused(lend(fd, at, PAGE, NULL), EINVAL);
	/* Runs out of the registers; two pages that are not one piece. */
	map_part(memory_path, PROT_READ | PROT_WRITE, at, 0, PAGE);
	refused(lend(fd, at, 2 * PAGE, NULL), EINVAL);
	map_part(memory_path, PROT_READ | PROT_WRITE, at + PAGE, 2 * PAGE, PAGE);
	refused(lend(fd, at, 2 * PAGE, NULL), EINVAL);
	/* Not to be written. */
	map_part(memory_path, PROT_READ, at + 2 * PAGE, 3 * PAGE, PAGE);
	refused(lend(fd, at + 2 * PAGE, PAGE, NULL), EACCES);
	refused(lend(fd, at + PAGE, 2 * PAGE, NULL), EACCES);
	/* An interrupt's address and value, anywhere in the host: the function's MSI-X table. */
	registers = map(registers_path);
	refused(lend(fd, registers, registers_size, NULL), EPERM);
	refused(lend(fd, registers + 0x2000, PAGE, NULL), EPERM);
	check(lend(fd, registers, 0x2000, NULL) == 0);
	refused(lend(fd, registers + 0x1000, PAGE, NULL), EEXIST);
	/* No function's registers at all. */
	at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, mem, 0xfd800000);
	check(at != MAP_FAILED);
	refused(lend(fd, at, PAGE, NULL), EPERM);
	/* As many as there may be. */
	for (unsigned int i = 1; i < CAISSON_WINDOWS_MAX; i++)
		check(lend(fd, good + 2 * i * PAGE, PAGE, NULL) == 0);
	refused(lend(fd, good + 64 * PAGE, PAGE, NULL), E2BIG);
	close(fd);
}

/* While the guest is at it: it stands still when the call that took the window away returns. */
static void stops_one(const uint8_t *code, size_t code_size, uint8_t call, unsigned int way)
{
	const size_t size = size_of(memory_path);
	uint8_t *registers = map(memory_path);
	struct guest g;
	uint64_t at;

	guest_make(&g, registers, size);
	guest_start(&g, code, code_size, call);
	guest_run(&g);
	while (*counter(&g) < 500)
		usleep(100);
	ways[way](registers, size);
	at = *counter(&g);
	usleep(20000);
	check(*counter(&g) == at);
	check(pthread_join(g.thread, NULL) == 0);
	check(is_over(&g));
	refused(ioctl(g.vcpu, CAISSON_RUN), EINVAL);
	guest_done(&g);
}

static void stops(void)
{
	for (unsigned int i = 0; i < 3 * WAYS; i++) {
		stops_one(reads, sizeof(reads), 0, i % WAYS);
		stops_one(calls, sizeof(calls), CAISSON_CALL_ENTRY_SET, i % WAYS);
	}
}

/* It is not in the guest just then: halted; waiting for its start; out, with a question. */
static void stays_out(void)
{
	const size_t size = size_of(memory_path);

	for (unsigned int i = 0; i < 3; i++) {
		uint8_t *registers = map(memory_path);
		struct guest g;

		guest_make(&g, registers, size);
		if (i < 2)
			guest_start(&g, calls, sizeof(calls),
				    i ? CAISSON_CALL_MONITOR : CAISSON_CALL_HALT);
		guest_run(&g);
		if (i == 1)
			check(pthread_join(g.thread, NULL) == 0 && g.result == 0 &&
			      g.run->exit == CAISSON_EXIT_MONITOR);
		usleep(50000);
		by_munmap(registers, size);
		if (i == 1)
			guest_run(&g);
		check(pthread_join(g.thread, NULL) == 0);
		check(is_over(&g) && *counter(&g) == 0);
		/* Nor is it lent again. */
		registers = map(memory_path);
		refused(lend(g.fd, registers, size, NULL), ENODEV);
		by_munmap(registers, size);
		guest_done(&g);
	}
}

/* Of two that have it by mappings of their own, one goes on. */
static void is_its_own(void)
{
	const size_t size = size_of(memory_path);
	uint8_t *registers[2];
	struct guest g[2];
	uint64_t at;

	for (unsigned int i = 0; i < 2; i++) {
		registers[i] = map(memory_path);
		guest_make(&g[i], registers[i], size);
		guest_start(&g[i], reads, sizeof(reads), 0);
		guest_run(&g[i]);
	}
	by_munmap(registers[0], size);
	check(pthread_join(g[0].thread, NULL) == 0 && is_over(&g[0]));
	at = *counter(&g[1]);
	for (unsigned int i = 0; i < 1000 && *counter(&g[1]) < at + 1000; i++)
		usleep(10000);
	check(*counter(&g[1]) >= at + 1000);
	/* What was not lent may go, and come. */
	guest_done(&g[0]);
	by_munmap(registers[1], size);
	check(pthread_join(g[1].thread, NULL) == 0 && is_over(&g[1]));
	guest_done(&g[1]);
}

struct race {
	int fd;
	uint8_t *registers;
	size_t size;
	int error;
};

static void *race_thread(void *arg)
{
	struct race *r = arg;

	r->error = lend(r->fd, r->registers, r->size, NULL) < 0 ? errno : 0;
	return NULL;
}

/* Lent while it is taken away: it is not lent, or the sandbox is over.  Until both has been seen.
 */
static void races(void)
{
	const size_t size = size_of(memory_path);
	uint8_t *other = map(memory_path);
	bool lent = false, changed = false;

	for (unsigned int i = 0; i < 4000 && !(lent && changed); i++) {
		struct race r = {.fd = open_sandbox(), .size = (1 + i % 64) * PAGE};
		pthread_t thread;

		r.registers = map(memory_path);
		check(pthread_create(&thread, NULL, race_thread, &r) == 0);
		usleep(i * 7 % 400);
		by_munmap(r.registers, size);
		check(pthread_join(thread, NULL) == 0);
		check(r.error == 0 || r.error == EAGAIN || r.error == EINVAL || r.error == EFAULT);
		if (r.error == 0)
			refused(lend(r.fd, other, PAGE, NULL), ENODEV);
		else
			check(lend(r.fd, other, PAGE, NULL) == 0);
		lent |= r.error == 0;
		changed |= r.error == EAGAIN;
		close(r.fd);
	}
	check(lent);
	check(changed);
}

/* The process that lent it is gone; another has its descriptors. */
static void outlived(void)
{
	int pipes[2], lives[2], status;
	char c;
	pid_t pid;

	check(pipe(pipes) == 0 && pipe(lives) == 0);
	pid = fork();
	if (pid == 0) {
		struct guest g;

		guest_make(&g, map(memory_path), PAGE);
		if (fork() != 0)
			_exit(0);
		close(pipes[1]);
		/* Until we say so. */
		check(read(pipes[0], &c, 1) == 0);
		refused(ioctl(g.vcpu, CAISSON_RUN), EIO);
		_exit(0);
	}
	check(waitpid(pid, &status, 0) == pid && status == 0);
	close(pipes[1]);
	close(lives[1]);
	check(read(lives[0], &c, 1) == 0);
}

/* --- vfio-pci ----------------------------------------------------------------------------------
 */

#define VFIO_SIZE (2 * PAGE)

static int vfio_open(void)
{
	int container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	int group = open(registers_path, O_RDWR | O_CLOEXEC), device;

	check(container >= 0 && group >= 0);
	check(ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) == 0);
	check(ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) == 0);
	device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, cached_path);
	check(device >= 0);
	return device;
}

static uint64_t vfio_region(int device, uint32_t index)
{
	struct vfio_region_info r = {.argsz = sizeof(r), .index = index};

	check(ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &r) == 0);
	return r.offset;
}

static void vfio_reset(int device, uint8_t *registers)
{
	(void)registers;
	check(ioctl(device, VFIO_DEVICE_RESET) == 0);
}

static void vfio_memory_off(int device, uint8_t *registers)
{
	const off_t at = (off_t)vfio_region(device, VFIO_PCI_CONFIG_REGION_INDEX) + PCI_COMMAND;
	uint16_t command = 0;

	(void)registers;
	check(pwrite(device, &command, sizeof(command), at) == sizeof(command));
}

static void vfio_unmap(int device, uint8_t *registers)
{
	(void)device;
	check(munmap(registers, VFIO_SIZE) == 0);
}

static void vfio_stops(void (*way)(int device, uint8_t *registers))
{
	const int device = vfio_open();
	const off_t offset = (off_t)vfio_region(device, VFIO_PCI_BAR0_REGION_INDEX);
	/* Nobody has touched it yet, and there is no page. */
	uint8_t *registers = mmap(NULL, VFIO_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, device,
				  offset);
	struct guest g;
	uint64_t at;

	check(registers != MAP_FAILED);
	guest_make(&g, registers, VFIO_SIZE);
	guest_start(&g, reads, sizeof(reads), 0);
	guest_run(&g);
	while (*counter(&g) < 500)
		usleep(100);
	way(device, registers);
	at = *counter(&g);
	usleep(20000);
	check(*counter(&g) == at);
	check(pthread_join(g.thread, NULL) == 0 && is_over(&g));
	guest_done(&g);
	close(device);
}

static void vfio_resets(void)
{
	vfio_stops(vfio_reset);
}

static void vfio_switches_off(void)
{
	vfio_stops(vfio_memory_off);
}

static void vfio_unmaps(void)
{
	vfio_stops(vfio_unmap);
}

/* With its memory off, the function has no registers to lend. */
static void vfio_refuses(void)
{
	const int device = vfio_open(), fd = open_sandbox();
	const off_t offset = (off_t)vfio_region(device, VFIO_PCI_BAR0_REGION_INDEX);
	uint8_t *registers = mmap(NULL, 2 * VFIO_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, device,
				  offset);

	check(registers != MAP_FAILED);
	refused(lend(fd, registers + VFIO_SIZE, PAGE, NULL), EPERM);
	vfio_memory_off(device, registers);
	refused(lend(fd, registers, PAGE, NULL), EFAULT);
	close(fd);
	close(device);
}

static const struct {
	const char *name;
	void (*run)(void);
} cases[] = {{"refuses", refuses},
	     {"stops", stops},
	     {"stays-out", stays_out},
	     {"is-its-own", is_its_own},
	     {"races", races},
	     {"outlived", outlived},
	     {"vfio-resets", vfio_resets},
	     {"vfio-switches-off", vfio_switches_off},
	     {"vfio-unmaps", vfio_unmaps},
	     {"vfio-refuses", vfio_refuses}};

int main(int argc, char **argv)
{
	if (argc != 5) {
		fprintf(stderr, "usage: lender CASE MEMORY CACHED REGISTERS\n");
		return 2;
	}
	alarm(90);
	memory_path = argv[2];
	cached_path = argv[3];
	registers_path = argv[4];
	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (strcmp(cases[i].name, argv[1]) == 0) {
			cases[i].run();
			return 0;
		}
	fprintf(stderr, "lender: there is no case '%s'\n", argv[1]);
	return 2;
}
