// SPDX-License-Identifier: Apache-2.0
/*
 * monitor: a fallen monitor process against the module.  Every ioctl with what it must refuse;
 * registers that would be ring 0's, or no registers at all, of which nothing may reach the CPU.
 * Status 0 if all was as it must be, 1 with a line otherwise.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <asm/ldt.h>

#include "kmod/rules.h"
#include "kmod/uapi/caisson.h"
#include "tests/cki/check.h"

#define BLOCK (2ul << 20)

static int sandbox_fd, vcpu_fd;
static struct caisson_run *run;
static uint64_t data, tables;
static uint8_t *memory;

static int open_sandbox(void)
{
	int fd = open("/dev/caisson", O_RDWR | O_CLOEXEC);

	check(fd >= 0);
	return fd;
}

static void *huge(size_t size)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);

	check(at != MAP_FAILED);
	return at;
}

static int add(int fd, uint64_t address, uint64_t size, uint64_t *runs)
{
	struct caisson_memory m = {.address = address, .size = size, .runs = (uint64_t)runs};

	return ioctl(fd, CAISSON_ADD_MEMORY, &m);
}

static void bad_memory(void)
{
	uint8_t *small = mmap(NULL, 4 * BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			      -1, 0);
	uint64_t aligned = ((uint64_t)small + BLOCK - 1) & ~(BLOCK - 1), runs[4];
	int fd = sandbox_fd;

	madvise(small, 4 * BLOCK, MADV_NOHUGEPAGE);
	memset((void *)aligned, 1, BLOCK);
	refused(add(fd, aligned, BLOCK, runs), EINVAL); /* small pages */
	refused(add(fd, (uint64_t)memory + 4096, BLOCK, runs), EINVAL);
	refused(add(fd, (uint64_t)memory, 4096, runs), EINVAL);
	refused(add(fd, (uint64_t)memory, 0, runs), EINVAL);
	refused(add(fd, (uint64_t)memory, ~(BLOCK - 1), runs), E2BIG);
	refused(add(fd, 0, BLOCK, runs), EFAULT);
	refused(add(fd, 0xffff800000000000, BLOCK, runs), EFAULT); /* the host's kernel */
	refused(add(fd, 0xffffffff81000000 & ~(BLOCK - 1), BLOCK, runs), EFAULT);
	refused(add(fd, (uint64_t)memory, 64 * BLOCK, runs), EFAULT); /* runs out of mapping */
	refused(add(fd, (uint64_t)memory, BLOCK, (uint64_t *)8), EFAULT);
	check(mprotect(memory + BLOCK, BLOCK, PROT_READ) == 0);
	refused(add(fd, (uint64_t)memory + BLOCK, BLOCK, runs), EFAULT); /* not writable */
	check(mprotect(memory + BLOCK, BLOCK, PROT_READ | PROT_WRITE) == 0);
	check(add(fd, (uint64_t)memory, BLOCK, &data) == 0);
	refused(add(fd, (uint64_t)memory, BLOCK, runs), EEXIST);
	refused(add(fd, (uint64_t)memory, 2 * BLOCK, runs), EEXIST);
}

static int operate(uint64_t call, uint64_t a, uint64_t b)
{
	struct caisson_operation op = {.call = call, .a = a, .b = b};

	return ioctl(sandbox_fd, CAISSON_OPERATE, &op);
}

static uint64_t entry(unsigned int frame, unsigned int index)
{
	return tables + frame * 4096ull + index * 8ull;
}

