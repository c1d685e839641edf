// SPDX-License-Identifier: Apache-2.0
#include "lib/wire.h"

#include <errno.h>

static void put_le(uint8_t *p, uint32_t x, int width)
{
	for (int i = 0; i < width; i++)
		p[i] = (uint8_t)(x >> (8 * i));
}

static uint32_t get_le(const uint8_t *p, int width)
{
	uint32_t x = 0;

	for (int i = 0; i < width; i++)
		x |= (uint32_t)p[i] << (8 * i);
	return x;
}

void wire_header_encode(uint8_t out[static WIRE_HEADER_SIZE], const struct wire_header *h)
{
	put_le(out, h->size, 4);
	out[4] = h->type;
	out[5] = h->stream;
	put_le(out + 6, 0, 2);
	put_le(out + 8, h->session, 4);
}

static const struct {
	uint8_t type;
	bool has_stream;
	uint32_t size_max;
	const char *name;
} types[] = {
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

int wire_header_decode(struct wire_header *ret, const uint8_t in[static WIRE_HEADER_SIZE],
		       uint32_t payload_max)
{
	struct wire_header h = {
		.size = get_le(in, 4),
		.type = in[4],
		.stream = in[5],
		.zero = (uint16_t)get_le(in + 6, 2),
		.session = get_le(in + 8, 4),
	};

	if (h.zero || h.size > payload_max || h.stream >= WIRE_STREAMS_MAX)
		return -EPROTO;
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (types[i].type != h.type)
			continue;
		if (h.size > types[i].size_max || (h.stream && !types[i].has_stream))
			return -EPROTO;
		*ret = h;
		return 0;
	}
	return -EPROTO;
}

const char *wire_type_name(uint8_t type)
{
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (types[i].type == type)
			return types[i].name;
	return "unknown";
}

void wire_ready_codec(struct msg *m, struct wire_ready *x)
{
	msg_u32(m, &x->version);
	msg_u64(m, &x->uptime_us);
}

void wire_result_codec(struct msg *m, struct wire_result *x)
{
	msg_i32(m, &x->code);
	msg_str(m, &x->text);
}

void wire_exited_codec(struct msg *m, struct wire_exited *x)
{
	msg_i32(m, &x->status);
	msg_i32(m, &x->signal);
	msg_bool(m, &x->oom);
	if (x->status < 0 || x->status > 255 || x->signal < 0 || x->signal > 64)
		m->broken = true;
}

static void code_container(struct msg *m, char **container)
{
	msg_str(m, container);
	if (!*container)
		m->broken = true;
}

void wire_start_codec(struct msg *m, struct wire_start *x)
{
	code_container(m, &x->container);
}

void wire_exec_codec(struct msg *m, struct wire_exec *x)
{
	code_container(m, &x->container);
}

void wire_signal_codec(struct msg *m, struct wire_signal *x)
{
	msg_str(m, &x->container);
	msg_i32(m, &x->signal);
	msg_bool(m, &x->all);
	if (x->signal < 0 || x->signal > 64)
		m->broken = true;
}

void wire_freeze_codec(struct msg *m, struct wire_freeze *x)
{
	code_container(m, &x->container);
	msg_bool(m, &x->frozen);
}

void wire_target_codec(struct msg *m, struct wire_target *x)
{
	code_container(m, &x->container);
}

void wire_update_codec(struct msg *m, struct wire_update *x)
{
	code_container(m, &x->container);
}

void wire_resize_codec(struct msg *m, struct wire_resize *x)
{
	msg_u16(m, &x->rows);
	msg_u16(m, &x->columns);
}

void wire_machine_memory_codec(struct msg *m, struct wire_machine_memory *x)
{
	msg_u64(m, &x->bytes);
}

void wire_credit_codec(struct msg *m, struct wire_credit *x)
{
	msg_u32(m, &x->bytes);
}
