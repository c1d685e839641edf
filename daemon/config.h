/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon's configuration: /etc/caisson/slots.json; docs/slots.md lists its keys. */
#ifndef CAISSON_DAEMON_CONFIG_H
#define CAISSON_DAEMON_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/slot.h"
#include "lib/error.h"
#include "lib/msg.h"

#define CONFIG_FILE "/etc/caisson/slots.json"
#define CONFIG_DIRECTORY "/run/caissond"
#define CONFIG_CLIENTS_MAX 16u
#define CONFIG_THREADS_MAX 64u

struct daemon_config {
	char *directory;      /* state, socket and metrics, unless they say otherwise */
	char *socket;	      /* where clients connect */
	char *metrics;	      /* file for a Prometheus textfile collector */
	uint32_t threads;     /* that prepare slots, at once */
	uint32_t cpu;	      /* per cent of one CPU they may take when nobody waits; 0: all */
	bool hugepages;	      /* of slots that do not say, and of those on demand */
	uint64_t on_demand;   /* bytes that may be made for who finds none ready */
	bool lazy_functions;  /* opened and reset only when they are taken */
	bool lazy_memory;     /* made, zeroed and mapped only when it is taken */
	enum vfio_kind iommu; /* how functions are opened and mapped */
	char *engine;	      /* whose guests the slots are for: "kvm", "cki" */
	/* Memory is where the host has it: in order, as far as can be, and mapped so. */
	bool in_place;
	uint32_t return_ms; /* how long a function may take to come back until quarantine */
	uint32_t uids[CONFIG_CLIENTS_MAX], uids_n; /* who may connect, besides root */
	struct slot *slots; /* configured, target, hugepages, function: the rest is zero */
	uint32_t slots_n;
	struct msg_chunk *arena;
};

/* path NULL: CONFIG_FILE.  0 or -errno with a sentence that names file, key and value. */
int daemon_config_read(struct daemon_config *ret, const char *path, struct error *err);
void daemon_config_free(struct daemon_config *c);

#endif
