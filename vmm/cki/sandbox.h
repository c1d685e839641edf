/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A sandbox of the module caisson (kmod/uapi/caisson.h): guest memory lent to it, page
 * tables, eventfds to and from the guest.
 *
 * Everything here is done before the guest runs.  The module believes nothing that comes
 * from this process, either; its errors are errors of ours.
 */
#ifndef CAISSON_CKI_SANDBOX_H
#define CAISSON_CKI_SANDBOX_H

#include <stdint.h>

#include "kmod/uapi/caisson.h"
#include "lib/error.h"
#include "vmm/devices.h"
#include "vmm/mem/mem.h"

#define CKI_DEVICE "/dev/caisson"

struct cki_sandbox {
	int fd;
	uint64_t *blocks; /* of its memory, as it goes up in our mapping: physical addresses */
	uint32_t blocks_n;
	uint64_t *tables; /* of its page tables */
	uint32_t tables_n;
};

/* Whether the module is there and speaks our version; the sentence that says what is missing. */
int cki_check(struct error *err);

/* On error nothing is left behind. */
int cki_sandbox_init(struct cki_sandbox *s, struct error *err);
void cki_sandbox_done(struct cki_sandbox *s);

/* One sandbox at a time takes its huge pages and sorts them: it gives them back meanwhile, and
 * takes others for a moment, which must not fail who comes next.  done() unlocks, too. */
int cki_sandbox_lock(const struct cki_sandbox *s, struct error *err);
void cki_sandbox_unlock(const struct cki_sandbox *s);

/* Under the lock: sorts it, if it is ours to sort, lends all of `mem` to the module, and places it
 * where that has found it (mem_place()). */
int cki_sandbox_add_memory(struct cki_sandbox *s, struct mem *mem, struct error *err);

/* As many blocks for page tables as a guest of that memory is given. */
int cki_sandbox_add_tables(struct cki_sandbox *s, struct error *err);

/* The rate of the TSC, which the guest's clock is. */
int cki_sandbox_tsc_khz(const struct cki_sandbox *s, uint64_t *ret, struct error *err);

/* Connects the devices past this process: interrupts are events of vCPU 0, which is there already;
 * the guest's writes to QueueNotify are doorbells (kmod/uapi/caisson_boot.h). */
int cki_sandbox_add_devices(struct cki_sandbox *s, const struct devices *d, struct error *err);

#endif
