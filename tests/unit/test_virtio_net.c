// SPDX-License-Identifier: Apache-2.0
/*
 * Network interface: on a socket pair that stands for the tap, and on a real tap in
 * a network namespace of its own, with the host's kernel at the other end.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <netinet/if_ether.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "tests/unit/virtio_driver.h"

enum { RX, TX };
#define VHOST_PIECES 64u /* of memory; vhost's max_mem_regions */
#define HEAD sizeof(struct virtio_net_hdr_mrg_rxbuf)
#define OFFLOADS                                                                                   \
	(1ull << VIRTIO_NET_F_GUEST_TSO4 | 1ull << VIRTIO_NET_F_GUEST_TSO6 |                       \
	 1ull << VIRTIO_NET_F_GUEST_ECN)

struct nic {
	struct guest g;
	int wire[2]; /* [0] is the other end */
	uint64_t rx, tx;
};

static const uint8_t mac[6] = {2, 0, 0, 0, 0, 2};

/* The same memory, in more regions. */
static void split(struct mem *m, unsigned int pieces)
{
	const struct mem_region all = m->regions[0];
	const uint64_t size = 1 << 16;

	assert_true(pieces * size <= all.size && pieces <= MEM_REGIONS_MAX);
	for (unsigned int i = 0; i < pieces; i++) {
		const uint64_t at = i * size;

		m->regions[i] = (struct mem_region){.base = GPA(all.base.v + at),
						    .size = i + 1 < pieces ? size : all.size - at,
						    .offset = all.offset + at,
						    .at = all.at + at};
	}
	m->regions_n = pieces;
}

static void open_nic_in(struct nic *c, int fd, int vhost_fd, unsigned int pieces)
{
	struct virtio_net_config_host config = {.tap_fd = fd, .vhost_fd = vhost_fd, .mtu = 1500};
	struct virtio_device *dev;
	struct error err = {0};

	memcpy(config.mac, mac, 6);
	guest_open(&c->g);
	split(&c->g.mem, pieces);
	assert_int_equal(virtio_net_new(&c->g.env, &config, &dev, &err), 0);
	guest_plug(&c->g, dev);
}

static void open_nic(struct nic *c, int fd, int vhost_fd)
{
	open_nic_in(c, fd, vhost_fd, 1);
}

static void start_nic(struct nic *c, uint64_t without, unsigned int rx_n, uint32_t rx_size)
{
	c->g.top = 0x10000;
	drv_start(&c->g, without);
	c->tx = guest_alloc(&c->g, 1 << 18, 4096);
	c->rx = guest_alloc(&c->g, (uint64_t)rx_n * rx_size + 16, 4096);
	for (unsigned int i = 0; i < rx_n; i++)
		drv_add_one(&c->g, RX, c->rx + (uint64_t)i * rx_size, rx_size, true);
	drv_kick(&c->g, RX);
}

static void open_wire(struct nic *c)
{
	int big = 1 << 20;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, c->wire), 0);
	setsockopt(c->wire[0], SOL_SOCKET, SO_SNDBUF, &big, sizeof(big));
	open_nic(c, c->wire[1], -1);
}

static void close_wire(struct nic *c)
{
	guest_close(&c->g);
	close(c->wire[1]);
	if (c->wire[0] >= 0)
		close(c->wire[0]);
}

static void test_config(void **state)
{
	struct virtio_net_config config;
	struct nic c;

	(void)state;
	open_wire(&c);
	for (uint32_t i = 0; i < 12; i++)
		virtio_mmio_read(&c.g.mmio, VIRTIO_MMIO_CONFIG + i, (uint8_t *)&config + i, 1);
	assert_memory_equal(config.mac, mac, 6);
	assert_int_equal(config.mtu, 1500);
	assert_int_equal(config.status, VIRTIO_NET_S_LINK_UP);
	assert_int_equal(reg_get(&c.g, VIRTIO_MMIO_DEVICE_ID), 1);
	close_wire(&c);
}

