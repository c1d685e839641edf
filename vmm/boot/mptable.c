// SPDX-License-Identifier: Apache-2.0
#include "vmm/boot/mptable.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define POINTER_AT 0x9fc00u
#define TABLE_SIZE_MAX (POINTER_AT - MPTABLE_AT)
#define REVISION 4u /* 1.4 */
#define APIC_VERSION 0x14u

enum { ENTRY_CPU = 0, ENTRY_BUS = 1, ENTRY_IOAPIC = 2, ENTRY_IRQ = 3, ENTRY_LINT = 4 };
enum { IRQ_INT = 0, IRQ_NMI = 1, IRQ_EXTINT = 3 };

#define CPU_ENABLED 1u
#define CPU_BOOTS 2u
#define IOAPIC_ENABLED 1u
#define ALL_APICS 0xffu
#define BUS_ISA 0u

struct pointer { /* 4.1 */
	char signature[4];
	uint32_t table;
	uint8_t length; /* in 16 bytes */
	uint8_t revision, checksum, features[5];
};

struct header { /* 4.2 */
	char signature[4];
	uint16_t size;
	uint8_t revision, checksum;
	char oem[8], product[12];
	uint32_t oem_table;
	uint16_t oem_size, entries;
	uint32_t lapic;
	uint16_t extended_size;
	uint8_t extended_checksum, reserved;
};

struct cpu { /* 4.3.1 */
	uint8_t type, apic_id, apic_version, flags;
	uint32_t signature, features, reserved[2];
};

struct bus { /* 4.3.2 */
	uint8_t type, id;
	char name[6];
};

struct ioapic { /* 4.3.3 */
	uint8_t type, id, version, flags;
	uint32_t at;
};

struct irq { /* 4.3.4 and 4.3.5; flags 0: as the bus has it, which for ISA is edge, high */
	uint8_t type, kind;
	uint16_t flags;
	uint8_t bus, bus_irq, apic, pin;
};

struct table {
	union {
		struct header header;
		uint8_t bytes[TABLE_SIZE_MAX];
	};
	size_t size;
	bool full; /* an entry did not fit */
};

static uint8_t checksum(const void *at, size_t size)
{
	const uint8_t *p = at;
	uint8_t sum = 0;

	while (size--)
		sum = (uint8_t)(sum + *p++);
	return (uint8_t)-sum;
}

static void add(struct table *t, const void *entry, size_t size)
{
	if (size > sizeof(t->bytes) - t->size) {
		t->full = true;
		return;
	}
	memcpy(t->bytes + t->size, entry, size);
	t->size += size;
	t->header.entries++;
}

static void add_cpus(struct table *t, uint32_t cpus)
{
	for (uint32_t i = 0; i < cpus; i++) {
		struct cpu c = {
			.type = ENTRY_CPU,
			.apic_id = (uint8_t)i,
			.apic_version = APIC_VERSION,
			.flags = (uint8_t)(CPU_ENABLED | (i == 0 ? CPU_BOOTS : 0)),
		};

		add(t, &c, sizeof(c));
	}
}

static void add_lines(struct table *t, uint8_t ioapic_id, uint32_t first, uint32_t pins)
{
	const struct irq extint = {
		.type = ENTRY_LINT, .kind = IRQ_EXTINT, .apic = ALL_APICS, .pin = 0};
	const struct irq nmi = {.type = ENTRY_LINT, .kind = IRQ_NMI, .apic = ALL_APICS, .pin = 1};

	for (uint32_t i = first; i < pins; i++) {
		struct irq line = {
			.type = ENTRY_IRQ,
			.kind = IRQ_INT,
			.bus = BUS_ISA,
			.bus_irq = (uint8_t)i,
			.apic = ioapic_id,
			.pin = (uint8_t)i,
		};

		add(t, &line, sizeof(line));
	}
	add(t, &extint, sizeof(extint));
	add(t, &nmi, sizeof(nmi));
}

int mptable_write(const struct mem *mem, uint32_t cpus, uint32_t first, uint32_t pins,
		  struct error *err)
{
	const uint8_t ioapic_id = (uint8_t)cpus;
	const struct bus isa = {.type = ENTRY_BUS, .id = BUS_ISA, .name = "ISA   "};
	const struct ioapic ioapic = {
		.type = ENTRY_IOAPIC,
		.id = ioapic_id,
		.version = APIC_VERSION,
		.flags = IOAPIC_ENABLED,
		.at = MPTABLE_IOAPIC_AT,
	};
	struct pointer pointer = {
		.signature = "_MP_", .table = MPTABLE_AT, .length = 1, .revision = REVISION};
	struct table t = {
		.header = {.signature = "PCMP",
			   .revision = REVISION,
			   .oem = "CAISSON ",
			   .product = "SANDBOX     ",
			   .lapic = MPTABLE_LAPIC_AT},
		.size = sizeof(struct header),
	};

	add_cpus(&t, cpus);
	add(&t, &isa, sizeof(isa));
	add(&t, &ioapic, sizeof(ioapic));
	add_lines(&t, ioapic_id, first, pins);
	if (t.full)
		return error_set(err, E2BIG, "%u CPUs do not fit into an MP table", cpus);
	t.header.size = (uint16_t)t.size;
	t.header.checksum = checksum(t.bytes, t.size);
	pointer.checksum = checksum(&pointer, sizeof(pointer));
	if (mem_write(mem, GPA(MPTABLE_AT), t.bytes, t.size) < 0 ||
	    mem_write(mem, GPA(POINTER_AT), &pointer, sizeof(pointer)) < 0)
		return error_set(err, ENOMEM, "there is no memory where the MP table goes");
	return 0;
}
