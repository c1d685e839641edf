/* SPDX-License-Identifier: Apache-2.0 */
/* Configuration space as a guest gets to it. */
#ifndef CAISSON_TESTS_GUEST_PCI_PORT_H
#define CAISSON_TESTS_GUEST_PCI_PORT_H

#include "tests/guest/lib/guest.h"
#include "tests/guest/lib/pci.h"

#define PORT_ADDRESS 0xcf8
#define PORT_DATA 0xcfc
#define TOY (0x80000000u | 1u << 11)

static inline void out16(uint16_t port, uint16_t value)
{
	__asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port) : "memory");
}
static inline void out32(uint16_t port, uint32_t value)
{
	__asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port) : "memory");
}
static inline uint16_t in16(uint16_t port)
{
	uint16_t value;

	__asm__ volatile("inw %1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}
static inline uint32_t in32(uint16_t port)
{
	uint32_t value;

	__asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}

/* address: as written to PORT_ADDRESS, TOY + a register's offset. */
static inline uint32_t config_read(uint32_t address)
{
	out32(PORT_ADDRESS, address);
	return in32(PORT_DATA);
}
static inline void config_write(uint32_t address, uint32_t value)
{
	out32(PORT_ADDRESS, address);
	out32(PORT_DATA, value);
}

/* Where the toy's window is. */
static inline uint64_t toy_bar(unsigned int n)
{
	return config_read(TOY + 0x10 + 4 * n) & ~0xfu;
}

#endif