static void test_transmit(void **state)
{
	uint8_t got[2048];
	struct nic c;

	(void)state;
	open_wire(&c);
	start_nic(&c, 0, 0, 0);
	for (unsigned int i = 0; i < 3000; i++) {
		uint8_t *p = guest_at(&c.g, c.tx, 2048);

		memset(p, 0, HEAD);
		memset(p + HEAD, (int)i, 1500);
		drv_do(&c.g, TX,
		       (struct drv_buf[]){{c.tx, HEAD, false}, {c.tx + HEAD, 60 + i % 1400, false}},
		       2);
		assert_int_equal(recv(c.wire[0], got, sizeof(got), 0), HEAD + 60 + i % 1400);
		assert_memory_equal(got, p, HEAD + 60 + i % 1400);
	}
	close_wire(&c);
}

/* A wire that is full: packets wait in order, none is lost, and the guest may kick all it wants. */
static void test_transmit_full(void **state)
{
	struct nic c;
	uint32_t got[400];

	(void)state;
	open_wire(&c);
	start_nic(&c, 0, 0, 0);
	for (uint32_t i = 0; i < 256; i++) {
		uint64_t at = c.tx + 1024ull * i;

		*(uint32_t *)guest_at(&c.g, at + HEAD, 4) = i;
		drv_add_one(&c.g, TX, at, 1000, false);
		drv_kick(&c.g, TX);
	}
	for (uint32_t i = 0; i < 256; i++) {
		struct pollfd p = {.fd = c.wire[0], .events = POLLIN};

		assert_int_equal(poll(&p, 1, WAIT_MS), 1);
		assert_int_equal(recv(c.wire[0], got, sizeof(got), 0), 1000);
		assert_int_equal(got[HEAD / 4], i);
	}
	for (uint32_t i = 0; i < 256; i++)
		drv_get(&c.g, TX);
	close_wire(&c);
}

static void send_packet(struct nic *c, uint32_t size, uint8_t seed)
{
	uint8_t *p = calloc(1, HEAD + size);

	for (uint32_t i = 0; i < size; i++)
		p[HEAD + i] = (uint8_t)(seed + i * 31);
	assert_int_equal(send(c->wire[0], p, HEAD + size, 0), HEAD + size);
	free(p);
}

/* The packet in the next buffers; they are `rx_size` each and are given back. */
static void expect_packet(struct nic *c, uint32_t size, uint8_t seed, uint32_t rx_size)
{
	uint32_t left = size + HEAD, at = 0, count = (left + rx_size - 1) / rx_size;

	for (uint32_t k = 0; k < count; k++) {
		struct vring_used_elem e = drv_get(&c->g, RX);
		uint64_t gpa = q_desc(&c->g, RX)[e.id].addr;
		uint8_t *p = guest_at(&c->g, gpa, rx_size);

		assert_int_equal(e.len, left < rx_size ? left : rx_size);
		if (k == 0)
			assert_int_equal(((struct virtio_net_hdr_mrg_rxbuf *)p)->num_buffers,
					 count);
		for (uint32_t i = k ? 0 : HEAD; i < e.len; i++, at++)
			assert_int_equal(p[i], (uint8_t)(seed + at * 31));
		left -= e.len;
		drv_add_one(&c->g, RX, gpa, rx_size, true);
	}
	assert_int_equal(left, 0);
	drv_kick(&c->g, RX);
}

static void test_receive(void **state)
{
	static const uint32_t sizes[] = {60, 1514, 65549, 1524, 1525, 4084, 20000, 14};
	struct nic c;

	(void)state;
	open_wire(&c);
	start_nic(&c, 0, 64, 1536);
	for (unsigned int round = 0; round < 100; round++)
		for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
			send_packet(&c, sizes[i], (uint8_t)round);
			expect_packet(&c, sizes[i], (uint8_t)round, 1536);
		}
	/* several on the way at once */
	for (unsigned int i = 0; i < 5; i++)
		send_packet(&c, 5000 + i, (uint8_t)i);
	for (unsigned int i = 0; i < 5; i++)
		expect_packet(&c, 5000 + i, (uint8_t)i, 1536);
	assert_int_equal(c.g.dev->faults, 0);
	close_wire(&c);
}

