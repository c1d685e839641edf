// SPDX-License-Identifier: Apache-2.0
/*
 * vmm/vfio/lend.h against a kernel that is played here: which requests go to which node in which
 * order, and from where memory is mapped.  Nodes and sysfs are files below a directory of the
 * test's own.  What a kernel and an IOMMU make of it: tests/passthrough.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/cleanup.h"
#include "vmm/mem/blocks.h"
#include "vmm/vfio/lend.h"

#define ADDRESS "0000:01:10.0"
#define DEVICE "/sys/bus/pci/devices/" ADDRESS
#define GROUP "/dev/vfio/7"
#define CONTAINER "/dev/vfio/vfio"
#define NODE "/dev/vfio/devices/vfio3"
#define CONTEXT "/dev/iommu"
#define IOAS 42u
#define CALLS_MAX 32u
#define GIB (1ull << 30)

/* linux/vfio.h of 6.6, linux/iommufd.h of 6.2. */
#define BIND _IO(';', 118)
#define ATTACH _IO(';', 119)
#define IOAS_ALLOC _IO(';', 0x81)
#define IOVA_RANGES _IO(';', 0x84)
#define IOAS_MAP _IO(';', 0x85)
#define IOAS_UNMAP _IO(';', 0x86)

struct call {
	unsigned long request;
	char node[40]; /* below the directory */
	pid_t pid;
	int open; /* descriptors of the process, of a mapping */
	uint64_t iova, size;
	char first; /* byte of what is mapped */
};

/* Shared with children. */
static struct kernel {
	struct call calls[CALLS_MAX];
	unsigned int n;
	bool group_busy;
	unsigned long fails; /* request */
	uint64_t fails_at;   /* only for this address, if it is a mapping */
	unsigned long kills; /* request that is served, and who made it is killed */
	int code;
	uint64_t last; /* address that the IOMMU translates */
} * kernel;

static char root[64];

static const char *below(const char *path, char ret[static 256])
{
	static const char *const ours[] = {"/sys/bus/pci/", "/dev/vfio", "/dev/iommu",
					   "/proc/devices"};

	for (size_t i = 0; i < ARRAY_SIZE(ours); i++)
		if (strncmp(path, ours[i], strlen(ours[i])) == 0) {
			snprintf(ret, 256, "%s%s", root, path);
			return ret;
		}
	return path;
}

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
ssize_t __real_readlink(const char *path, char *buf, size_t size);
ssize_t __wrap_readlink(const char *path, char *buf, size_t size);
int __real_access(const char *path, int mode);
int __wrap_access(const char *path, int mode);
DIR *__real_opendir(const char *path);
DIR *__wrap_opendir(const char *path);
FILE *__real_fopen64(const char *path, const char *mode);
FILE *__wrap_fopen64(const char *path, const char *mode);
int __wrap_ioctl(int fd, unsigned long request, ...);

int __wrap_open64(const char *path, int flags, ...)
{
	char buf[256];

	if (kernel->group_busy && strcmp(path, GROUP) == 0) {
		errno = EBUSY;
		return -1;
	}
	return __real_open64(below(path, buf), flags, 0600);
}

ssize_t __wrap_readlink(const char *path, char *ret, size_t size)
{
	char buf[256];

	return __real_readlink(below(path, buf), ret, size);
}

int __wrap_access(const char *path, int mode)
{
	char buf[256];

	return __real_access(below(path, buf), mode);
}

DIR *__wrap_opendir(const char *path)
{
	char buf[256];

	return __real_opendir(below(path, buf));
}

FILE *__wrap_fopen64(const char *path, const char *mode)
{
	char buf[256];

	return __real_fopen64(below(path, buf), mode);
}

static int open_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void name_of(int fd, char ret[static 40])
{
	char path[40], target[256] = "";

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (__real_readlink(path, target, sizeof(target) - 1) < 0 ||
	    strncmp(target, root, strlen(root)) != 0)
		snprintf(ret, 40, "fd %d", fd);
	else
		snprintf(ret, 40, "%.39s", target + strlen(root));
}

