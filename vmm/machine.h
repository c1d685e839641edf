/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine: what the command asks the monitor to run, in full.  It is made by
 * the command (as root, from checked configuration), handed to caisson-vmm in a
 * memfd, and names inherited descriptors by their numbers.
 */
#ifndef CAISSON_MACHINE_H
#define CAISSON_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/msg.h"
#include "lib/spec.h"

struct machine_disk {
	char *serial; /* at most 20 bytes (virtio-blk) */
	int32_t fd;
	bool readonly;
};

struct machine_nic {
	int32_t tap_fd; /* with vnet header */
	uint8_t mac[6];
	uint32_t mtu;
};

/* A PCI function of the host's that the guest drives itself (engines kvm and cki). */
struct machine_function {
	char *name; /* its address on the host, for messages: "0000:3b:00.1" */
	/* VFIO's descriptor of the device, in an IOMMU domain that maps the guest's memory_fd, and
	 * nothing else, at IOVA = guest-physical: as vmm/mem/layout.h places it, on engine cki
	 * where the host has it.  The lender did that and keeps a descriptor; the monitor maps
	 * nothing for DMA. */
	int32_t device_fd;
	uint8_t mac[6]; /* which of the sandbox's interfaces it is */
};

struct machine_share { /* shows up in the guest as entry "N" of the export SPEC_SHARES_TAG */
	char *source;
	bool readonly, is_dir, recursive;
};

struct machine {
	char *id;     /* of the sandbox, for messages */
	char *engine; /* a name, never "auto" */
	char *kernel, *initrd;
	char *cmdline; /* added to the engine's own kernel command line */
	uint32_t vcpus;
	uint64_t memory; /* bytes */
	bool hugepages;	 /* back it with 2 MiB pages of hugetlbfs (engine kvm) */
	/* A memfd of `memory` bytes of zeros that is lent to be the guest's RAM (mem_init_lent();
	 * engine kvm); -1: the monitor makes its own. */
	int32_t memory_fd;
	/* Lent memory may grow while the guest runs: memory_fd then has memory_max bytes (0: it
	 * does not grow), and the lender says on growth_fd how much of what is behind `memory` is
	 * zeroed, mapped for the functions, and the guest's from now on (vmm/growth.h); -1: it
	 * never does. */
	uint64_t memory_max;
	int32_t growth_fd;
	struct machine_function *functions; /* with these, memory_fd is not -1 */
	uint32_t functions_n;
	struct machine_disk *disks;
	uint32_t disks_n;
	struct machine_nic *nics;
	uint32_t nics_n;
	struct machine_share *shares;
	uint32_t shares_n;
	bool serve_shares; /* a file server, though there may be nothing to serve yet */

	/* Empty directory, writable by root only, on which the jail's root is mounted (in a mount
	 * namespace of its own: nothing shows on the host). */
	char *jail_dir;

	int32_t listen_fd;   /* where clients connect */
	int32_t status_fd;   /* one sentence is written here if the machine fails to start */
	int32_t lifeline_fd; /* end of file before a byte: the command died; give up */
	int32_t log_fd;	     /* why a machine ended, and the tail of its console */
	int32_t timeline_fd; /* -1: none */
	uint32_t boot_timeout_ms;
	struct spec_sandbox sandbox; /* sent to the agent when it is ready */
};

void machine_codec(struct msg *m, struct machine *x);

/* Descriptor on which caisson-vmm finds the encoded machine. */
#define MACHINE_FD 3

#endif
