// SPDX-License-Identifier: Apache-2.0
/* lib/wire.h and lib/spec.h: headers, and every payload in both directions. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/cleanup.h"
#include "tests/fuzz/payload.h"

static const struct {
	uint8_t type;
	bool has_stream;
	uint32_t size_max;
	const char *name;
} frames[] = {
	{WIRE_SETUP, false, WIRE_PAYLOAD_MAX, "SETUP"},
	{WIRE_CREATE, false, WIRE_PAYLOAD_MAX, "CREATE"},
	{WIRE_START, false, 4096, "START"},
	{WIRE_EXEC, false, WIRE_PAYLOAD_MAX, "EXEC"},
	{WIRE_SIGNAL, false, 4096, "SIGNAL"},
	{WIRE_FREEZE, false, 4096, "FREEZE"},
	{WIRE_PS, false, 4096, "PS"},
	{WIRE_UPDATE, false, WIRE_PAYLOAD_MAX, "UPDATE"},
	{WIRE_STATS, false, 4096, "STATS"},
	{WIRE_SHUTDOWN, false, 0, "SHUTDOWN"},
	{WIRE_MACHINE_PAUSE, false, 0, "MACHINE_PAUSE"},
	{WIRE_MACHINE_RESUME, false, 0, "MACHINE_RESUME"},
	{WIRE_MACHINE_MEMORY, false, 8, "MACHINE_MEMORY"},
	{WIRE_RESIZE, false, 4, "RESIZE"},
	{WIRE_HANGUP, false, 0, "HANGUP"},
	{WIRE_DATA, true, WIRE_DATA_MAX, "DATA"},
	{WIRE_CREDIT, true, 4, "CREDIT"},
	{WIRE_READY, false, 64, "READY"},
	{WIRE_RESULT, false, WIRE_GUEST_PAYLOAD_MAX, "RESULT"},
	{WIRE_EXITED, false, 64, "EXITED"},
};

static int recode(struct wire_header h, uint32_t payload_max, struct wire_header *ret)
{
	uint8_t b[WIRE_HEADER_SIZE];

	wire_header_encode(b, &h);
	return wire_header_decode(ret, b, payload_max);
}

static void test_header_types(void **state)
{
	struct wire_header h, got;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(frames); i++) {
		h = (struct wire_header){frames[i].size_max, frames[i].type, 0, 0, 0xfffefdfc};
		assert_int_equal(recode(h, WIRE_PAYLOAD_MAX, &got), 0);
		assert_int_equal(got.size, h.size);
		assert_int_equal(got.type, h.type);
		assert_int_equal(got.session, h.session);
		assert_string_equal(wire_type_name(h.type), frames[i].name);
		h.size++;
		assert_int_equal(recode(h, UINT32_MAX, &got), -EPROTO);
		h.size = 0;
		h.stream = WIRE_STREAMS_MAX - 1;
		assert_int_equal(recode(h, WIRE_PAYLOAD_MAX, &got),
				 frames[i].has_stream ? 0 : -EPROTO);
		h.stream = WIRE_STREAMS_MAX;
		assert_int_equal(recode(h, WIRE_PAYLOAD_MAX, &got), -EPROTO);
	}
}

static void test_header_unknown(void **state)
{
	struct wire_header got;
	int known = 0;

	(void)state;
	for (int t = 0; t < 256; t++) {
		struct wire_header h = {.type = (uint8_t)t};

		if (!recode(h, WIRE_PAYLOAD_MAX, &got))
			known++;
		else
			assert_string_equal(wire_type_name((uint8_t)t), "unknown");
	}
	assert_int_equal(known, ARRAY_SIZE(frames));
}

static void test_header_bad(void **state)
{
	static const struct wire_header data = {.size = 100, .type = WIRE_DATA};
	uint8_t b[WIRE_HEADER_SIZE];
	struct wire_header got;

	(void)state;
	assert_int_equal(recode(data, 99, &got), -EPROTO);
	assert_int_equal(recode(data, 100, &got), 0);
	for (int i = 6; i < 8; i++) { /* padding */
		wire_header_encode(b, &data);
		b[i] = 1;
		assert_int_equal(wire_header_decode(&got, b, WIRE_PAYLOAD_MAX), -EPROTO);
	}
	wire_header_encode(b, &data);
	b[3] = 0xff; /* a size of almost 4 GiB */
	assert_int_equal(wire_header_decode(&got, b, WIRE_PAYLOAD_MAX), -EPROTO);
}

static void encode(struct msg *m, uint8_t type)
{
	struct payload p;

	payload_sample(type, &p);
	msg_init_encode(m);
	assert_true(payload_codec(m, type, &p));
	assert_false(m->broken);
}

static void test_payload_roundtrip(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(payload_types); i++) {
		struct msg first, in, second;
		struct payload p;

		encode(&first, payload_types[i]);
		memset(&p, 0xa5, sizeof(p));
		msg_init_decode(&in, first.data, first.size);
		payload_codec(&in, payload_types[i], &p);
		assert_int_equal(msg_finish(&in), 0);
		msg_init_encode(&second);
		payload_codec(&second, payload_types[i], &p);
		assert_int_equal(second.size, first.size);
		assert_memory_equal(second.data, first.data, first.size);
		msg_done(&in);
		msg_done(&first);
		msg_done(&second);
	}
}

