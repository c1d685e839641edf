// SPDX-License-Identifier: Apache-2.0
/*
 * Packets of lib/lease.h, as caissond and its clients read them: the first byte chooses.  Whatever
 * decodes encodes to the same bytes again.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/lease.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct msg *out, const uint8_t *data, size_t size)
{
	if (out->broken || out->size != size || memcmp(out->data, data, size) != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct lease_request request = {0};
	struct lease_reply reply = {0};
	bool is_reply = size > 0 && data[0] & 1;
	struct msg in, out;

	if (size == 0)
		return 0;
	data++;
	size--;
	msg_init_decode(&in, data, size);
	msg_init_encode(&out);
	if (is_reply)
		lease_reply_codec(&in, &reply);
	else
		lease_request_codec(&in, &request);
	if (msg_finish(&in) == 0) {
		if (is_reply)
			lease_reply_codec(&out, &reply);
		else
			lease_request_codec(&out, &request);
		check(&out, data, size);
	}
	msg_done(&out);
	msg_done(&in);
	return 0;
}
