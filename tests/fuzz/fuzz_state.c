// SPDX-License-Identifier: Apache-2.0
/* state.json: ours, but a crash or another hand may have left anything in its place. */
#include <stdlib.h>
#include <string.h>

#include "runtime/state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error err = {0};
	struct state s;

	if (state_parse(&s, (const char *)data, size, &err) < 0) {
		/* A refusal has a sentence, and nothing to free. */
		if (!err.code || !*err.text || strchr(err.text, '\n') || s.arena)
			abort();
		return 0;
	}
	/* What is accepted can be worked with. */
	if (!s.id || !s.bundle || !state_status_name(state_status(&s)))
		abort();
	for (uint32_t i = 0; i < s.annotations_n; i++)
		if (!s.annotations[i].key || !s.annotations[i].value)
			abort();
	state_done(&s);
	return 0;
}
