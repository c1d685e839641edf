// SPDX-License-Identifier: Apache-2.0
/* lib/lease.h: packets of both directions, their bounds, and descriptors on the way. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/cleanup.h"
#include "lib/lease.h"

/* Encodes, decodes; 0 or -EPROTO.  *m owns what *ret points to. */
static int through(struct lease_request *in, struct msg *m, struct lease_request *ret)
{
	struct msg out;
	int rc;

	in->head.version = LEASE_VERSION;
	msg_init_encode(&out);
	lease_request_codec(&out, in);
	*ret = (struct lease_request){0};
	msg_init_decode(m, out.data, out.size);
	lease_request_codec(m, ret);
	rc = out.broken ? -EPROTO : msg_finish(m);
	msg_done(&out);
	return rc;
}

static void test_requests(void **state)
{
	struct lease_request in[] = {
		{.head.op = LEASE_LEASE,
		 .want = {.owner = (char *)"cni/net/1/eth0",
			  .function = true,
			  .pf = (char *)"ens5",
			  .memory = 1ull << 32,
			  .kept = true,
			  .engine = (char *)"cki",
			  .wait_ms = 7}},
		{.head.op = LEASE_TAKE,
		 .id = (char *)"ab",
		 .engine = (char *)"kvm",
		 .memory = 5,
		 .memory_max = 8,
		 .wait_ms = 6},
		{.head.op = LEASE_HOLD, .id = (char *)"ab"},
		{.head.op = LEASE_RELEASE, .id = (char *)"ab"},
		{.head.op = LEASE_RELEASE, .owner = (char *)"me"},
		{.head.op = LEASE_LIST, .first = 9},
		{.head.op = LEASE_LIST, .owner = (char *)"me"},
		{.head.op = LEASE_DRAIN, .drain = true, .what = (char *)"ens5"},
		{.head.op = LEASE_DRAIN},
		{.head.op = LEASE_RETRY, .what = (char *)"3"},
		{.head.op = LEASE_STATUS},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(in); i++) {
		struct lease_request out;
		struct msg m;

		assert_int_equal(through(&in[i], &m, &out), 0);
		assert_int_equal(out.head.op, in[i].head.op);
		assert_int_equal(out.memory, in[i].memory);
		assert_int_equal(out.memory_max, in[i].memory_max);
		assert_int_equal(out.want.memory, in[i].want.memory);
		assert_int_equal(out.want.kept, in[i].want.kept);
		assert_int_equal(out.drain, in[i].drain);
		if (in[i].id)
			assert_string_equal(out.id, in[i].id);
		if (in[i].owner)
			assert_string_equal(out.owner, in[i].owner);
		if (in[i].want.owner)
			assert_string_equal(out.want.owner, in[i].want.owner);
		msg_done(&m);
	}
}

static void test_requests_out_of_bounds(void **state)
{
	char *owner = malloc(LEASE_OWNER_MAX + 2);
	struct lease_request in[] = {
		{.head.op = 0},
		{.head.op = LEASE_STATUS + 1},
		{.head.op = LEASE_LEASE},
		{.head.op = LEASE_LEASE, .want = {.owner = (char *)""}},
		{.head.op = LEASE_LEASE, .want = {.owner = owner}},
		{.head.op = LEASE_LEASE, .want = {.owner = (char *)"two\nlines"}},
		{.head.op = LEASE_LEASE,
		 .want = {.owner = (char *)"me", .wait_ms = LEASE_WAIT_MAX_MS + 1}},
		{.head.op = LEASE_TAKE},
		{.head.op = LEASE_TAKE, .id = (char *)"0123456789012345678901234567890123456789"},
		{.head.op = LEASE_HOLD},
		{.head.op = LEASE_RELEASE},
		{.head.op = LEASE_RELEASE, .id = (char *)"ab", .owner = (char *)"me"},
	};

	(void)state;
	memset(owner, 'x', LEASE_OWNER_MAX + 1);
	owner[LEASE_OWNER_MAX + 1] = 0;
	for (size_t i = 0; i < ARRAY_SIZE(in); i++) {
		struct lease_request out;
		struct msg m;

		assert_int_equal(through(&in[i], &m, &out), -EPROTO);
		msg_done(&m);
	}
	free(owner);
}

