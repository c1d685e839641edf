// SPDX-License-Identifier: Apache-2.0
/* lib/msg.h: both directions agree, and hostile bytes never get further than `broken`. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/cleanup.h"
#include "lib/msg.h"
#include "tests/fuzz/literals.h"

struct pair {
	uint32_t a;
	char *b;
};

struct sample {
	uint8_t u8;
	bool yes, no;
	uint16_t u16;
	uint32_t u32;
	int32_t i32;
	uint64_t u64;
	int64_t i64;
	uint8_t fixed[5];
	char *null, *empty, *text;
	struct strv words, none;
	struct blob blob, hollow;
	struct pair *pairs;
	uint32_t pairs_n;
};

static void codec(struct msg *m, struct sample *s)
{
	msg_u8(m, &s->u8);
	msg_bool(m, &s->yes);
	msg_bool(m, &s->no);
	msg_u16(m, &s->u16);
	msg_u32(m, &s->u32);
	msg_i32(m, &s->i32);
	msg_u64(m, &s->u64);
	msg_i64(m, &s->i64);
	msg_bytes(m, s->fixed, sizeof(s->fixed));
	msg_str(m, &s->null);
	msg_str(m, &s->empty);
	msg_str(m, &s->text);
	msg_strv(m, &s->words);
	msg_strv(m, &s->none);
	msg_blob(m, &s->blob);
	msg_blob(m, &s->hollow);
	msg_list(m, &s->pairs, &s->pairs_n, sizeof(*s->pairs));
	for (uint32_t i = 0; i < s->pairs_n; i++) {
		msg_u32(m, &s->pairs[i].a);
		msg_str(m, &s->pairs[i].b);
	}
}

static char *words[] = {"one", "", "three"};
static uint8_t bytes[] = {0, 1, 2, 255};
static struct pair pairs[] = {{1, "x"}, {UINT32_MAX, NULL}};

static const struct sample sample = {
	.u8 = 200,
	.yes = true,
	.u16 = 0xabcd,
	.u32 = 0xdeadbeef,
	.i32 = INT32_MIN,
	.u64 = UINT64_MAX - 1,
	.i64 = INT64_MIN,
	.fixed = {1, 2, 3, 4, 5},
	.empty = "",
	.text = "Grüße\n",
	.words = {words, 3},
	.blob = {bytes, 4},
	.pairs = pairs,
	.pairs_n = 2,
};

static void encode_sample(struct msg *m)
{
	struct sample s = sample;

	msg_init_encode(m);
	codec(m, &s);
	assert_false(m->broken);
}

static void test_roundtrip(void **state)
{
	struct sample s;
	struct msg out, in;

	(void)state;
	encode_sample(&out);
	memset(&s, 0xa5, sizeof(s));
	msg_init_decode(&in, out.data, out.size);
	codec(&in, &s);
	assert_int_equal(msg_finish(&in), 0);
	assert_int_equal(s.u8, 200);
	assert_true(s.yes);
	assert_false(s.no);
	assert_int_equal(s.u16, 0xabcd);
	assert_int_equal(s.u32, 0xdeadbeef);
	assert_int_equal(s.i32, INT32_MIN);
	assert_true(s.u64 == UINT64_MAX - 1 && s.i64 == INT64_MIN);
	assert_memory_equal(s.fixed, sample.fixed, sizeof(s.fixed));
	assert_null(s.null);
	assert_string_equal(s.empty, "");
	assert_string_equal(s.text, sample.text);
	assert_int_equal(s.words.n, 3);
	for (int i = 0; i < 3; i++)
		assert_string_equal(s.words.v[i], words[i]);
	assert_int_equal(s.none.n, 0);
	assert_int_equal(s.blob.size, 4);
	assert_memory_equal(s.blob.data, bytes, 4);
	assert_int_equal(s.hollow.size, 0);
	assert_int_equal(s.pairs_n, 2);
	assert_int_equal(s.pairs[1].a, UINT32_MAX);
	assert_string_equal(s.pairs[0].b, "x");
	assert_null(s.pairs[1].b);
	msg_done(&in);
	msg_done(&out);
}

static void test_little_endian(void **state)
{
	uint32_t x = 0x01020304;
	struct msg m;

	(void)state;
	msg_init_encode(&m);
	msg_u32(&m, &x);
	assert_int_equal(m.size, 4);
	assert_memory_equal(m.data, "\x04\x03\x02\x01", 4);
	msg_done(&m);
}

/* Cut anywhere, a message is broken, and a reader that goes on regardless finds nothing. */
static void test_truncated(void **state)
{
	struct msg out;

	(void)state;
	encode_sample(&out);
	for (size_t size = 0; size < out.size; size++) {
		/* A copy of that very size, so that ASan sees a read past it. */
		_cleanup_free_ uint8_t *cut = malloc(size + !size);
		struct sample s;
		struct msg in;

		memset(&s, 0xa5, sizeof(s));
		memcpy(cut, out.data, size);
		msg_init_decode(&in, cut, size);
		codec(&in, &s);
		assert_int_equal(msg_finish(&in), -EPROTO);
		assert_int_equal(s.pairs_n, s.pairs ? 2 : 0);
		msg_done(&in);
	}
	msg_done(&out);
}

