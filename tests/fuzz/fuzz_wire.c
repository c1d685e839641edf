// SPDX-License-Identifier: Apache-2.0
/*
 * Frames: a header and a payload, as the monitor and the agent read them.  Whatever decodes
 * must encode to the same bytes again: there is one way to write a message, and nothing in it
 * that the decoder did not look at.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/payload.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
	if (!ok)
		abort();
}

static void check_header(const uint8_t *data, const struct wire_header *h)
{
	uint8_t again[WIRE_HEADER_SIZE];

	wire_header_encode(again, h);
	check(!memcmp(again, data, sizeof(again)));
	check(strcmp(wire_type_name(h->type), "unknown") != 0);
}

static void check_payload(const uint8_t *data, size_t size, uint8_t type)
{
	struct payload p;
	struct msg in, out;

	memset(&p, 0xa5, sizeof(p)); /* a decoder that leaves a member alone shows */
	msg_init_decode(&in, data, size);
	if (payload_codec(&in, type, &p) && !msg_finish(&in)) {
		msg_init_encode(&out);
		payload_codec(&out, type, &p);
		check(!out.broken && out.size == size && !memcmp(out.data, data, size));
		msg_done(&out);
	}
	msg_done(&in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wire_header h;

	if (size < WIRE_HEADER_SIZE || wire_header_decode(&h, data, WIRE_PAYLOAD_MAX) < 0)
		return 0;
	check_header(data, &h);
	/* The size in the header is a fuzzer's worst enemy; it is the frame reader's to check. */
	check_payload(data + WIRE_HEADER_SIZE, size - WIRE_HEADER_SIZE, h.type);
	return 0;
}