/* Every prefix of a packet, and every one with a byte changed, is decoded or refused. */
static void test_damaged(void **state)
{
	struct lease_slot slots[2] = {
		{.number = 1,
		 .function = {.address = "0000:01:10.0", .pf = "ens5"},
		 .iommu = (char *)"iommufd"},
		{.number = 2, .lease = (char *)"ab", .owner = (char *)"me", .reason = (char *)"no"},
	};
	struct lease_reply in = {.head = {LEASE_VERSION, LEASE_LIST}, .slots = slots, .slots_n = 2};
	struct msg out;

	(void)state;
	msg_init_encode(&out);
	lease_reply_codec(&out, &in);
	assert_false(out.broken);
	for (size_t i = 0; i <= out.size * 256; i++) {
		struct lease_reply r = {0};
		uint8_t *copy = malloc(out.size ? out.size : 1);
		struct msg m;

		memcpy(copy, out.data, out.size);
		if (i < out.size * 256)
			copy[i / 256] = (uint8_t)i;
		msg_init_decode(&m, copy, out.size);
		lease_reply_codec(&m, &r);
		if (i == out.size * 256) {
			assert_int_equal(msg_finish(&m), 0);
			assert_string_equal(r.slots[1].owner, "me");
			assert_string_equal(r.slots[0].function.pf, "ens5");
		}
		msg_done(&m);
		free(copy);
	}
	for (size_t size = 0; size < out.size; size++) {
		struct lease_reply r = {0};
		struct msg m;

		msg_init_decode(&m, out.data, size);
		lease_reply_codec(&m, &r);
		assert_int_equal(msg_finish(&m), -EPROTO);
		msg_done(&m);
	}
	msg_done(&out);
}

static void test_descriptors(void **state)
{
	static uint8_t buf[LEASE_PACKET_MAX];
	int sv[2], fds[LEASE_FDS_MAX], got[LEASE_FDS_MAX];
	struct msg m;

	(void)state;
	for (unsigned int i = 0; i < LEASE_FDS_MAX; i++)
		fds[i] = open("/dev/null", O_RDONLY);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sv), 0);
	msg_init_encode(&m);
	msg_u32(&m, &(uint32_t){7});
	for (unsigned int n = 0; n <= LEASE_FDS_MAX; n++) {
		assert_int_equal(lease_send(sv[0], &m, fds, n), 0);
		assert_int_equal(lease_recv(sv[1], buf, got), 4);
		for (unsigned int i = 0; i < LEASE_FDS_MAX; i++) {
			assert_int_equal(got[i] >= 0, i < n);
			if (got[i] >= 0)
				assert_int_equal(fcntl(got[i], F_GETFD), FD_CLOEXEC);
			cleanup_close(&got[i]);
		}
	}
	assert_int_equal(lease_send(sv[0], &m, fds, LEASE_FDS_MAX + 1), -EPROTO);
	msg_done(&m);
	close(sv[0]);
	assert_int_equal(lease_recv(sv[1], buf, got), 0);
	close(sv[1]);
	lease_close_fds(fds);
}

static void test_no_daemon(void **state)
{
	struct error err = {0};

	(void)state;
	assert_int_equal(lease_connect("/nonexistent/socket", &err), -ENOENT);
	assert_string_equal(
		err.text,
		"connect to caissond at '/nonexistent/socket': No such file or directory");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_requests),  cmocka_unit_test(test_requests_out_of_bounds),
		cmocka_unit_test(test_damaged),	  cmocka_unit_test(test_descriptors),
		cmocka_unit_test(test_no_daemon),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