static void test_left_over(void **state)
{
	struct msg m;
	uint8_t x;

	(void)state;
	msg_init_decode(&m, "ab", 2);
	msg_u8(&m, &x);
	assert_false(m.broken);
	assert_int_equal(msg_finish(&m), -EPROTO);
	msg_done(&m);
}

static void decode_str(struct msg *m, void *x)
{
	char **s = x;

	*s = "untouched";
	msg_str(m, s);
	assert_null(*s);
}

static void decode_strv(struct msg *m, void *x)
{
	struct strv *v = x;

	v->n = 77;
	msg_strv(m, v);
	assert_int_equal(v->n, 0);
}

static void decode_blob(struct msg *m, void *x)
{
	struct blob *b = x;

	b->size = 77;
	msg_blob(m, b);
	assert_int_equal(b->size, 0);
	assert_null(b->data);
}

static void decode_list(struct msg *m, void *x)
{
	uint32_t n = 77;

	msg_list(m, x, &n, 4096);
	assert_int_equal(n, 0);
	assert_null(*(void **)x);
}

static void decode_bool(struct msg *m, void *x)
{
	bool *b = x;

	*b = true;
	msg_bool(m, b);
	assert_false(*b);
}

static const struct {
	const char *what;
	void (*decode)(struct msg *m, void *x);
	const char *data;
	size_t size;
} hostile[] = {
	{"string longer than the message", decode_str, "\x05\0\0\0abc", 8},
	{"string without its NUL", decode_str, "\x03\0\0\0abcd", 8},
	{"string with a NUL in it", decode_str, "\x03\0\0\0a\0c", 8},
	{"string that ends early", decode_str, "\x03\0\0\0abc", 7},
	{"string of almost 4 GiB", decode_str,
	 "\xfe\xff\xff\xff"
	 "abc",
	 8},
	{"list of strings with a NULL", decode_strv, "\x01\0\0\0\xff\xff\xff\xff", 8},
	{"list of 4 G strings", decode_strv,
	 "\xff\xff\xff\xff"
	 "abc",
	 8},
	{"list of more strings than bytes", decode_strv, "\x05\0\0\0abcd", 8},
	{"list of more elements than bytes", decode_list, "\x05\0\0\0abcd", 8},
	{"list of 4 G elements", decode_list,
	 "\xff\xff\xff\xff"
	 "abcd",
	 8},
	{"list without a count", decode_list, "\x01\0\0", 3},
	{"blob longer than the message", decode_blob, "\x05\0\0\0abc", 8},
	{"blob of 4 GiB", decode_blob, "\xff\xff\xff\xff", 4},
	{"boolean 2", decode_bool, "\x02", 1},
	{"boolean 255", decode_bool, "\xff", 1},
	{"nothing", decode_bool, "", 0},
};

