// SPDX-License-Identifier: Apache-2.0
/*
 * One virtio device (FUZZ_DEVICE, chosen when compiled) against a guest made of the
 * input: an image of its memory, then a program of register accesses, ring updates and
 * doings of the host.  The I/O thread's work is done in this thread, between steps, so
 * an input always runs the same way.
 *
 *	byte 0     bit 0: the device is set up properly first, queue n at QUEUE(n)
 *	byte 1     features left out in that case, by number (0: none)
 *	2 bytes    size of the image, which starts at address 0
 *	image, program: enum step and its operands
 */
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "lib/cleanup.h"
#include "vmm/virtio/devices.h"
#include "vmm/virtio/mmio.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define RAM 65536u
#define SLOTS 16u
/* Queues as they are set up: descriptors, then available, then used. */
#define QUEUE(n) (0x8000u + 0x400u * (n))
#define AVAIL(n) (QUEUE(n) + 0x100u)
#define USED(n) (QUEUE(n) + 0x200u)

enum device { CONSOLE, BLK, BLK_SYNC, NET, RNG, BALLOON, MEM };

enum step {
	REG_WRITE,    /* u16 offset, u32 */
	REG_READ,     /* u16 offset, u8 size */
	CONFIG_WRITE, /* u8 offset, u8 size, bytes */
	POKE,	      /* u16 address, u8 size, bytes */
	DESC,	      /* u8 queue, u8 index, u32 address, u32 size, u8 flags, u8 next */
	OFFER,	      /* u8 queue, u8 head: into the available ring, and kick */
	RUN,	      /* the I/O thread has its turn */
	HOST,	      /* u8 what, u16 size: the other end of the sockets */
	STEPS
};

struct input {
	const uint8_t *at, *end;
};

static struct mem mem;
static struct io io;
static struct virtio_env env = {&mem, &io, -1};
static struct virtio_device *dev;
static struct virtio_mmio mmio;
static int host[2] = {-1, -1}, theirs[2] = {-1, -1};
static uint8_t host_data[65536];

static uint32_t take(struct input *in, unsigned int bytes)
{
	uint32_t v = 0;

	for (unsigned int i = 0; i < bytes && in->at < in->end; i++)
		v |= (uint32_t)*in->at++ << 8 * i;
	return v;
}

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void set(uint32_t offset, uint32_t v)
{
	virtio_mmio_write(&mmio, offset, &v, sizeof(v));
}

static uint32_t get(uint32_t offset)
{
	uint32_t v;

	virtio_mmio_read(&mmio, offset, &v, sizeof(v));
	return v;
}

static void open_host(int type)
{
	for (int i = 0; i < 2; i++) {
		int sv[2];

		must(socketpair(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sv) == 0);
		host[i] = sv[0];
		theirs[i] = sv[1];
	}
}

static void close_host(void)
{
	for (int i = 0; i < 2; i++) {
		cleanup_close(&host[i]);
		cleanup_close(&theirs[i]);
		host[i] = theirs[i] = -1;
	}
}

static void make_disk(bool no_uring)
{
	struct virtio_blk_config_host c = {memfd_create("disk", 0), "fuzz", false, no_uring};
	struct error err;

	must(c.fd >= 0 && ftruncate(c.fd, RAM) == 0);
	must(virtio_blk_new(&env, &c, &dev, &err) == 0);
}

/* For one device memory that has grown, and may grow once more. */
static void make_memory(void)
{
	const uint64_t size = 2u << 20, max = size + 3 * MEM_GROWTH_STEP;
	struct error err;
	int fd;

	if (FUZZ_DEVICE != MEM) {
		must(mem_init(&mem, RAM, false, &err) == 0);
		return;
	}
	fd = memfd_create("lent", MFD_ALLOW_SEALING);
	must(fd >= 0 && ftruncate(fd, (off_t)max) == 0 &&
	     fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0);
	must(mem_init_lent(&mem, fd, size, max, false, &err) == 0);
	must(mem_grow(&mem, 2 * MEM_GROWTH_STEP) == 0);
}

static void make_device(void)
{
	struct virtio_net_config_host net = {.vhost_fd = -1, .mac = {2}, .mtu = 1500};
	struct error err;

	switch ((enum device)FUZZ_DEVICE) {
	case CONSOLE:
		open_host(SOCK_STREAM);
		must(virtio_console_new(&env, theirs[0], theirs[1], &dev, &err) == 0);
		break;
	case BLK:
	case BLK_SYNC:
		make_disk(FUZZ_DEVICE == BLK_SYNC);
		break;
	case NET:
		open_host(SOCK_SEQPACKET);
		net.tap_fd = theirs[0];
		must(virtio_net_new(&env, &net, &dev, &err) == 0);
		break;
	case RNG:
		must(virtio_rng_new(&env, &dev, &err) == 0);
		break;
	case BALLOON:
		must(virtio_balloon_new(&env, &dev, &err) == 0);
		break;
	case MEM:
		must(virtio_mem_new(&env, &dev, &err) == 0);
		break;
	}
	virtio_mmio_init(&mmio, dev);
}

/* A ring of io_uring takes milliseconds to make; the disk lives on, reset. */
static void drop_device(void)
{
	set(VIRTIO_MMIO_STATUS, 0);
	must(get(VIRTIO_MMIO_STATUS) == 0);
	if (FUZZ_DEVICE == BLK || FUZZ_DEVICE == BLK_SYNC)
		return;
	virtio_device_free(dev);
	dev = NULL;
	close_host();
}