static void bad_operations(void)
{
	const uint64_t rw = CAISSON_PTE_P | CAISSON_PTE_W;
	struct caisson_tables_add a;

	check(ioctl(sandbox_fd, CAISSON_ADD_TABLES, &a) == 0);
	tables = a.physical;
	refused(ioctl(sandbox_fd, CAISSON_ADD_TABLES, NULL), EFAULT);
	refused(ioctl(sandbox_fd, CAISSON_OPERATE, NULL), EFAULT);
	refused(operate(CAISSON_CALL_HALT, 0, 0), ENOSYS);
	refused(operate(CAISSON_CALL_ROOT, tables, 0), ENOSYS);
	refused(operate(CAISSON_CALL_TABLE_NEW, data, 4), ENOENT);
	check(operate(CAISSON_CALL_TABLE_NEW, entry(0, 0), 4) == 0);
	check(operate(CAISSON_CALL_TABLE_NEW, entry(1, 0), 3) == 0);
	check(operate(CAISSON_CALL_TABLE_NEW, entry(2, 0), 2) == 0);
	check(operate(CAISSON_CALL_ENTRY_SET, entry(0, 511), entry(1, 0) | rw) == 0);
	check(operate(CAISSON_CALL_ENTRY_SET, entry(1, 510), entry(2, 0) | rw) == 0);
	check(operate(CAISSON_CALL_ENTRY_SET, entry(2, 0), data | rw | CAISSON_PTE_PS) == 0);
	refused(operate(CAISSON_CALL_ENTRY_SET, entry(0, 508), entry(1, 0) | rw), EPERM);
	refused(operate(CAISSON_CALL_ENTRY_SET, entry(2, 1), 0x83), EPERM);
	refused(operate(CAISSON_CALL_ENTRY_SET, entry(2, 1), tables | rw | CAISSON_PTE_PS), EPERM);
}

/* The guest: says where it is in RBX (CS) and RDX (flags), by a hypercall, and again. */
static const uint8_t code[] = {
	0x31, 0xdb, 0x8c, 0xcb,	      /* xor ebx, ebx; mov ebx, cs */
	0x9c, 0x5a,		      /* pushfq; pop rdx */
	0xb8, 0x01, 0x00, 0x00, 0x00, /* mov eax, CAISSON_CALL_MONITOR */
	0x0f, 0x05, 0xeb, 0xf1,	      /* syscall; jmp to the start */
};

static void bad_registers(void)
{
	const uint64_t base = 0xffffffff80000000;
	struct caisson_registers r = {.rip = base, .rsp = base + 4096, .root = entry(0, 0)};

	/* It would wait for its start. */
	run->immediate_exit = 1;
	refused(ioctl(vcpu_fd, CAISSON_RUN), EINTR);
	refused(ioctl(vcpu_fd, CAISSON_SET_REGISTERS, NULL), EFAULT);
	r.root = 0;
	refused(ioctl(vcpu_fd, CAISSON_SET_REGISTERS, &r), EINVAL);
	r.root = entry(1, 0);
	refused(ioctl(vcpu_fd, CAISSON_SET_REGISTERS, &r), EPERM);
	r.root = data;
	refused(ioctl(vcpu_fd, CAISSON_SET_REGISTERS, &r), EPERM);
	refused(ioctl(vcpu_fd, CAISSON_RUN), EINTR);
	r.root = entry(0, 0);
	memcpy(memory, code, sizeof(code));
	/* All of ring 0's selectors, and flags: IOPL 3, no IF, NT, VM, VIF. */
	for (unsigned int i = 0; i < 4; i++) {
		r.cs = 0x10 + (i == 1 ? 0x80 : 0) + (i == 2 ? 0x51 : 0);
		r.cs &= ~3ull;
		r.ss = 0x18;
		r.rflags = 0xbfffff & ~0x300ull;
		r.fs_base = 0x8000000000000000;
		r.gs_base = 0x0000900000000000;
		r.r15 = i;
		check(ioctl(vcpu_fd, CAISSON_SET_REGISTERS, &r) == 0);
		run->immediate_exit = 1;
		refused(ioctl(vcpu_fd, CAISSON_RUN), EINTR);
		run->immediate_exit = 0;
		check(ioctl(vcpu_fd, CAISSON_RUN) == 0);
		check(run->exit == CAISSON_EXIT_MONITOR);
		check((run->registers.rbx & 3) == 1 && (run->registers.cs & 3) == 1);
		check((run->argument[2] & 0x3200) == 0x200);
		check(!(run->argument[2] & 0x4000));
		check(run->registers.r15 == i);
	}
	/* Not an address: the module makes one of it, which is not mapped. */
	r.rip = 0x1234000000000000;
	r.rsp = 0x8000000000000000;
	check(ioctl(vcpu_fd, CAISSON_SET_REGISTERS, &r) == 0);
	check(ioctl(vcpu_fd, CAISSON_RUN) == 0);
	check(run->exit == CAISSON_EXIT_KILLED);
	refused(ioctl(vcpu_fd, CAISSON_RUN), EINVAL);
}

