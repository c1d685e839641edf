// SPDX-License-Identifier: Apache-2.0
/* seed_wire DIRECTORY: writes one frame of each type there, the seeds of fuzz_wire. */
#include <stdio.h>

#include "lib/cleanup.h"
#include "tests/fuzz/payload.h"

static int write_frame(const char *dir, uint8_t type)
{
	_cleanup_fclose_ FILE *f = NULL;
	uint8_t header[WIRE_HEADER_SIZE];
	struct wire_header h = {.type = type, .session = 1};
	char path[4096];
	struct payload p;
	struct msg m;
	bool ok;

	msg_init_encode(&m);
	payload_sample(type, &p);
	payload_codec(&m, type, &p);
	h.size = (uint32_t)m.size;
	wire_header_encode(header, &h);
	snprintf(path, sizeof(path), "%s/%s", dir, wire_type_name(type));
	f = fopen(path, "w");
	ok = f && !m.broken && fwrite(header, sizeof(header), 1, f) == 1 &&
	     fwrite(m.data, m.size, 1, f) == 1 && !fflush(f);
	msg_done(&m);
	if (!ok)
		fprintf(stderr, "seed_wire: cannot write '%s'\n", path);
	return ok ? 0 : -1;
}

int main(int argc, char **argv)
{
	if (argc != 2)
		return 2;
	for (size_t i = 0; i < ARRAY_SIZE(payload_types); i++)
		if (write_frame(argv[1], payload_types[i]) < 0)
			return 1;
	return 0;
}