static void set_up(uint64_t without)
{
	set(VIRTIO_MMIO_STATUS, 3);
	for (uint32_t word = 0; word < 2; word++) {
		set(VIRTIO_MMIO_DEVICE_FEATURES_SEL, word);
		set(VIRTIO_MMIO_DRIVER_FEATURES_SEL, word);
		set(VIRTIO_MMIO_DRIVER_FEATURES,
		    get(VIRTIO_MMIO_DEVICE_FEATURES) & ~(uint32_t)(without >> (32 * word)));
	}
	set(VIRTIO_MMIO_STATUS, 11);
	for (uint32_t n = 0; n < dev->queues_n; n++) {
		set(VIRTIO_MMIO_QUEUE_SEL, n);
		set(VIRTIO_MMIO_QUEUE_NUM, dev->queues[n].vq.size_max < SLOTS ? 8 : SLOTS);
		set(VIRTIO_MMIO_QUEUE_DESC_LOW, QUEUE(n));
		set(VIRTIO_MMIO_QUEUE_AVAIL_LOW, AVAIL(n));
		set(VIRTIO_MMIO_QUEUE_USED_LOW, USED(n));
		set(VIRTIO_MMIO_QUEUE_READY, 1);
	}
	set(VIRTIO_MMIO_STATUS, 15);
}

static void run_io(void)
{
	for (int i = 0; i < 8 && io_round(&io, 0); i++)
		;
}

static void host_does(unsigned int what, uint32_t size)
{
	static char sink[65536];
	int fd = host[what & 1];

	if (FUZZ_DEVICE == MEM && what == 1 && mem_grow(&mem, 3 * MEM_GROWTH_STEP) == 0)
		virtio_mem_grown(dev);
	if (fd < 0)
		return;
	if (what & 2)
		must(send(fd, host_data, size, MSG_DONTWAIT | MSG_NOSIGNAL) <= (ssize_t)size);
	else if (what & 4)
		shutdown(fd, SHUT_RDWR);
	else
		while (recv(fd, sink, sizeof(sink), MSG_DONTWAIT) > 0)
			;
}

static void put_desc(struct input *in)
{
	uint32_t n = take(in, 1) % VIRTIO_QUEUES_MAX, i = take(in, 1) % SLOTS;
	struct vring_desc d = {.addr = take(in, 4), .len = take(in, 4)};

	/* Mostly where it makes sense. */
	if (d.addr >> 28 != 0xf)
		d.addr &= 0x1ffff;
	if (d.len >> 28 != 0xf)
		d.len &= 0x1ffff;
	d.flags = (uint16_t)take(in, 1);
	d.next = (uint16_t)take(in, 1);
	mem_write(&mem, GPA(QUEUE(n) + 16 * i), &d, sizeof(d));
}

static void offer(struct input *in)
{
	uint32_t n = take(in, 1) % VIRTIO_QUEUES_MAX;
	uint16_t head = (uint16_t)take(in, 1), *avail = mem_at(&mem, GPA(AVAIL(n)), 6 + 2 * SLOTS);
	uint16_t size = n < dev->queues_n && dev->queues[n].vq.size_max < SLOTS ? 8 : SLOTS;

	avail[2 + avail[1] % size] = head;
	avail[1]++;
	set(VIRTIO_MMIO_QUEUE_NOTIFY, n);
}

static void one_step(struct input *in)
{
	uint8_t bytes[256];
	uint32_t a, b;

	switch ((enum step)(take(in, 1) % STEPS)) {
	case REG_WRITE:
		a = take(in, 2);
		set(a, take(in, 4));
		break;
	case REG_READ:
		a = take(in, 2);
		virtio_mmio_read(&mmio, a, bytes, take(in, 1) % 9);
		break;
	case CONFIG_WRITE:
		a = take(in, 1);
		b = take(in, 1) % 9;
		for (uint32_t i = 0; i < b; i++)
			bytes[i] = (uint8_t)take(in, 1);
		virtio_mmio_write(&mmio, VIRTIO_MMIO_CONFIG + a, bytes, b);
		break;
	case POKE:
		a = take(in, 2);
		b = take(in, 1);
		for (uint32_t i = 0; i < b; i++)
			bytes[i] = (uint8_t)take(in, 1);
		mem_write(&mem, GPA(a), bytes, b);
		break;
	case DESC:
		put_desc(in);
		break;
	case OFFER:
		offer(in);
		break;
	case HOST:
		a = take(in, 1);
		host_does(a, take(in, 2));
		run_io();
		break;
	case RUN:
	case STEPS:
		run_io();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, data + size};
	uint32_t flags = take(&in, 1), without = take(&in, 1), image = take(&in, 2);
	struct error err;

	if (!mem.regions_n) {
		make_memory();
		must(io_init(&io, &err) == 0);
		memset(host_data, 'h', sizeof(host_data));
	}
	if (!dev)
		make_device();
	memset(mem_at(&mem, GPA(0), RAM), 0, RAM);
	if (image > (uint32_t)(in.end - in.at))
		image = (uint32_t)(in.end - in.at);
	mem_write(&mem, GPA(0), in.at, image);
	in.at += image;
	if (flags & 1)
		set_up(without ? 1ull << (without % 64) : 0);
	for (int steps = 0; in.at < in.end && steps < 4096; steps++)
		one_step(&in);
	run_io();
	drop_device();
	/* What was on its way comes now, and finds nothing to do. */
	run_io();
	return 0;
}