/* Sets the entry at RDI to RSI; the result is in RBX when it calls the monitor. */
static const uint8_t sets[] = {
	0xb8, 0x08, 0x00, 0x00, 0x00, /* mov eax, CAISSON_CALL_ENTRY_SET */
	0x0f, 0x05, 0x48, 0x89, 0xc3, /* syscall; mov rbx, rax */
	0xb8, 0x01, 0x00, 0x00, 0x00, /* mov eax, CAISSON_CALL_MONITOR */
	0x0f, 0x05, 0xeb, 0xfe,	      /* syscall; jmp to itself */
};

/* A vCPU, and memory, that the sandbox gets when it has run: as good as any. */
static void late(void)
{
	struct caisson_registers r = {.rip = 0xffffffff80000000,
				      .cs = CAISSON_CS,
				      .root = entry(0, 0)};
	struct caisson_run *late_run;
	uint8_t *more = huge(BLOCK);
	uint64_t runs;
	int fd = ioctl(sandbox_fd, CAISSON_ADD_VCPU);

	check(fd >= 0);
	late_run = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	check(late_run != MAP_FAILED);
	memset(more, 0, BLOCK);
	check(add(sandbox_fd, (uint64_t)more, BLOCK, &runs) == 0);
	memcpy(memory, sets, sizeof(sets));
	r.rdi = entry(2, 7);
	r.rsi = runs | CAISSON_PTE_P | CAISSON_PTE_W | CAISSON_PTE_PS;
	check(ioctl(fd, CAISSON_SET_REGISTERS, &r) == 0);
	check(ioctl(fd, CAISSON_RUN) == 0);
	check(late_run->exit == CAISSON_EXIT_MONITOR && late_run->registers.rbx == 0);
	check(munmap(more, BLOCK) == 0);
	check(close(fd) == 0);
}

/* An LDT of the thread's own would be read from where the guest maps memory. */
static void own_ldt(void)
{
	struct user_desc d = {.entry_number = 0,
			      .limit = 0xfffff,
			      .seg_32bit = 1,
			      .limit_in_pages = 1,
			      .useable = 1};
	struct caisson_registers r = {.rip = 0xffffffff80000000,
				      .rsp = 0xffffffff80001000,
				      .cs = CAISSON_CS,
				      .root = entry(0, 0)};
	int fd = ioctl(sandbox_fd, CAISSON_ADD_VCPU);

	check(fd >= 0 && ioctl(fd, CAISSON_SET_REGISTERS, &r) == 0);
	check(ioctl(fd, CAISSON_RUN) == 0);
	if (syscall(SYS_modify_ldt, 1, &d, sizeof(d)) != 0)
		return;
	refused(ioctl(fd, CAISSON_RUN), EOPNOTSUPP);
	close(fd);
}

static void other_process(void)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		refused(ioctl(vcpu_fd, CAISSON_RUN), EIO);
		refused(ioctl(sandbox_fd, CAISSON_ADD_VCPU), EIO);
		refused(add(sandbox_fd, (uint64_t)memory + BLOCK, BLOCK, &data), EIO);
		_exit(0);
	}
	check(waitpid(pid, &status, 0) == pid && status == 0);
}

static int irqfd(int fd, uint32_t vcpu, uint32_t event, uint32_t reserved)
{
	struct caisson_irqfd a = {.fd = fd, .vcpu = vcpu, .event = event, .reserved = reserved};

	return ioctl(sandbox_fd, CAISSON_IRQFD, &a);
}

static int ioeventfd(int fd, uint64_t first, uint32_t reserved)
{
	struct caisson_ioeventfd a = {.argument = {first}, .fd = fd, .reserved = reserved};

	return ioctl(sandbox_fd, CAISSON_IOEVENTFD, &a);
}

