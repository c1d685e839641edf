// SPDX-License-Identifier: Apache-2.0
/* Console with two ports, as Linux's driver talks to it. */
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_console.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "tests/unit/virtio_driver.h"

enum { RX0, TX0, CRX, CTX, RX1, TX1 };

struct term {
	struct guest g;
	int console[2], agent[2]; /* [0] is the host's */
	uint64_t page;		  /* control messages of the guest */
	uint64_t crx_page;
};

static void open_console(struct term *t)
{
	struct virtio_device *dev;
	struct error err = {0};

	guest_open(&t->g);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, t->console), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, t->agent), 0);
	assert_int_equal(virtio_console_new(&t->g.env, t->console[1], t->agent[1], &dev, &err), 0);
	guest_plug(&t->g, dev);
}

static void close_console(struct term *t)
{
	guest_close(&t->g);
	for (int i = 0; i < 2; i++) {
		if (t->console[i] >= 0)
			close(t->console[i]);
		if (t->agent[i] >= 0)
			close(t->agent[i]);
	}
}

static void control_say(struct term *t, uint32_t id, uint16_t event, uint16_t value)
{
	struct virtio_console_control *m = guest_at(&t->g, t->page, sizeof(*m));

	*m = (struct virtio_console_control){id, event, value};
	assert_int_equal(drv_do(&t->g, CTX, &(struct drv_buf){t->page, sizeof(*m), false}, 1), 0);
}

static void control_expect(struct term *t, uint32_t id, uint16_t event, uint16_t value,
			   const char *text)
{
	struct vring_used_elem e = drv_get(&t->g, CRX);
	uint64_t at = q_desc(&t->g, CRX)[e.id].addr;
	struct virtio_console_control *m = guest_at(&t->g, at, 64);

	assert_int_equal(e.len, sizeof(*m) + strlen(text));
	assert_int_equal(m->id, id);
	assert_int_equal(m->event, event);
	assert_int_equal(m->value, value);
	assert_memory_equal(m + 1, text, strlen(text));
	drv_add_one(&t->g, CRX, at, 64, true);
	drv_kick(&t->g, CRX);
}

