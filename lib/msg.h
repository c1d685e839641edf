/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages: a compact sequential encoding of C structures, used between the
 * command, the machine monitor and the agent inside the guest.
 *
 * One function describes a structure for both directions ("codec"): the same
 * msg_u32(m, &x) writes x when m encodes and fills x when m decodes, so the two
 * sides cannot drift apart.  Whoever decodes treats the bytes as hostile: every
 * read is bounded by the message, the first violation makes the message broken,
 * and from then on every read yields zero, NULL or an empty list.
 *
 * Encoding: integers little endian and of fixed width; a string is its u32
 * length without NUL, the bytes, one NUL (UINT32_MAX alone means NULL); a list is
 * a u32 count, then its elements.
 *
 * Memory: decoded strings and lists live in the message's arena until msg_done().
 * An arena is a list of allocations that are freed together; it starts as NULL, and
 * others may keep one for themselves.
 */
#ifndef CAISSON_MSG_H
#define CAISSON_MSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A message longer than this is refused by both sides. */
#define MSG_SIZE_MAX (1u << 20)
/* No list in a message is longer than this. */
#define MSG_LIST_MAX 65536u

struct msg_chunk;

/* Zeroed memory that lives until arena_done(), or NULL. */
void *arena_alloc(struct msg_chunk **arena, size_t size);
/* A copy of s in the arena, or NULL; a NULL s gives NULL. */
char *arena_strdup(struct msg_chunk **arena, const char *s);
/* Frees all of it and makes the arena empty again. */
void arena_done(struct msg_chunk **arena);

struct msg {
	uint8_t *data;
	size_t size;	 /* encode: bytes written; decode: bytes given */
	size_t capacity; /* encode only */
	size_t offset;	 /* decode only: next byte to read */
	bool encode;
	bool broken; /* decode: malformed; encode: too long or out of memory */
	struct msg_chunk *arena;
};

struct strv { /* a list of strings */
	char **v;
	uint32_t n;
};

struct blob { /* bytes */
	uint8_t *data;
	uint32_t size;
};

void msg_init_encode(struct msg *m);
/* data must outlive m; it is not written to. */
void msg_init_decode(struct msg *m, const void *data, size_t size);
/* Decode only: 0, or -EPROTO when broken or when bytes are left over. */
int msg_finish(struct msg *m);
void msg_done(struct msg *m);

void msg_u8(struct msg *m, uint8_t *x);
void msg_bool(struct msg *m, bool *x);
void msg_u16(struct msg *m, uint16_t *x);
void msg_u32(struct msg *m, uint32_t *x);
void msg_i32(struct msg *m, int32_t *x);
void msg_u64(struct msg *m, uint64_t *x);
void msg_i64(struct msg *m, int64_t *x);
void msg_bytes(struct msg *m, void *fixed, size_t size); /* fixed size, no length */
void msg_str(struct msg *m, char **s);
void msg_strv(struct msg *m, struct strv *v);
void msg_blob(struct msg *m, struct blob *b);

/*
 * The head of a list: codes the count and, when decoding, allocates `*n` zeroed
 * elements of `elem_size` into *list (bounded by what the rest of the message
 * could hold).  The caller then codes each element.
 */
void msg_list(struct msg *m, void *list, uint32_t *n, size_t elem_size);

#endif