/* One buffer per packet: a driver without mergeable buffers. */
static void test_receive_plain(void **state)
{
	struct nic c;

	(void)state;
	open_wire(&c);
	start_nic(&c, 1ull << VIRTIO_NET_F_MRG_RXBUF | OFFLOADS, 8, 1600);
	for (unsigned int i = 0; i < 50; i++) {
		send_packet(&c, 60 + 10 * i, (uint8_t)i);
		expect_packet(&c, 60 + 10 * i, (uint8_t)i, 1600);
	}
	close_wire(&c);
}

/* A guest without buffers: packets wait on the wire until there are some. */
static void test_receive_starved(void **state)
{
	struct nic c;

	(void)state;
	open_wire(&c);
	start_nic(&c, OFFLOADS, 0, 0);
	send_packet(&c, 500, 1);
	poll(NULL, 0, 20);
	assert_false(drv_used_ready(&c.g, RX));
	c.rx = guest_alloc(&c.g, 4096, 4096);
	for (int i = 0; i < 2; i++)
		drv_add_one(&c.g, RX, c.rx + 1000u * (unsigned int)i, 1000, true);
	drv_kick(&c.g, RX);
	expect_packet(&c, 500, 1, 1000);
	send_packet(&c, 1500, 2);
	expect_packet(&c, 1500, 2, 1000);
	close_wire(&c);
}

/* The head spread over buffers of one byte, as nobody does but may (2.7.4.1). */
static void test_receive_scattered(void **state)
{
	struct drv_buf bufs[40];
	struct nic c;
	uint8_t *p;

	(void)state;
	open_wire(&c);
	start_nic(&c, OFFLOADS, 0, 0);
	c.rx = guest_alloc(&c.g, 4096, 4096);
	for (unsigned int i = 0; i < 39; i++)
		bufs[i] = (struct drv_buf){c.rx + i, 1, true};
	bufs[39] = (struct drv_buf){c.rx + 39, 2000, true};
	drv_add(&c.g, RX, bufs, 40);
	drv_kick(&c.g, RX);
	send_packet(&c, 100, 9);
	assert_int_equal(drv_get(&c.g, RX).len, HEAD + 100);
	p = guest_at(&c.g, c.rx, 200);
	assert_int_equal(((struct virtio_net_hdr_mrg_rxbuf *)p)->num_buffers, 1);
	for (uint32_t i = 0; i < 100; i++)
		assert_int_equal(p[HEAD + i], (uint8_t)(9 + i * 31));
	close_wire(&c);
}

static void test_harm(void **state)
{
	struct nic c;

	(void)state;
	open_wire(&c);
	start_nic(&c, 0, 0, 0);
	drv_add_one(&c.g, TX, c.tx, HEAD - 1, false); /* shorter than the header */
	drv_kick(&c.g, TX);
	expect_broken(&c.g);
	start_nic(&c, 0, 0, 0);
	drv_add_one(&c.g, TX, c.tx, 100, true);
	drv_kick(&c.g, TX);
	expect_broken(&c.g);
	start_nic(&c, 0, 10, HEAD - 1);
	expect_broken(&c.g);
	start_nic(&c, 0, 0, 0);
	drv_add_one(&c.g, RX, c.tx, 2000, false);
	drv_kick(&c.g, RX);
	expect_broken(&c.g);
	/* As many as we hold of the smallest: what does not fit is cut off, nothing spins. */
	start_nic(&c, 0, 200, 12);
	send_packet(&c, 5000, 3);
	for (int i = 0; i < 64; i++)
		assert_int_equal(drv_get(&c.g, RX).len, 12);
	start_nic(&c, 0, 64, 1536);
	send_packet(&c, 5000, 3);
	expect_packet(&c, 5000, 3, 1536);
	assert_int_equal(c.g.dev->faults, 4);
	close_wire(&c);
}