static void note_mapping(struct call *c, uint64_t at, uint64_t iova, uint64_t size)
{
	*c = (struct call){.request = c->request,
			   .pid = getpid(),
			   .open = open_fds(),
			   .iova = iova,
			   .size = size,
			   .first = *(const char *)(uintptr_t)at};
}

static void give_ranges(const uint64_t *words, uint32_t *n)
{
	uint64_t *ranges = (uint64_t *)(uintptr_t)words[2];

	ranges[0] = 0;
	ranges[1] = 0xfedfffff;
	ranges[2] = 0xfef00000;
	ranges[3] = kernel->last;
	*n = 2;
}

static int answer(struct call *c, void *arg)
{
	struct vfio_iommu_type1_dma_map *m = arg;
	uint32_t *words = arg;
	uint64_t *longs = arg;
	char buf[256];

	switch (c->request) {
	case VFIO_CHECK_EXTENSION:
		return 1;
	case VFIO_GROUP_GET_STATUS:
		((struct vfio_group_status *)arg)->flags = VFIO_GROUP_FLAGS_VIABLE;
		return 0;
	case VFIO_GROUP_GET_DEVICE_FD:
		assert_string_equal(arg, ADDRESS);
		return __real_open64(below(NODE, buf), O_RDWR | O_CLOEXEC);
	case VFIO_IOMMU_MAP_DMA:
		note_mapping(c, m->vaddr, m->iova, m->size);
		return 0;
	case VFIO_IOMMU_UNMAP_DMA:
		c->iova = longs[1];
		c->size = longs[2];
		return 0;
	case IOAS_ALLOC:
		words[2] = IOAS;
		return 0;
	case ATTACH:
		return words[2] == IOAS ? 0 : -ENOENT;
	case IOVA_RANGES:
		give_ranges(longs, &words[2]);
		return 0;
	case IOAS_MAP:
		/* Fixed, readable, writable. */
		if (words[0] != 40 || words[1] != 7 || words[2] != IOAS)
			return -EINVAL;
		note_mapping(c, longs[2], longs[4], longs[3]);
		return 0;
	case IOAS_UNMAP:
		c->iova = longs[1];
		c->size = longs[2];
		return words[1] == IOAS ? 0 : -ENOENT;
	}
	return 0;
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	struct call *c = &kernel->calls[kernel->n++];
	char node[40];
	va_list ap;
	void *arg;
	int rc;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	assert_true(kernel->n < CALLS_MAX);
	*c = (struct call){.request = request};
	name_of(fd, node);
	rc = answer(c, arg);
	memcpy(c->node, node, sizeof(node));
	if (request == kernel->fails && c->iova == kernel->fails_at)
		rc = -kernel->code;
	if (request == kernel->kills)
		raise(SIGKILL);
	errno = rc < 0 ? -rc : 0;
	return rc < 0 ? -1 : rc;
}

/* --- the host --- */

static void make(const char *path)
{
	char buf[256];
	int fd;

	below(path, buf);
	for (char *at = buf + strlen(root) + 1; (at = strchr(at, '/')); at++) {
		*at = 0;
		mkdir(buf, 0700);
		*at = '/';
	}
	fd = __real_open64(buf, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
}

static void drop(const char *path)
{
	char buf[256];

	assert_int_equal(unlink(below(path, buf)), 0);
}

static void link_to(const char *path, const char *target)
{
	char buf[256];

	assert_int_equal(symlink(target, below(path, buf)), 0);
}

static void play_devices(bool nodes)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/devices", "we");

	fprintf(f, "Character devices:\n  1 mem\n%s", nodes ? "511 vfio-dev\n" : "");
}