static void test_hostile(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(hostile); i++) {
		_cleanup_free_ uint8_t *copy = malloc(hostile[i].size + 1);
		union {
			struct strv v;
			struct blob b;
			char *s;
			bool yes;
			void *p;
		} x = {0};
		uint64_t after = 1;
		struct msg m;

		memcpy(copy, hostile[i].data, hostile[i].size);
		msg_init_decode(&m, copy, hostile[i].size);
		hostile[i].decode(&m, &x);
		if (!m.broken)
			fail_msg("%s: accepted", hostile[i].what);
		msg_u64(&m, &after);
		assert_int_equal(after, 0);
		assert_int_equal(msg_finish(&m), -EPROTO);
		msg_done(&m);
	}
}

static void test_list_limit(void **state)
{
	_cleanup_free_ uint8_t *data = calloc(1, MSG_LIST_MAX + 5);
	uint32_t n = MSG_LIST_MAX + 1;
	void *list = NULL;
	struct msg m;

	(void)state;
	data[0] = 1; /* MSG_LIST_MAX + 1, and as many bytes after it */
	data[2] = 1;
	msg_init_decode(&m, data, MSG_LIST_MAX + 5);
	msg_list(&m, &list, &n, 1);
	assert_true(m.broken);
	msg_done(&m);

	n = MSG_LIST_MAX + 1;
	msg_init_encode(&m);
	msg_list(&m, &list, &n, 1);
	assert_true(m.broken);
	msg_done(&m);

	data[0] = 0; /* MSG_LIST_MAX is fine */
	msg_init_decode(&m, data, MSG_LIST_MAX + 4);
	msg_list(&m, &list, &n, 1);
	assert_false(m.broken);
	assert_int_equal(n, MSG_LIST_MAX);
	msg_done(&m);
}

static void test_size_limit(void **state)
{
	_cleanup_free_ uint8_t *data = calloc(1, MSG_SIZE_MAX + 1);
	struct blob b = {data, MSG_SIZE_MAX - 4};
	uint8_t x = 1;
	struct msg m;

	(void)state;
	msg_init_encode(&m);
	msg_blob(&m, &b);
	assert_false(m.broken);
	assert_int_equal(m.size, MSG_SIZE_MAX);
	msg_u8(&m, &x);
	assert_true(m.broken);
	assert_int_equal(m.size, MSG_SIZE_MAX);
	msg_done(&m);

	msg_init_decode(&m, data, MSG_SIZE_MAX + 1);
	msg_u8(&m, &x);
	assert_true(m.broken);
	assert_int_equal(x, 0);
	msg_done(&m);
}

static void test_long_string(void **state)
{
	_cleanup_free_ char *s = malloc(MSG_SIZE_MAX + 1);
	struct msg m;

	(void)state;
	memset(s, 'a', MSG_SIZE_MAX);
	s[MSG_SIZE_MAX] = 0;
	msg_init_encode(&m);
	msg_str(&m, &s);
	assert_true(m.broken);
	msg_done(&m);
}

static void test_arena(void **state)
{
	static const uint8_t zero[100];
	struct msg_chunk *arena = NULL;
	uint8_t *p;

	(void)state;
	assert_null(arena_strdup(&arena, NULL));
	assert_null(arena);
	assert_null(arena_alloc(&arena, SIZE_MAX));
	assert_null(arena_alloc(&arena, SIZE_MAX - 1));
	for (int i = 0; i < 1000; i++) {
		p = arena_alloc(&arena, sizeof(zero));
		assert_int_equal((uintptr_t)p % _Alignof(max_align_t), 0);
		assert_memory_equal(p, zero, sizeof(zero));
		memset(p, 0xff, sizeof(zero));
	}
	assert_non_null(arena_alloc(&arena, 0));
	assert_string_equal(arena_strdup(&arena, "text"), "text");
	assert_string_equal(arena_strdup(&arena, ""), "");
	arena_done(&arena);
	assert_null(arena);
	arena_done(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_roundtrip),  cmocka_unit_test(test_little_endian),
		cmocka_unit_test(test_truncated),  cmocka_unit_test(test_left_over),
		cmocka_unit_test(test_hostile),	   cmocka_unit_test(test_list_limit),
		cmocka_unit_test(test_size_limit), cmocka_unit_test(test_long_string),
		cmocka_unit_test(test_arena),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
