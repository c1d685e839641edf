// SPDX-License-Identifier: Apache-2.0
/*
 * A doorbell that the runner answers with an interrupt, both by eventfd: halted and running; a
 * storm of them; and calls to the monitor that are nearly the doorbell, which are the monitor's.
 */
#include "tests/cki/lib/guest.h"

static volatile unsigned int events;

static bool event(struct trap *t)
{
	check(t->frame.vector == CAISSON_VECTOR_EVENT);
	check(vcpu->events == 1ull << EVENT_BELL && take(EVENT_BELL));
	events++;
	return true;
}

static int64_t ring(uint64_t rdi, uint64_t rsi, uint64_t rdx)
{
	return hypercall(CAISSON_CALL_MONITOR, rdi, rsi, rdx, NULL);
}

void main(void)
{
	on_trap = event;
	check(ring(MONITOR_BELL, BELL_RSI, BELL_RDX + 1) == -38);
	check(ring(MONITOR_BELL, BELL_RSI - 1, BELL_RDX) == -38);
	check(ring(MONITOR_BELL + (1ull << 32), BELL_RSI, BELL_RDX) == -38);
	check(events == 0);
	for (unsigned int i = 1; i <= 1000; i++) {
		check(ring(MONITOR_BELL, BELL_RSI, BELL_RDX) == 0);
		if (i & 1)
			halt_until(events >= i);
		while (events < i)
			__asm__ volatile("pause");
		check(events == i);
	}
	for (unsigned int i = 0; i < 20000; i++)
		check(ring(MONITOR_BELL, BELL_RSI, BELL_RDX) == 0);
	while (events < 1001)
		__asm__ volatile("pause");
}