static void test_reset_midway(void **state)
{
	struct nic c;

	(void)state;
	open_wire(&c);
	for (int round = 0; round < 50; round++) {
		start_nic(&c, 0, 100, 2048);
		for (uint32_t i = 0; i < 200; i++)
			drv_add_one(&c.g, TX, c.tx + 1024ull * i, 1000, false);
		drv_kick(&c.g, TX);
		for (int i = 0; i < 3; i++)
			send_packet(&c, 3000, 1);
		reg_set(&c.g, VIRTIO_MMIO_STATUS, 0);
		memset(guest_at(&c.g, c.rx, 100 * 2048), 0xcc, 100 * 2048);
		poll(NULL, 0, 1);
		for (uint32_t i = 0; i < 100 * 2048; i++)
			assert_int_equal(*(uint8_t *)guest_at(&c.g, c.rx + i, 1), 0xcc);
		while (recv(c.wire[0], &(char[2048]){0}, 2048, MSG_DONTWAIT) > 0)
			;
		/* empty the other direction, too: the device shares the socket with us */
		while (recv(c.wire[1], &(char[4096]){0}, 4096, MSG_DONTWAIT) > 0)
			;
	}
	start_nic(&c, 0, 64, 1536);
	send_packet(&c, 100, 3);
	expect_packet(&c, 100, 3, 1536);
	close_wire(&c);
}

static void test_wire_cut(void **state)
{
	struct nic c;

	(void)state;
	open_wire(&c);
	start_nic(&c, 0, 64, 1536);
	close(c.wire[0]);
	c.wire[0] = -1;
	while (reg_get(&c.g, VIRTIO_MMIO_CONFIG + 4) & VIRTIO_NET_S_LINK_UP << 16)
		poll(NULL, 0, 1);
	for (int i = 0; i < 300; i++)
		drv_do(&c.g, TX, &(struct drv_buf){c.tx, 100, false}, 1);
	close_wire(&c);
}

/* --- A real tap --------------------------------------------------------------------------------*/