static void bad_eventfds(void)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	check(fd >= 0);
	refused(ioctl(sandbox_fd, CAISSON_IRQFD, NULL), EFAULT);
	refused(irqfd(-1, 0, 0, 0), EBADF);
	refused(irqfd(sandbox_fd, 0, 0, 0), EINVAL);
	refused(irqfd(fd, 1, 0, 0), ENOENT);
	refused(irqfd(fd, ~0u, 0, 0), ENOENT);
	refused(irqfd(fd, 0, 64, 0), EINVAL);
	refused(irqfd(fd, 0, ~0u, 0), EINVAL);
	refused(irqfd(fd, 0, 0, 1), EINVAL);
	for (unsigned int i = 0; i < CAISSON_IRQFDS_MAX; i++)
		check(irqfd(fd, 0, i % 64, 0) == 0);
	refused(irqfd(fd, 0, 0, 0), E2BIG);
	refused(ioctl(sandbox_fd, CAISSON_IOEVENTFD, NULL), EFAULT);
	refused(ioeventfd(-1, 0, 0), EBADF);
	refused(ioeventfd(vcpu_fd, 0, 0), EINVAL);
	refused(ioeventfd(fd, 0, 1), EINVAL);
	for (unsigned int i = 0; i < CAISSON_IOEVENTFDS_MAX; i++)
		check(ioeventfd(fd, i + (1ull << 32), 0) == 0);
	refused(ioeventfd(fd, 0, 0), E2BIG);
	/* No descriptor is left, and it goes on being known. */
	check(close(fd) == 0);
}

static int rung;
static volatile int rings_end;

static void *ring(void *unused)
{
	(void)unused;
	while (!rings_end)
		check(write(rung, &(uint64_t){1}, sizeof(uint64_t)) == sizeof(uint64_t));
	return NULL;
}

/* An eventfd is written all the time while what it raises events on is made, closed and gone. */
static void closed_while_rung(void)
{
	pthread_t thread;
	struct caisson_irqfd a;

	rung = eventfd(0, EFD_CLOEXEC);
	check(rung >= 0 && pthread_create(&thread, NULL, ring, NULL) == 0);
	for (unsigned int i = 0; i < 100; i++) {
		int s = open_sandbox(), v = ioctl(s, CAISSON_ADD_VCPU);

		check(v >= 0);
		a = (struct caisson_irqfd){.fd = rung, .vcpu = 0, .event = 20};
		for (unsigned int n = 0; n < 8; n++)
			check(ioctl(s, CAISSON_IRQFD, &a) == 0);
		usleep(1000);
		/* In turns: the vCPU first, and last. */
		close(i & 1 ? v : s);
		usleep(1000);
		close(i & 1 ? s : v);
	}
	rings_end = 1;
	check(pthread_join(thread, NULL) == 0);
	close(rung);
}

static void too_many_vcpus(void)
{
	int s = open_sandbox(), v;

	for (unsigned int i = 0; i < CAISSON_VCPUS_MAX; i++) {
		v = ioctl(s, CAISSON_ADD_VCPU);
		check(v >= 0);
		close(v);
	}
	refused(ioctl(s, CAISSON_ADD_VCPU), E2BIG);
	close(s);
}

static void bad_maps(void)
{
	check(mmap(NULL, 8192, PROT_READ, MAP_SHARED, vcpu_fd, 0) == MAP_FAILED);
	check(mmap(NULL, 4096, PROT_READ, MAP_SHARED, vcpu_fd, 4096) == MAP_FAILED);
	check(mmap(NULL, 4096, PROT_READ, MAP_SHARED, sandbox_fd, 0) == MAP_FAILED);
}

int main(void)
{
	sandbox_fd = open_sandbox();
	refused(ioctl(sandbox_fd, _IO(CAISSON_IOC, 99)), ENOTTY);
	memory = huge(2 * BLOCK);
	memset(memory, 0, 2 * BLOCK);
	bad_memory();
	bad_operations();
	vcpu_fd = ioctl(sandbox_fd, CAISSON_ADD_VCPU);
	check(vcpu_fd >= 0);
	refused(ioctl(vcpu_fd, _IO(CAISSON_IOC, 99)), ENOTTY);
	bad_maps();
	run = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu_fd, 0);
	check(run != MAP_FAILED);
	bad_eventfds();
	bad_registers();
	late();
	other_process();
	closed_while_rung();
	too_many_vcpus();
	own_ldt();
	/* Memory outlives its mapping, and the sandbox its descriptor. */
	check(munmap(memory, 2 * BLOCK) == 0);
	check(close(sandbox_fd) == 0);
	refused(ioctl(vcpu_fd, CAISSON_RUN), EINVAL);
	return 0;
}