/* The example of each type fits into what a header may announce for it. */
static void test_payload_fits(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(payload_types); i++) {
		struct wire_header h = {.type = payload_types[i]}, got;
		struct msg m;

		encode(&m, payload_types[i]);
		h.size = (uint32_t)m.size;
		assert_int_equal(recode(h, WIRE_PAYLOAD_MAX, &got), 0);
		msg_done(&m);
	}
}

static void test_payload_truncated(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(payload_types); i++) {
		struct msg out;

		encode(&out, payload_types[i]);
		for (size_t size = 0; size <= out.size + 1; size++) {
			_cleanup_free_ uint8_t *cut = calloc(1, size + !size);
			struct payload p;
			struct msg in;

			memcpy(cut, out.data, size < out.size ? size : out.size);
			memset(&p, 0xa5, sizeof(p));
			msg_init_decode(&in, cut, size);
			payload_codec(&in, payload_types[i], &p);
			assert_int_equal(msg_finish(&in), size == out.size ? 0 : -EPROTO);
			msg_done(&in);
		}
		msg_done(&out);
	}
}

/* One byte wrong at a time: decodes to something that encodes to just that, or not at all. */
static void test_payload_flipped(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(payload_types); i++) {
		struct msg out;

		encode(&out, payload_types[i]);
		for (size_t at = 0; at < out.size * 3; at++) {
			static const uint8_t flips[] = {0x01, 0x80, 0xff};
			struct msg in, again;
			struct payload p;

			out.data[at / 3] ^= flips[at % 3];
			msg_init_decode(&in, out.data, out.size);
			payload_codec(&in, payload_types[i], &p);
			if (!msg_finish(&in)) {
				msg_init_encode(&again);
				payload_codec(&again, payload_types[i], &p);
				assert_int_equal(again.size, out.size);
				assert_memory_equal(again.data, out.data, out.size);
				msg_done(&again);
			}
			msg_done(&in);
			out.data[at / 3] ^= flips[at % 3];
		}
		msg_done(&out);
	}
}

/* What no host of ours sends (spec.h). */
static int refused(uint8_t type, const struct payload *bad)
{
	struct payload p = *bad, got;
	struct msg out, in;
	int rc;

	msg_init_encode(&out);
	payload_codec(&out, type, &p);
	msg_init_decode(&in, out.data, out.size);
	payload_codec(&in, type, &got);
	rc = msg_finish(&in);
	msg_done(&in);
	msg_done(&out);
	return rc;
}

static void test_bad_values(void **state)
{
	struct payload p;

	(void)state;
#define REFUSED(type, change)                                                                      \
	do {                                                                                       \
		payload_sample(type, &p);                                                          \
		change;                                                                            \
		assert_int_equal(refused(type, &p), -EPROTO);                                      \
	} while (0)
	REFUSED(WIRE_EXITED, p.exited.status = 256);
	REFUSED(WIRE_EXITED, p.exited.status = -1);
	REFUSED(WIRE_EXITED, p.exited.signal = 65);
	REFUSED(WIRE_SIGNAL, p.signal.signal = 65);
	REFUSED(WIRE_SIGNAL, p.signal.signal = -1);
	REFUSED(WIRE_START, p.start.container = NULL);
	REFUSED(WIRE_PS, p.target.container = NULL);
	REFUSED(WIRE_FREEZE, p.freeze.container = NULL);
	REFUSED(WIRE_UPDATE, p.update.container = NULL);
	REFUSED(WIRE_EXEC, p.exec.container = NULL);
	REFUSED(WIRE_EXEC, p.process.args.n = 0);
	REFUSED(WIRE_EXEC, p.process.cwd = "tmp");
	REFUSED(WIRE_EXEC, p.process.cwd = NULL);
	REFUSED(WIRE_EXEC, p.process.seccomp.size = 7);
	REFUSED(WIRE_CREATE, p.container.id = NULL);
	REFUSED(WIRE_CREATE, p.container.rootfs.lower_serial = NULL);
	REFUSED(WIRE_CREATE, p.container.devices[0].path = "dev"; p.container.devices_n = 1);
	p.container.devices[0].path = "/dev/fuse";
	REFUSED(WIRE_CREATE, p.container.mounts[0].share = -2);
	p.container.mounts[0].share = -1;
	REFUSED(WIRE_CREATE, p.container.mounts[0].destination = "proc");
	p.container.mounts[0].destination = "/proc";
	REFUSED(WIRE_CREATE, p.container.sysctl[0].value = NULL);
	p.container.sysctl[0].value = "1";
	REFUSED(WIRE_SETUP, p.sandbox.shares = SPEC_SHARES_KINDS);
	REFUSED(WIRE_SETUP, p.sandbox.nics[0].name = NULL);
	p.sandbox.nics[0].name = "eth0";
#undef REFUSED
	/* and a session's own process needs no name */
	payload_sample(WIRE_SIGNAL, &p);
	p.signal.container = NULL;
	assert_int_equal(refused(WIRE_SIGNAL, &p), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_header_types),	cmocka_unit_test(test_header_unknown),
		cmocka_unit_test(test_header_bad),	cmocka_unit_test(test_payload_roundtrip),
		cmocka_unit_test(test_payload_fits),	cmocka_unit_test(test_payload_truncated),
		cmocka_unit_test(test_payload_flipped), cmocka_unit_test(test_bad_values),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