static void handshake(struct term *t)
{
	t->g.top = 0x10000;
	drv_start(&t->g, 0);
	t->page = guest_alloc(&t->g, 4096, 4096);
	t->crx_page = guest_alloc(&t->g, 4096, 4096);
	for (int i = 0; i < 16; i++)
		drv_add_one(&t->g, CRX, t->crx_page + 64u * i, 64, true);
	drv_kick(&t->g, CRX);
	control_say(t, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	control_expect(t, 0, VIRTIO_CONSOLE_PORT_ADD, 1, "");
	control_expect(t, 1, VIRTIO_CONSOLE_PORT_ADD, 1, "");
	control_say(t, 0, VIRTIO_CONSOLE_PORT_READY, 1);
	control_expect(t, 0, VIRTIO_CONSOLE_CONSOLE_PORT, 1, "");
	control_expect(t, 0, VIRTIO_CONSOLE_PORT_OPEN, 1, "");
	control_say(t, 1, VIRTIO_CONSOLE_PORT_READY, 1);
	control_expect(t, 1, VIRTIO_CONSOLE_PORT_NAME, 1, "caisson.agent");
	control_expect(t, 1, VIRTIO_CONSOLE_PORT_OPEN, 1, "");
	control_say(t, 0, VIRTIO_CONSOLE_PORT_OPEN, 1);
	control_say(t, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
}

static size_t recv_all(int fd, void *buf, size_t size)
{
	size_t done = 0;

	while (done < size) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		ssize_t n;

		assert_int_equal(poll(&p, 1, WAIT_MS), 1);
		n = recv(fd, (uint8_t *)buf + done, size - done, 0);
		assert_true(n > 0);
		done += (size_t)n;
	}
	return done;
}

static void test_config(void **state)
{
	struct virtio_console_config config;
	struct term t;
	uint64_t beyond = 7;

	(void)state;
	open_console(&t);
	assert_int_equal(reg_get(&t.g, VIRTIO_MMIO_DEVICE_ID), 3);
	for (uint32_t i = 0; i < sizeof(config); i += 4)
		virtio_mmio_read(&t.g.mmio, VIRTIO_MMIO_CONFIG + i, (uint8_t *)&config + i, 4);
	assert_int_equal(config.max_nr_ports, 2);
	virtio_mmio_read(&t.g.mmio, 0xff8, &beyond, 8);
	assert_int_equal(beyond, 0);
	virtio_mmio_write(&t.g.mmio, VIRTIO_MMIO_CONFIG + 4, "abcd", 4);
	close_console(&t);
}

static void test_both_ports(void **state)
{
	struct term t;
	char got[64];
	uint64_t buf;

	(void)state;
	open_console(&t);
	handshake(&t);
	buf = guest_alloc(&t.g, 4096, 64);
	memcpy(guest_at(&t.g, buf, 64), "kernel says", 11);
	drv_do(&t.g, TX0, &(struct drv_buf){buf, 11, false}, 1);
	recv_all(t.console[0], got, 11);
	assert_memory_equal(got, "kernel says", 11);
	memcpy(guest_at(&t.g, buf, 64), "agent says", 10);
	drv_do(&t.g, TX1,
	       (struct drv_buf[]){{buf, 3, false}, {buf + 3, 1, false}, {buf + 4, 6, false}}, 3);
	recv_all(t.agent[0], got, 10);
	assert_memory_equal(got, "agent says", 10);
	/* Data waits until there is a buffer. */
	assert_int_equal(send(t.agent[0], "hello", 5, 0), 5);
	poll(NULL, 0, 20);
	assert_int_equal(drv_do(&t.g, RX1, &(struct drv_buf){buf, 4096, true}, 1), 5);
	assert_memory_equal(guest_at(&t.g, buf, 5), "hello", 5);
	/* And the buffer until there is data; two buffers share what does not fit into one. */
	drv_add_one(&t.g, RX0, buf, 4, true);
	drv_add_one(&t.g, RX0, buf + 4, 4, true);
	drv_kick(&t.g, RX0);
	assert_int_equal(send(t.console[0], "abcdef", 6, 0), 6);
	assert_int_equal(drv_get(&t.g, RX0).len, 4);
	assert_int_equal(drv_get(&t.g, RX0).len, 2);
	assert_memory_equal(guest_at(&t.g, buf, 6), "abcdef", 6);
	close_console(&t);
}

/* A closed port gets nothing: Linux would throw it away. */
static void test_closed_port(void **state)
{
	struct term t;
	uint64_t buf;

	(void)state;
	open_console(&t);
	handshake(&t);
	buf = guest_alloc(&t.g, 64, 64);
	control_say(&t, 1, VIRTIO_CONSOLE_PORT_OPEN, 0);
	drv_add_one(&t.g, RX1, buf, 64, true);
	drv_kick(&t.g, RX1);
	assert_int_equal(send(t.agent[0], "x", 1, 0), 1);
	poll(NULL, 0, 30);
	assert_false(drv_used_ready(&t.g, RX1));
	control_say(&t, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	assert_int_equal(drv_get(&t.g, RX1).len, 1);
	close_console(&t);
}

/* A host that does not read: what the guest sends stays in the guest, and arrives whole later. */
static void test_flow_to_host(void **state)
{
	struct term t;
	uint8_t *got = malloc(100 * 16384);
	uint64_t buf;
	int added = 0;
	uint16_t used;

	(void)state;
	open_console(&t);
	handshake(&t);
	buf = guest_alloc(&t.g, 100 * 16384, 4096);
	for (uint32_t i = 0; i < 100 * 16384 / 4; i++)
		((uint32_t *)guest_at(&t.g, buf, 100 * 16384))[i] = i * 2654435761u;
	for (; added < 100; added++)
		drv_add_one(&t.g, TX1, buf + 16384u * added, 16384, false);
	drv_kick(&t.g, TX1);
	poll(NULL, 0, 100);
	used = __atomic_load_n(&q_used(&t.g, TX1)->idx, __ATOMIC_ACQUIRE);
	assert_true(used < 100); /* the socket is full */
	drv_kick(&t.g, TX1);	 /* an impatient guest */
	recv_all(t.agent[0], got, 100 * 16384);
	assert_memory_equal(got, guest_at(&t.g, buf, 100 * 16384), 100 * 16384);
	for (int i = 0; i < 100; i++)
		drv_get(&t.g, TX1);
	free(got);
	close_console(&t);
}

/* More than fits anywhere, to a guest with one buffer at a time. */
static void test_flow_to_guest(void **state)
{
	struct term t;
	uint32_t sent = 0, seen = 0;
	uint64_t buf;

	(void)state;
	open_console(&t);
	handshake(&t);
	buf = guest_alloc(&t.g, 4096, 4096);
	fcntl(t.agent[0], F_SETFL, O_NONBLOCK);
	while (seen < 200000) {
		struct vring_used_elem e;
		uint32_t *w = guest_at(&t.g, buf, 4096);

		while (sent < 200000 && send(t.agent[0], &sent, 4, 0) == 4)
			sent++;
		drv_add_one(&t.g, RX1, buf, 4096, true);
		drv_kick(&t.g, RX1);
		e = drv_get(&t.g, RX1);
		assert_int_equal(e.len % 4, 0);
		for (uint32_t i = 0; i < e.len / 4; i++)
			assert_int_equal(w[i], seen++);
	}
	close_console(&t);
}

static void test_host_goes_away(void **state)
{
	struct term t;
	uint64_t buf;

	(void)state;
	open_console(&t);
	handshake(&t);
	buf = guest_alloc(&t.g, 64, 64);
	drv_add_one(&t.g, RX1, buf, 64, true);
	drv_kick(&t.g, RX1);
	close(t.agent[0]);
	t.agent[0] = -1;
	control_expect(&t, 1, VIRTIO_CONSOLE_PORT_OPEN, 0, "");
	/* What the guest sends now goes nowhere, and the other port lives. */
	for (int i = 0; i < 300; i++)
		drv_do(&t.g, TX1, &(struct drv_buf){buf, 64, false}, 1);
	drv_do(&t.g, TX0, &(struct drv_buf){buf, 64, false}, 1);
	assert_int_equal(t.g.dev->faults, 0);
	close_console(&t);
}

static void test_reset_midway(void **state)
{
	struct term t;
	uint64_t buf;
	char got[4];

	(void)state;
	open_console(&t);
	for (int round = 0; round < 10; round++) {
		handshake(&t);
		buf = guest_alloc(&t.g, 1 << 20, 4096);
		for (int i = 0; i < 60; i++)
			drv_add_one(&t.g, TX0, buf, 1 << 20,
				    false); /* more than the socket takes */
		drv_kick(&t.g, TX0);
		poll(NULL, 0, 5);
		reg_set(&t.g, VIRTIO_MMIO_STATUS, 0);
		memset(guest_at(&t.g, buf, 1 << 20), 0, 1 << 20);
	}
	handshake(&t);
	recv_all(t.console[0], got, 4);
	close_console(&t);
}

/* Buffers on the control queue that no control message fits into, and nonsense from the guest. */
static void test_harm(void **state)
{
	struct term t;
	uint64_t buf;

	(void)state;
	open_console(&t);
	handshake(&t);
	for (uint32_t i = 0; i < 2000; i++)
		control_say(&t, i * 7919, (uint16_t)(i % 11), (uint16_t)i);
	assert_int_equal(t.g.dev->faults, 0);
	handshake(&t);
	buf = guest_alloc(&t.g, 64, 64);
	drv_add_one(&t.g, CTX, buf, 7, false); /* too short */
	drv_kick(&t.g, CTX);
	expect_broken(&t.g);
	handshake(&t);
	drv_add_one(&t.g, TX0, buf, 64, true); /* wrong direction */
	drv_kick(&t.g, TX0);
	expect_broken(&t.g);
	handshake(&t);
	assert_int_equal(send(t.console[0], "x", 1, 0), 1);
	drv_add_one(&t.g, RX0, buf, 64, false);
	drv_kick(&t.g, RX0);
	expect_broken(&t.g);
	t.g.top = 0x10000;
	drv_start(&t.g, 0);
	t.page = guest_alloc(&t.g, 4096, 4096);
	drv_add_one(&t.g, CRX, t.page, 7, true);
	control_say(&t, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	expect_broken(&t.g);
	/* A guest that asks for ever and takes nothing. */
	t.g.top = 0x10000;
	drv_start(&t.g, 0);
	t.page = guest_alloc(&t.g, 4096, 4096);
	for (int i = 0; i < 1000; i++)
		control_say(&t, (uint32_t)i % 2, VIRTIO_CONSOLE_PORT_READY, 1);
	handshake(&t);
	assert_int_equal(t.g.dev->faults, 4);
	close_console(&t);
}

/* A driver without ports: one console, always open. */
static void test_single(void **state)
{
	struct term t;
	uint64_t buf;
	char got[3];

	(void)state;
	open_console(&t);
	drv_start(&t.g, 1ull << VIRTIO_CONSOLE_F_MULTIPORT);
	buf = guest_alloc(&t.g, 64, 64);
	memcpy(guest_at(&t.g, buf, 3), "one", 3);
	drv_do(&t.g, TX0, &(struct drv_buf){buf, 3, false}, 1);
	recv_all(t.console[0], got, 3);
	assert_memory_equal(got, "one", 3);
	assert_int_equal(send(t.console[0], "two", 3, 0), 3);
	assert_int_equal(drv_do(&t.g, RX0, &(struct drv_buf){buf, 64, true}, 1), 3);
	close_console(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_config),	      cmocka_unit_test(test_both_ports),
		cmocka_unit_test(test_closed_port),   cmocka_unit_test(test_flow_to_host),
		cmocka_unit_test(test_flow_to_guest), cmocka_unit_test(test_host_goes_away),
		cmocka_unit_test(test_reset_midway),  cmocka_unit_test(test_harm),
		cmocka_unit_test(test_single),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