static int open_tap(int extra)
{
	struct ifreq ifr = {.ifr_flags = (short)(IFF_TAP | extra)};
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return -1;
	strcpy(ifr.ifr_name, "tap0");
	if (ioctl(fd, TUNSETIFF, &ifr) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

/* 10.9.0.1 on the host's side; returns a socket bound to port 7. */
static int configure_tap(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET};
	struct ifreq ifr = {0};
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	strcpy(ifr.ifr_name, "tap0");
	inet_pton(AF_INET, "10.9.0.1", &a.sin_addr);
	memcpy(&ifr.ifr_addr, &a, sizeof(a));
	assert_int_equal(ioctl(s, SIOCSIFADDR, &ifr), 0);
	a.sin_addr.s_addr = htonl(0xffffff00);
	memcpy(&ifr.ifr_netmask, &a, sizeof(a));
	assert_int_equal(ioctl(s, SIOCSIFNETMASK, &ifr), 0);
	ifr.ifr_flags = IFF_UP | IFF_RUNNING;
	assert_int_equal(ioctl(s, SIOCSIFFLAGS, &ifr), 0);
	a.sin_port = htons(7);
	a.sin_addr.s_addr = 0;
	assert_int_equal(bind(s, (struct sockaddr *)&a, sizeof(a)), 0);
	return s;
}

/* The next packet of the kernel of this type; others (IPv6's chatter) are passed over. */
static uint8_t *next_packet(struct nic *c, uint16_t type)
{
	for (;;) {
		struct vring_used_elem e = drv_get(&c->g, RX);
		uint8_t *p = guest_at(&c->g, q_desc(&c->g, RX)[e.id].addr, 1536);

		drv_add_one(&c->g, RX, q_desc(&c->g, RX)[e.id].addr, 1536, true);
		drv_kick(&c->g, RX);
		if (((struct ether_header *)(p + HEAD))->ether_type == htons(type))
			return p;
	}
}

static void put_ethernet(uint8_t *p, const uint8_t *to, uint16_t type)
{
	struct ether_header *e = (struct ether_header *)p;

	memcpy(e->ether_dhost, to, 6);
	memcpy(e->ether_shost, mac, 6);
	e->ether_type = htons(type);
}

static void ask_arp(struct nic *c, uint8_t *ret_mac)
{
	static const uint8_t all[6] = {255, 255, 255, 255, 255, 255};
	uint8_t *p = guest_at(&c->g, c->tx, 100);
	struct ether_arp *arp = (struct ether_arp *)(p + HEAD + 14);

	memset(p, 0, 100);
	put_ethernet(p + HEAD, all, ETHERTYPE_ARP);
	arp->arp_hrd = htons(ARPHRD_ETHER);
	arp->arp_pro = htons(ETHERTYPE_IP);
	arp->arp_hln = 6;
	arp->arp_pln = 4;
	arp->arp_op = htons(ARPOP_REQUEST);
	memcpy(arp->arp_sha, mac, 6);
	memcpy(arp->arp_spa, "\x0a\x09\x00\x02", 4);
	memcpy(arp->arp_tpa, "\x0a\x09\x00\x01", 4);
	drv_do(&c->g, TX, &(struct drv_buf){c->tx, HEAD + 14 + sizeof(*arp), false}, 1);
	do {
		p = next_packet(c, ETHERTYPE_ARP);
		arp = (struct ether_arp *)(p + HEAD + 14);
	} while (arp->arp_op != htons(ARPOP_REPLY));
	assert_memory_equal(arp->arp_spa, "\x0a\x09\x00\x01", 4);
	memcpy(ret_mac, arp->arp_sha, 6);
}

static uint32_t sum16(const void *data, size_t size)
{
	uint32_t sum = 0;

	for (size_t i = 0; i + 1 < size; i += 2)
		sum += *(const uint16_t *)((const uint8_t *)data + i);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* UDP whose checksum the host has to finish; the kernel drops it if it did not. */
static void send_udp(struct nic *c, const uint8_t *host_mac)
{
	uint8_t *p = guest_at(&c->g, c->tx, 100);
	struct virtio_net_hdr_mrg_rxbuf *head = (struct virtio_net_hdr_mrg_rxbuf *)p;
	struct {
		struct iphdr ip;
		struct udphdr udp;
		char text[4];
	} q = {
		.ip = {.version = 4,
		       .ihl = 5,
		       .tot_len = htons(sizeof(q)),
		       .ttl = 64,
		       .protocol = IPPROTO_UDP},
		.udp = {.source = htons(9), .dest = htons(7), .len = htons(sizeof(q.udp) + 4)},
		.text = {'p', 'i', 'n', 'g'},
	};

	memset(p, 0, 100);
	head->hdr.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	head->hdr.csum_start = 14 + sizeof(q.ip);
	head->hdr.csum_offset = offsetof(struct udphdr, check);
	put_ethernet(p + HEAD, host_mac, ETHERTYPE_IP);
	inet_pton(AF_INET, "10.9.0.2", &q.ip.saddr);
	inet_pton(AF_INET, "10.9.0.1", &q.ip.daddr);
	q.ip.check = (uint16_t)~sum16(&q.ip, sizeof(q.ip));
	/* of the pseudo header only: the rest is the host's */
	q.udp.check =
		(uint16_t)sum16((uint16_t[]){(uint16_t)q.ip.saddr, (uint16_t)(q.ip.saddr >> 16),
					     (uint16_t)q.ip.daddr, (uint16_t)(q.ip.daddr >> 16),
					     htons(IPPROTO_UDP), q.udp.len},
				12);
	memcpy(p + HEAD + 14, &q, sizeof(q));
	drv_do(&c->g, TX, &(struct drv_buf){c->tx, (uint32_t)(HEAD + 14 + sizeof(q)), false}, 1);
}

/* vhost_fd: -1 if packets go through us, as they do of memory in too many pieces for vhost */
static void talk_to_kernel(int vhost_fd, unsigned int pieces)
{
	struct sockaddr_in from;
	socklen_t from_size = sizeof(from);
	uint8_t host_mac[6], *p;
	char got[8], big[3000];
	struct nic c;
	int fd = -1, s;

	if (unshare(CLONE_NEWNET) < 0 || (fd = open_tap(IFF_NO_PI | IFF_VNET_HDR)) < 0) {
		print_message("skip: no tap can be made here: %s\n", strerror(errno));
		skip();
	}
	s = configure_tap();
	open_nic_in(&c, fd, vhost_fd, pieces);
	start_nic(&c, 0, 64, 1536);
	ask_arp(&c, host_mac);
	send_udp(&c, host_mac);
	assert_int_equal(recvfrom(s, got, 8, 0, (struct sockaddr *)&from, &from_size), 4);
	assert_memory_equal(got, "ping", 4);
	/* the answer, its checksum left to us as negotiated */
	assert_int_equal(sendto(s, "pong", 4, 0, (struct sockaddr *)&from, from_size), 4);
	p = next_packet(&c, ETHERTYPE_IP);
	assert_true(((struct virtio_net_hdr_mrg_rxbuf *)p)->hdr.flags &
		    VIRTIO_NET_HDR_F_NEEDS_CSUM);
	assert_memory_equal(p + HEAD + 14 + 28, "pong", 4);
	/* and the next driver does not want that */
	start_nic(&c, OFFLOADS | 1ull << VIRTIO_NET_F_GUEST_CSUM, 64, 1536);
	assert_int_equal(sendto(s, big, 1000, 0, (struct sockaddr *)&from, from_size), 1000);
	p = next_packet(&c, ETHERTYPE_IP);
	assert_false(((struct virtio_net_hdr_mrg_rxbuf *)p)->hdr.flags &
		     VIRTIO_NET_HDR_F_NEEDS_CSUM);
	/* nonsense in the header is the host kernel's to refuse, and costs that packet only */
	memset(guest_at(&c.g, c.tx, 100), 0xff, 100);
	drv_do(&c.g, TX, &(struct drv_buf){c.tx, 100, false}, 1);
	send_udp(&c, host_mac);
	assert_int_equal(recv(s, got, 8, 0), 4);
	/* a driver that leaves in the middle, and the next one */
	for (int i = 0; i < 10; i++) {
		start_nic(&c, 0, 64, 1536);
		for (int k = 0; k < 20; k++)
			sendto(s, big, 1000, 0, (struct sockaddr *)&from, from_size);
		reg_set(&c.g, VIRTIO_MMIO_STATUS, 0);
		memset(guest_at(&c.g, c.rx, 64 * 1536), 0xcc, 64 * 1536);
		poll(NULL, 0, 5);
		for (uint32_t b = 0; b < 64 * 1536; b++)
			assert_int_equal(*(uint8_t *)guest_at(&c.g, c.rx + b, 1), 0xcc);
	}
	start_nic(&c, 0, 64, 1536);
	send_udp(&c, host_mac);
	assert_int_equal(recv(s, got, 8, 0), 4);
	assert_int_equal(c.g.dev->faults, 0);
	/* Interrupts of vhost do not go through us: our register must send the driver to look. */
	reg_set(&c.g, VIRTIO_MMIO_INTERRUPT_ACK, UINT32_MAX);
	assert_int_equal(reg_get(&c.g, VIRTIO_MMIO_INTERRUPT_STATUS) & VIRTIO_MMIO_INT_VRING,
			 vhost_fd >= 0 && pieces <= VHOST_PIECES);
	guest_close(&c.g);
	close(s);
	close(fd);
}

static void test_tap(void **state)
{
	(void)state;
	talk_to_kernel(-1, 1);
}

static void test_vhost(void **state)
{
	int vhost_fd = open("/dev/vhost-net", O_RDWR | O_CLOEXEC);

	(void)state;
	if (vhost_fd < 0) {
		print_message("hardware: /dev/vhost-net: %s\n", strerror(errno));
		skip();
	}
	talk_to_kernel(vhost_fd, 1);
	close(vhost_fd);
}

static void test_vhost_pieces(void **state)
{
	for (unsigned int pieces = VHOST_PIECES; pieces <= VHOST_PIECES + 1; pieces++) {
		int vhost_fd = open("/dev/vhost-net", O_RDWR | O_CLOEXEC);

		if (vhost_fd < 0) {
			print_message("hardware: /dev/vhost-net: %s\n", strerror(errno));
			skip();
		}
		talk_to_kernel(vhost_fd, pieces);
		close(vhost_fd);
	}
	(void)state;
}

/* A guest whose rings are nonsense: the kernel says so, and the device stops. */
static void test_vhost_harm(void **state)
{
	int vhost_fd = open("/dev/vhost-net", O_RDWR | O_CLOEXEC), fd = -1;
	struct nic c;

	(void)state;
	if (vhost_fd < 0 || unshare(CLONE_NEWNET) < 0 ||
	    (fd = open_tap(IFF_NO_PI | IFF_VNET_HDR)) < 0) {
		print_message("hardware: no vhost-net: %s\n", strerror(errno));
		skip();
	}
	close(configure_tap());
	open_nic(&c, fd, vhost_fd);
	start_nic(&c, 0, 64, 1536);
	drv_offer(&c.g, TX, 0xffff);
	drv_kick(&c.g, TX);
	expect_broken(&c.g);
	start_nic(&c, 0, 64, 1536);
	drv_add_one(&c.g, TX, RAM_SIZE, 100, false);
	drv_kick(&c.g, TX);
	expect_broken(&c.g);
	/* One queue only: it is the pair or nothing. */
	c.g.top = 0x10000;
	drv_negotiate(&c.g, drv_features(&c.g));
	drv_queue_setup(&c.g, TX, 256);
	drv_ok(&c.g);
	assert_true(reg_get(&c.g, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
	start_nic(&c, 0, 64, 1536);
	guest_close(&c.g);
	close(fd);
	close(vhost_fd);
}

static void test_operator_errors(void **state)
{
	struct virtio_net_config_host config = {.vhost_fd = -1, .mtu = 1500};
	struct virtio_device *dev;
	struct error err = {0};
	struct guest g;

	(void)state;
	guest_open(&g);
	config.tap_fd = -1;
	assert_int_equal(virtio_net_new(&g.env, &config, &dev, &err), -EBADF);
	assert_non_null(strstr(err.text, "network interface: "));
	if (unshare(CLONE_NEWNET) == 0 && (config.tap_fd = open_tap(IFF_NO_PI)) >= 0) {
		assert_int_equal(virtio_net_new(&g.env, &config, &dev, &err), -EINVAL);
		assert_non_null(strstr(err.text, "not a tap with vnet header"));
		close(config.tap_fd);
	}
	io_done(&g.io);
	mem_done(&g.mem);
	close(g.log[0]);
	close(g.log[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_config),
		cmocka_unit_test(test_transmit),
		cmocka_unit_test(test_transmit_full),
		cmocka_unit_test(test_receive),
		cmocka_unit_test(test_receive_plain),
		cmocka_unit_test(test_receive_starved),
		cmocka_unit_test(test_receive_scattered),
		cmocka_unit_test(test_harm),
		cmocka_unit_test(test_reset_midway),
		cmocka_unit_test(test_wire_cut),
		cmocka_unit_test(test_tap),
		cmocka_unit_test(test_vhost),
		cmocka_unit_test(test_vhost_pieces),
		cmocka_unit_test(test_vhost_harm),
		cmocka_unit_test(test_operator_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
