/* SPDX-License-Identifier: Apache-2.0 */
/* The record of the slots: state.json.  daemon/lender.h says what it is for. */
#ifndef CAISSON_DAEMON_STORE_H
#define CAISSON_DAEMON_STORE_H

#include "daemon/slot.h"

#define STORE_TOKEN_LEN 16u

struct store_slot {
	struct slot slot;		 /* of the lease: only one that was granted */
	bool in_place;			 /* how its memory is mapped */
	uint32_t ioas;			 /* of its function's address space, with iommufd */
	char token[STORE_TOKEN_LEN + 1]; /* names its descriptors in the store; "": they are not */
};

struct store {
	struct store_slot *v;
	uint32_t n;
	uint32_t next_number;
	bool draining;
};

int store_write(int dir_fd, const struct store *s, struct error *err);
/* What was written since the machine was booted; else nothing.  -EINVAL: it is damaged.  To be
 * freed with free(ret->v). */
int store_read(int dir_fd, struct store *ret, struct error *err);

#endif