static int setup(void **state)
{
	(void)state;
	snprintf(root, sizeof(root), "/tmp/lend.XXXXXX");
	assert_non_null(mkdtemp(root));
	kernel = mmap(NULL, sizeof(*kernel), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	assert_ptr_not_equal(kernel, MAP_FAILED);
	kernel->last = (1ull << 39) - 1;
	make(DEVICE "/vfio-dev/vfio3/uevent");
	link_to(DEVICE "/driver", "../../../bus/pci/drivers/vfio-pci");
	link_to(DEVICE "/iommu_group", "../../../kernel/iommu_groups/7");
	make(GROUP);
	make(CONTAINER);
	make(NODE);
	make(CONTEXT);
	make("/proc/devices");
	play_devices(true);
	return 0;
}

static int teardown(void **state)
{
	char command[128];

	(void)state;
	munmap(kernel, sizeof(*kernel));
	snprintf(command, sizeof(command), "rm -rf '%s'", root);
	return system(command);
}

static int guest_memory(uint64_t size, char low, char high)
{
	int fd = memfd_create("guest", MFD_CLOEXEC);

	assert_true(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
	assert_int_equal(pwrite(fd, &low, 1, 0), 1);
	if (size > 3 * GIB)
		assert_int_equal(pwrite(fd, &high, 1, 3 * (off_t)GIB), 1);
	return fd;
}

struct expected {
	unsigned long request;
	const char *node;
};

/* All that the kernel was asked since the last time. */
static void asked(const struct expected *e, unsigned int n)
{
	for (unsigned int i = 0; i < n && i < kernel->n; i++) {
		assert_int_equal(kernel->calls[i].request, e[i].request);
		assert_string_equal(kernel->calls[i].node, e[i].node);
	}
	assert_int_equal(kernel->n, n);
	kernel->n = 0;
}

#define ASKED(...)                                                                                 \
	asked((const struct expected[]){__VA_ARGS__},                                              \
	      sizeof((const struct expected[]){__VA_ARGS__}) / sizeof(struct expected))

static void open_it(struct vfio_lent *v, enum vfio_kind kind)
{
	struct error err = {0};

	if (vfio_open(v, ADDRESS, kind, &err) < 0)
		fail_msg("%s", err.text);
}

/* --- tests --- */

static void test_type1(void **state)
{
	const int before = open_fds();
	struct error err = {0};
	struct vfio_lent v;

	(void)state;
	open_it(&v, VFIO_TYPE1);
	ASKED({VFIO_GROUP_GET_STATUS, GROUP}, {VFIO_GET_API_VERSION, CONTAINER},
	      {VFIO_CHECK_EXTENSION, CONTAINER}, {VFIO_GROUP_SET_CONTAINER, GROUP},
	      {VFIO_SET_IOMMU, CONTAINER}, {VFIO_GROUP_GET_DEVICE_FD, GROUP});
	assert_int_equal(v.space.kind, VFIO_TYPE1);
	assert_int_equal(vfio_unmap(&v, &err), 0);
	ASKED({VFIO_IOMMU_UNMAP_DMA, CONTAINER});
	vfio_close(&v);
	assert_int_equal(open_fds(), before);
}

static void test_iommufd(void **state)
{
	const int before = open_fds();
	struct error err = {0};
	struct vfio_lent v;

	(void)state;
	open_it(&v, VFIO_IOMMUFD);
	ASKED({BIND, NODE}, {IOAS_ALLOC, CONTEXT}, {ATTACH, NODE});
	assert_int_equal(v.space.kind, VFIO_IOMMUFD);
	assert_int_equal(v.group_fd, -1);
	assert_int_equal(vfio_unmap(&v, &err), 0);
	assert_true(kernel->calls[0].iova == 0 && kernel->calls[0].size == UINT64_MAX);
	ASKED({IOAS_UNMAP, CONTEXT});
	vfio_close(&v);
	assert_int_equal(open_fds(), before);
}

/* Both extents, each with what is there in the memfd; the second fails: the first goes, too. */
static void map_both(enum vfio_kind kind, unsigned long map, unsigned long unmap)
{
	_cleanup_close_ int memory = guest_memory(5 * GIB, 'l', 'h');
	struct error err = {0};
	struct call maps[2];
	struct vfio_lent v;
	unsigned int n = 0;

	open_it(&v, kind);
	kernel->n = 0;
	assert_int_equal(vfio_map(&v, memory, 5 * GIB, &err), 0);
	for (unsigned int i = 0; i < kernel->n; i++)
		if (kernel->calls[i].request == map && n < 2)
			maps[n++] = kernel->calls[i];
	assert_int_equal(n, 2);
	assert_true(maps[0].iova == 0 && maps[0].size == 3 * GIB && maps[0].first == 'l');
	assert_true(maps[1].iova == 4 * GIB && maps[1].size == 2 * GIB && maps[1].first == 'h');
	kernel->n = 0;
	kernel->fails = map;
	kernel->fails_at = 4 * GIB;
	kernel->code = ENOMEM;
	assert_int_equal(vfio_map(&v, memory, 5 * GIB, &err), -ENOMEM);
	assert_non_null(
		strstr(err.text, "function " ADDRESS ": map 2147483648 bytes at 0x100000000"));
	assert_int_equal(kernel->calls[kernel->n - 1].request, unmap);
	assert_true(kernel->calls[kernel->n - 1].size == 3 * GIB);
	vfio_close(&v);
}

static void test_map_type1(void **state)
{
	(void)state;
	map_both(VFIO_TYPE1, VFIO_IOMMU_MAP_DMA, VFIO_IOMMU_UNMAP_DMA);
}

static void test_map_iommufd(void **state)
{
	(void)state;
	map_both(VFIO_IOMMUFD, IOAS_MAP, IOAS_UNMAP);
}

/* Where the host has four blocks; with `moves`, the last is elsewhere when it is asked again. */
static struct {
	unsigned int asked;
	bool moves;
} places;

int __wrap_mem_blocks_find(uint8_t *mapped, uint64_t size, uint64_t *ret, struct error *err);

int __wrap_mem_blocks_find(uint8_t *mapped, uint64_t size, uint64_t *ret, struct error *err)
{
	static const uint64_t at[] = {3 * GIB, 3 * GIB + MEM_BLOCK, 7 * GIB, 2 * GIB};

	(void)err;
	assert_int_equal(size, sizeof(at) / sizeof(*at) * MEM_BLOCK);
	assert_int_equal(mapped[0], 'l');
	memcpy(ret, at, sizeof(at));
	if (places.asked++ && places.moves)
		ret[3] = 5 * GIB;
	return 0;
}

/* Each block at its own address, those that follow each other at once; all of it or nothing. */
static void map_in_place(enum vfio_kind kind, unsigned long map, unsigned long unmap)
{
	_cleanup_close_ int memory = guest_memory(4 * MEM_BLOCK, 'l', 0);
	struct error err = {0};
	struct call maps[4];
	struct vfio_lent v;
	unsigned int n = 0;

	memset(&places, 0, sizeof(places));
	open_it(&v, kind);
	kernel->n = 0;
	assert_int_equal(pwrite(memory, "t", 1, 2 * MEM_BLOCK), 1);
	assert_int_equal(pwrite(memory, "f", 1, 3 * MEM_BLOCK), 1);
	assert_int_equal(vfio_map_in_place(&v, memory, 4 * MEM_BLOCK, &err), 0);
	for (unsigned int i = 0; i < kernel->n; i++) {
		assert_int_not_equal(kernel->calls[i].request, unmap);
		if (kernel->calls[i].request == map && n < 4)
			maps[n++] = kernel->calls[i];
	}
	assert_int_equal(n, 3);
	assert_true(maps[0].iova == 3 * GIB && maps[0].size == 2 * MEM_BLOCK &&
		    maps[0].first == 'l');
	assert_true(maps[1].iova == 7 * GIB && maps[1].size == MEM_BLOCK && maps[1].first == 't');
	assert_true(maps[2].iova == 2 * GIB && maps[2].size == MEM_BLOCK && maps[2].first == 'f');
	places.asked = 0;
	places.moves = true;
	assert_int_equal(vfio_map_in_place(&v, memory, 4 * MEM_BLOCK, &err), -EAGAIN);
	assert_non_null(strstr(err.text, "function " ADDRESS ": the kernel moves its memory"));
	assert_int_equal(kernel->calls[kernel->n - 1].request, unmap);
	places.moves = false;
	kernel->fails = map;
	kernel->fails_at = 2 * GIB;
	kernel->code = EINVAL;
	assert_int_equal(vfio_map_in_place(&v, memory, 4 * MEM_BLOCK, &err), -EINVAL);
	assert_int_equal(kernel->calls[kernel->n - 1].request, unmap);
	assert_int_equal(vfio_map_in_place(&v, memory, 4096, &err), -EINVAL);
	vfio_close(&v);
}

static void test_in_place_type1(void **state)
{
	(void)state;
	map_in_place(VFIO_TYPE1, VFIO_IOMMU_MAP_DMA, VFIO_IOMMU_UNMAP_DMA);
}

static void test_in_place_iommufd(void **state)
{
	(void)state;
	map_in_place(VFIO_IOMMUFD, IOAS_MAP, IOAS_UNMAP);
}

/* By a process that is not ours, has nothing else open, and is gone; with the space alone. */
static void test_mapped_by_child(void **state)
{
	const struct mem_extent e = {.base = GPA(4 * GIB), .size = 2 << 20, .offset = 4096};
	_cleanup_close_ int memory = guest_memory(16 << 20, 'l', 0);
	struct error err = {0};
	struct vfio_lent v, space;
	const struct call *c;

	(void)state;
	open_it(&v, VFIO_IOMMUFD);
	assert_int_equal(vfio_dup_space(&v, &space, &err), 0);
	vfio_close(&v);
	assert_true(space.device_fd < 0);
	assert_int_equal(pwrite(memory, "x", 1, 4096), 1);
	kernel->n = 0;
	assert_int_equal(vfio_map_extent(&space, memory, &e, &err), 0);
	ASKED({IOVA_RANGES, CONTEXT}, {IOAS_MAP, CONTEXT});
	c = &kernel->calls[1];
	assert_true(c->first == 'x' && c->iova == 4 * GIB && c->size == 2 << 20);
	assert_int_not_equal(c->pid, getpid());
	assert_int_equal(c->open, 2);
	assert_int_equal(kill(c->pid, 0), -1);
	vfio_close(&space);
}

/* Whether it had been mapped is not known then: it is not any more. */
static void test_child_killed(void **state)
{
	const struct mem_extent e = {.base = GPA(4 * GIB), .size = 2 << 20};
	_cleanup_close_ int memory = guest_memory(16 << 20, 'l', 0);
	struct error err = {0};
	struct vfio_lent v;

	(void)state;
	open_it(&v, VFIO_IOMMUFD);
	kernel->n = 0;
	kernel->kills = IOAS_MAP;
	assert_int_equal(vfio_map_extent(&v, memory, &e, &err), -ECANCELED);
	assert_true(kernel->calls[2].iova == 4 * GIB && kernel->calls[2].size == 2 << 20);
	ASKED({IOVA_RANGES, CONTEXT}, {IOAS_MAP, CONTEXT}, {IOAS_UNMAP, CONTEXT});
	vfio_close(&v);
}

static void test_not_translated(void **state)
{
	_cleanup_close_ int memory = guest_memory(5 * GIB, 'l', 'h');
	struct error err = {0};
	struct vfio_lent v;

	(void)state;
	open_it(&v, VFIO_IOMMUFD);
	kernel->last = 5 * GIB - 1;
	assert_int_equal(vfio_map(&v, memory, 5 * GIB, &err), -ERANGE);
	assert_non_null(strstr(err.text, "does not translate all of the 2147483648 bytes at "
					 "0x100000000"));
	vfio_close(&v);
}

static void test_choice(void **state)
{
	enum vfio_kind kind;
	struct error err = {0};
	struct vfio_lent v;

	(void)state;
	open_it(&v, VFIO_AUTO);
	assert_int_equal(v.space.kind, VFIO_IOMMUFD);
	vfio_close(&v);
	assert_int_equal(vfio_kind_of_host(&kind, &err), 0);
	assert_int_equal(kind, VFIO_IOMMUFD);
	/* As Debian's kernels are with iommufd alone: no nodes. */
	play_devices(false);
	drop(NODE);
	make(NODE "x");
	assert_int_equal(vfio_open(&v, ADDRESS, VFIO_IOMMUFD, &err), -ENODEV);
	assert_non_null(strstr(err.text, "CONFIG_VFIO_DEVICE_CDEV"));
	assert_int_equal(vfio_kind_of_host(&kind, &err), 0);
	assert_int_equal(kind, VFIO_TYPE1);
	make(NODE);
	drop(CONTEXT);
	open_it(&v, VFIO_AUTO);
	assert_int_equal(v.space.kind, VFIO_TYPE1);
	vfio_close(&v);
	assert_int_equal(vfio_open(&v, ADDRESS, VFIO_IOMMUFD, &err), -ENODEV);
	assert_non_null(strstr(err.text, "function " ADDRESS ": the kernel has no '/dev/iommu'"));
	drop(CONTAINER);
	assert_int_equal(vfio_kind_of_host(&kind, &err), -ENODEV);
	assert_int_equal(vfio_kind_parse("type2", &kind), -EINVAL);
	assert_int_equal(vfio_kind_parse("iommufd", &kind), 0);
	assert_string_equal(vfio_kind_name(kind), "iommufd");
}

/* It does not fall back on the other kind, and leaves nothing open. */
static void test_refused(void **state)
{
	static const struct {
		unsigned long fails;
		int code, expect;
		const char *text;
	} cases[] = {
		{BIND, EINVAL, EBUSY, "somebody else has '" NODE "' open"},
		{BIND, EBUSY, EBUSY, "its IOMMU group is open"},
		{BIND, EPERM, EPERM, "bind '" NODE "'"},
		{IOAS_ALLOC, ENOMEM, ENOMEM, "make an I/O address space"},
		{ATTACH, EINVAL, EINVAL, "put it into its I/O address space"},
	};
	const int before = open_fds();
	struct error err = {0};
	struct vfio_lent v;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		kernel->fails = cases[i].fails;
		kernel->code = cases[i].code;
		assert_int_equal(vfio_open(&v, ADDRESS, VFIO_AUTO, &err), -cases[i].expect);
		assert_non_null(strstr(err.text, cases[i].text));
		assert_int_equal(open_fds(), before);
		assert_true(v.device_fd < 0 && v.space.fd < 0);
	}
}

static void test_is_open(void **state)
{
	const int before = open_fds();

	(void)state;
	assert_int_equal(vfio_is_open(ADDRESS), 0);
	kernel->group_busy = true;
	assert_int_equal(vfio_is_open(ADDRESS), 1);
	assert_int_equal(kernel->n, 0);
	/* Without groups. */
	kernel->group_busy = false;
	drop(GROUP);
	assert_int_equal(vfio_is_open(ADDRESS), 0);
	ASKED({BIND, NODE});
	kernel->fails = BIND;
	kernel->code = EINVAL;
	assert_int_equal(vfio_is_open(ADDRESS), 1);
	kernel->code = EPERM;
	assert_int_equal(vfio_is_open(ADDRESS), -EPERM);
	drop(NODE);
	assert_int_equal(vfio_is_open(ADDRESS), -ENODEV);
	assert_int_equal(open_fds(), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_type1, setup, teardown),
		cmocka_unit_test_setup_teardown(test_iommufd, setup, teardown),
		cmocka_unit_test_setup_teardown(test_map_type1, setup, teardown),
		cmocka_unit_test_setup_teardown(test_map_iommufd, setup, teardown),
		cmocka_unit_test_setup_teardown(test_in_place_type1, setup, teardown),
		cmocka_unit_test_setup_teardown(test_in_place_iommufd, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mapped_by_child, setup, teardown),
		cmocka_unit_test_setup_teardown(test_child_killed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_not_translated, setup, teardown),
		cmocka_unit_test_setup_teardown(test_choice, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_is_open, setup, teardown),
	};

	return cmocka_run_group_tests_name("lend", tests, NULL, NULL);
}
