// SPDX-License-Identifier: Apache-2.0
/*
 * Configuration space: accesses of every size to every port, every device and function, every
 * register, with every kind of value; windows sized and moved (which they are not) while they are
 * in use, and touched in every way, across their ends, too.  Then the toy is as it was.
 */
#include "tests/guest/lib/pci_port.h"

static void touch(uint64_t at)
{
	(void)*(volatile uint8_t *)at;
	(void)*(volatile uint16_t *)at;
	(void)*(volatile uint32_t *)at;
	(void)*(volatile uint64_t *)at;
	*(volatile uint8_t *)at = 0xff;
	*(volatile uint16_t *)at = 0xffff;
	*(volatile uint32_t *)at = ~0u;
	*(volatile uint64_t *)at = ~0ull;
}

static void all_ports(void)
{
	for (uint16_t port = PORT_ADDRESS - 4; port < PORT_DATA + 8; port++) {
		out8(port, 0xa5);
		out16(port, 0x5a5a);
		out32(port, 0x80000801);
		(void)in8(port);
		(void)in16(port);
		(void)in32(port);
	}
}

static void every_register(uint32_t value)
{
	for (uint32_t devfn = 0; devfn < 256; devfn += devfn < 16 ? 1 : 7)
		for (uint32_t reg = 0; reg < 256; reg += devfn < 16 ? 4 : 0x3c) {
			out32(PORT_ADDRESS, 0x80000000u | devfn << 8 | reg);
			out32(PORT_DATA, value);
			out16(PORT_DATA + 2, (uint16_t)value);
			out8(PORT_DATA + 3, (uint8_t)value);
			(void)in32(PORT_DATA);
			(void)in16(PORT_DATA + 1);
			(void)in8(PORT_DATA + 2);
		}
}

void main(void)
{
	const uint64_t bar0 = toy_bar(0), bar2 = toy_bar(2);
	static const uint32_t values[] = {0, ~0u, 0x00100000, 0xfee00000, 0xd0000000, 0x55aa55aa};

	check(config_read(TOY) == TOY_ID);
	check(config_read(0x80000008) >> 16 == 0x0600);
	check(read32(bar0) == TOY_MAGIC);
	write32(bar2 + 16, 0x1234);
	check(read32(bar2 + 16) == 0x1234);
	all_ports();
	for (unsigned int i = 0; i < sizeof(values) / 4; i++) {
		every_register(values[i]);
		check(config_read(TOY) == TOY_ID);
		/* Wherever the registers say it is. */
		check(read32(bar0) == TOY_MAGIC);
		check(read32(bar2 + 16) == 0x1234);
		check(read32(0x100000) != TOY_MAGIC);
	}
	for (uint64_t offset = 0; offset < 0x1000; offset += offset < 64 ? 1 : 61) {
		touch(bar0 + offset);
		touch(bar2 + TOY_TABLE + offset);
	}
	for (uint64_t at = 1; at < 8; at++) {
		touch(bar0 + 0x1000 - at);
		touch(bar2 + TOY_TABLE - at);
		touch(bar2 + 0x2000 - at);
	}
	config_write(TOY + 0x18, 0);
	check(toy_bar(0) == bar0 && toy_bar(2) == bar2);
	check(config_read(0x80010000u) == ~0u);
	check(config_read(TOY - 0x80000000u) == ~0u);
	expect_working(ENTROPY);
	end(GUEST_PASS);
}
