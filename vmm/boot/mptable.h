/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The MP table (Intel MultiProcessor Specification 1.4, chapter 4): how a kernel
 * without ACPI learns of its CPUs and interrupt lines.  The floating pointer is in
 * the last KiB of base memory, where kernels look; the table before it.
 */
#ifndef CAISSON_BOOT_MPTABLE_H
#define CAISSON_BOOT_MPTABLE_H

#include <stdint.h>

#include "lib/error.h"
#include "vmm/mem/mem.h"

#define MPTABLE_AT 0x9f000u
#define MPTABLE_IOAPIC_AT 0xfec00000u
#define MPTABLE_LAPIC_AT 0xfee00000u

/*
 * CPUs 0..cpus-1 with these numbers as APIC ids, the first boots; one I/O APIC whose `pins` lines
 * (from `first` on) are edge triggered and active high, the number of a line being its IRQ.
 */
int mptable_write(const struct mem *mem, uint32_t cpus, uint32_t first, uint32_t pins,
		  struct error *err);

#endif
