// SPDX-License-Identifier: Apache-2.0
/*
 * MSI-X through KVM: a vector's message arrives at the local APIC; what comes while it is masked,
 * by itself, with all others, or because MSI-X is off, is pending and arrives when it is not any
 * more, once.  Then masks and messages change as fast as they can while interrupts come.
 */
#include "tests/guest/lib/pci_port.h"

#define LAPIC 0xfee00000ull
#define SPURIOUS (LAPIC + 0xf0)
#define REQUESTS (LAPIC + 0x200) /* 32 vectors every 16 bytes */
#define ENABLED (1u << 31)
#define ALL_MASKED (1u << 30)
#define PATIENCE 100000000u

static uint64_t bar0, bar2;
static uint32_t cap; /* address of the capability */

static bool requested(uint32_t vector)
{
	return read32(REQUESTS + vector / 32 * 16) >> (vector % 32) & 1;
}

static void expect(uint32_t vector)
{
	for (uint32_t i = 0; i < PATIENCE; i++)
		if (requested(vector))
			return;
	say("no interrupt ");
	say_number(vector);
	say("\n");
	end(GUEST_FAIL);
}

/* Interrupts stay off: what has arrived stays requested, so each step has a vector of its own. */
static void message(uint32_t n, uint32_t vector)
{
	const uint64_t entry = bar2 + TOY_TABLE + 16 * n;

	write32(entry, (uint32_t)LAPIC);
	write32(entry + 4, 0);
	write32(entry + 8, vector);
}

static void mask(uint32_t n, uint32_t on)
{
	write32(bar2 + TOY_TABLE + 16 * n + 12, on);
}

static uint32_t pending(void)
{
	return read32(bar2 + TOY_PENDING);
}

static void fire(uint32_t n)
{
	write32(bar0, n);
}

static void storm(void)
{
	for (uint32_t i = 0; i < 2000; i++) {
		const uint32_t n = i % TOY_VECTORS;

		mask(n, i & 1);
		fire(n);
		write32(bar2 + TOY_TABLE + 16 * n, i % 7 ? (uint32_t)LAPIC : i * 0x01234567);
		write32(bar2 + TOY_TABLE + 16 * n + 4, i % 5 ? 0 : ~0u);
		write32(bar2 + TOY_TABLE + 16 * n + 8, (i % 3 ? 0x80 : i << 14) + i % 32);
		if (i % 11 == 0)
			config_write(cap, i % 2 ? ENABLED : ALL_MASKED);
	}
}

void main(void)
{
	bar0 = toy_bar(0);
	bar2 = toy_bar(2);
	cap = TOY + (config_read(TOY + 0x34) & 0xfc);
	check((config_read(cap) & 0xff) == 0x11);
	write32(SPURIOUS, 0x1ff);

	/* On, and open. */
	config_write(cap, ENABLED);
	message(0, 0x31);
	mask(0, 0);
	fire(0);
	expect(0x31);
	check(pending() == 0);

	/* Masked by itself. */
	message(1, 0x42);
	fire(1);
	check(pending() == 1u << 1);
	check(!requested(0x42));
	mask(1, 0);
	expect(0x42);
	check(pending() == 0);
	mask(1, 1);
	check(pending() == 0);
	message(1, 0x43);
	mask(1, 0);
	check(!requested(0x43));

	/* Masked with all others; off. */
	config_write(cap, ENABLED | ALL_MASKED);
	message(0, 0x54);
	fire(0);
	check(pending() == 1 && !requested(0x54));
	config_write(cap, 0);
	check(!requested(0x54));
	config_write(cap, ENABLED);
	expect(0x54);
	check(!requested(0x43));

	storm();
	config_write(cap, ENABLED);
	message(3, 0x65);
	mask(3, 0);
	fire(3);
	expect(0x65);
	expect_working(ENTROPY);
	end(GUEST_PASS);
}
