// SPDX-License-Identifier: Apache-2.0
#include "lib/msg.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"

struct msg_chunk {
	struct msg_chunk *next;
	max_align_t data[];
};

void *arena_alloc(struct msg_chunk **arena, size_t size)
{
	struct msg_chunk *c;

	if (size > SIZE_MAX - sizeof(*c))
		return NULL;
	c = calloc(1, sizeof(*c) + size);
	if (!c)
		return NULL;
	c->next = *arena;
	*arena = c;
	return c->data;
}

char *arena_strdup(struct msg_chunk **arena, const char *s)
{
	size_t size = s ? strlen(s) + 1 : 0;
	char *copy = s ? arena_alloc(arena, size) : NULL;

	return copy ? memcpy(copy, s, size) : NULL;
}

void arena_done(struct msg_chunk **arena)
{
	while (*arena) {
		struct msg_chunk *next = (*arena)->next;

		free(*arena);
		*arena = next;
	}
}

void msg_init_encode(struct msg *m)
{
	*m = (struct msg){.encode = true};
}

void msg_init_decode(struct msg *m, const void *data, size_t size)
{
	*m = (struct msg){.data = (uint8_t *)data, .size = size, .broken = size > MSG_SIZE_MAX};
}

int msg_finish(struct msg *m)
{
	return m->broken || m->offset != m->size ? -EPROTO : 0;
}

void msg_done(struct msg *m)
{
	if (m->encode)
		free(m->data);
	arena_done(&m->arena);
	*m = (struct msg){.broken = true};
}

/* Memory of a message; without it the message is broken. */
static void *msg_alloc(struct msg *m, size_t size)
{
	void *p = arena_alloc(&m->arena, size);

	if (!p)
		m->broken = true;
	return p;
}

static void put(struct msg *m, const void *p, size_t n)
{
	if (m->broken)
		return;
	if (n > MSG_SIZE_MAX - m->size) {
		m->broken = true;
		return;
	}
	if (m->size + n > m->capacity) {
		size_t cap = m->capacity ? m->capacity : 512;
		uint8_t *grown;

		while (cap < m->size + n)
			cap *= 2;
		grown = realloc(m->data, cap);
		if (!grown) {
			m->broken = true;
			return;
		}
		m->data = grown;
		m->capacity = cap;
	}
	if (n)
		memcpy(m->data + m->size, p, n);
	m->size += n;
}

/* The next n bytes, or NULL (and the message is broken from then on). */
static const uint8_t *take(struct msg *m, size_t n)
{
	const uint8_t *p;

	if (m->broken || n > m->size - m->offset) {
		m->broken = true;
		return NULL;
	}
	p = m->data + m->offset;
	m->offset += n;
	return p;
}

static uint64_t code_int(struct msg *m, uint64_t x, size_t width)
{
	uint8_t b[8];
	const uint8_t *p;
	uint64_t got = 0;

	if (m->encode) {
		for (size_t i = 0; i < width; i++)
			b[i] = (uint8_t)(x >> (8 * i));
		put(m, b, width);
		return x;
	}
	p = take(m, width);
	for (size_t i = 0; p && i < width; i++)
		got |= (uint64_t)p[i] << (8 * i);
	return got;
}

void msg_u8(struct msg *m, uint8_t *x)
{
	*x = (uint8_t)code_int(m, *x, 1);
}

void msg_bool(struct msg *m, bool *x)
{
	uint64_t got = code_int(m, m->encode ? *x : 0, 1);

	if (got > 1)
		m->broken = true;
	*x = got == 1;
}

void msg_u16(struct msg *m, uint16_t *x)
{
	*x = (uint16_t)code_int(m, *x, 2);
}

void msg_u32(struct msg *m, uint32_t *x)
{
	*x = (uint32_t)code_int(m, *x, 4);
}

void msg_i32(struct msg *m, int32_t *x)
{
	*x = (int32_t)(uint32_t)code_int(m, (uint32_t)*x, 4);
}

void msg_u64(struct msg *m, uint64_t *x)
{
	*x = code_int(m, *x, 8);
}

void msg_i64(struct msg *m, int64_t *x)
{
	*x = (int64_t)code_int(m, (uint64_t)*x, 8);
}

void msg_bytes(struct msg *m, void *fixed, size_t size)
{
	const uint8_t *p;

	if (m->encode) {
		put(m, fixed, size);
		return;
	}
	p = take(m, size);
	if (p)
		memcpy(fixed, p, size);
	else
		memset(fixed, 0, size);
}

void msg_str(struct msg *m, char **s)
{
	uint32_t n = UINT32_MAX;
	const uint8_t *p;

	if (m->encode && *s) {
		size_t len = strlen(*s);

		if (len >= MSG_SIZE_MAX) {
			m->broken = true;
			return;
		}
		n = (uint32_t)len;
	}
	msg_u32(m, &n);
	if (m->encode) {
		if (*s)
			put(m, *s, (size_t)n + 1);
		return;
	}
	*s = NULL;
	if (m->broken || n == UINT32_MAX)
		return;
	p = take(m, (size_t)n + 1);
	/* Exactly one NUL, at the end: what is checked here is what C sees later. */
	if (!p || memchr(p, 0, (size_t)n + 1) != p + n) {
		m->broken = true;
		return;
	}
	*s = msg_alloc(m, (size_t)n + 1);
	if (*s)
		memcpy(*s, p, n);
}

void msg_list(struct msg *m, void *list, uint32_t *n, size_t elem_size)
{
	if (m->encode && *n > MSG_LIST_MAX)
		m->broken = true;
	msg_u32(m, n);
	if (m->encode)
		return;
	/* Every element takes at least one byte, which bounds the allocation. */
	if (m->broken || *n > MSG_LIST_MAX || *n > m->size - m->offset) {
		m->broken = true;
		*n = 0;
	}
	*(void **)list = *n ? msg_alloc(m, *n * elem_size) : NULL;
	if (m->broken)
		*n = 0;
}

void msg_strv(struct msg *m, struct strv *v)
{
	msg_list(m, &v->v, &v->n, sizeof(char *));
	for (uint32_t i = 0; i < v->n; i++) {
		msg_str(m, &v->v[i]);
		if (!v->v[i])
			m->broken = true; /* a list of strings holds no NULL */
	}
	if (m->broken && !m->encode)
		v->n = 0;
}

void msg_blob(struct msg *m, struct blob *b)
{
	const uint8_t *p;

	msg_u32(m, &b->size);
	if (m->encode) {
		put(m, b->data, b->size);
		return;
	}
	b->data = NULL;
	p = take(m, b->size);
	if (p && b->size) {
		b->data = msg_alloc(m, b->size);
		if (b->data)
			memcpy(b->data, p, b->size);
	}
	if (m->broken)
		b->size = 0;
}
