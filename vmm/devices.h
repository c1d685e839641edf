/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine's devices: one table, the same on every engine of ours.
 *
 * Each device is a virtio-mmio window (vmm/virtio/mmio.h) and an interrupt line.
 * The windows lie one after the other from DEVICES_AT in the memory hole; the
 * guest's kernel is told of them on its command line, since it has no ACPI:
 *
 *	order	device		line
 *	0	console, agent	DEVICES_FIRST_LINE
 *	1..	disks		one each, going up; after the last line comes the first
 *	then	interfaces	again: they share it
 *	then	entropy
 *	then	balloon, or, if the memory is lent and may grow, that by which it does
 *	last	the shares' file system, if there are any
 *
 * The devices' work is done by one I/O thread (vmm/io.h); their registers are
 * accessed by the vCPU threads.
 */
#ifndef CAISSON_DEVICES_H
#define CAISSON_DEVICES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/confine.h"
#include "lib/error.h"
#include "vmm/fileserver.h"
#include "vmm/io.h"
#include "vmm/machine.h"
#include "vmm/mem/mem.h"
#include "vmm/virtio/mmio.h"

#define DEVICES_MAX 64u
#define DEVICES_AT 0xd0000000ull
/* Lines 0..4 belonged to timer, keyboard, cascade and serial ports: left alone. */
#define DEVICES_FIRST_LINE 5u
#define DEVICES_LINES 24u /* of the I/O APIC */

struct device_slot {
	struct virtio_mmio mmio;
	gpa_t at; /* VIRTIO_MMIO_WINDOW bytes */
	uint32_t line;
	int vhost_fd; /* an interface's /dev/vhost-net, or -1 */
};

struct devices {
	struct io io;
	struct fileserver fileserver;
	struct device_slot slots[DEVICES_MAX];
	unsigned int n;
	struct virtio_device *balloon; /* one of them; NULL: there is none */
	struct virtio_device *memory;  /* what the guest grows by; NULL: it does not */
};

/*
 * Makes the machine's devices: needs privileges, makes no thread.  The descriptors in `m` and the
 * two others (stream sockets: console text, agent frames) stay the caller's and outlive the
 * devices, as `mem` does.  On error nothing is left behind.
 */
int devices_init(struct devices *d, const struct machine *m, const struct mem *mem, int console_fd,
		 int agent_fd, struct error *err);
/* After devices_stop() and the end of the vCPU threads. */
void devices_done(struct devices *d);

/* The I/O thread, which confines itself before it does anything. */
int devices_start(struct devices *d, struct error *err);
void devices_stop(struct devices *d);

/*
 * On 0 nobody of us is at work for the guest: no request is begun or completed until
 * devices_resume().  What others have begun for it goes on (vhost fills the buffers that it posted,
 * a disk request in flight ends in memory).  -ETIMEDOUT: one does not come to rest, and all go on.
 * With the vCPUs paused; harmless when paused.
 */
int devices_pause(struct devices *d, int timeout_ms, struct error *err);
void devices_resume(struct devices *d);

/* Asks the guest to do with `bytes` of its memory.  -EOPNOTSUPP: there is no balloon. */
int devices_resize(struct devices *d, uint64_t bytes, struct error *err);

/* What the kernel is told of them, each with a blank before it.  -E2BIG. */
int devices_cmdline(const struct devices *d, char *buf, size_t size);

/* A guest's access to `at`, of 1, 2, 4 or 8 bytes; any thread.  Where no device is nothing happens:
 * what is in `data` is what the guest reads. */
void devices_mmio(struct devices *d, gpa_t at, void *data, uint32_t size, bool write);

/* System calls that devices_mmio() takes: for the filters of vCPU threads. */
extern const struct confine_call devices_vcpu_calls[];
extern const size_t devices_vcpu_calls_n;

#endif
