/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The wire: frames between a client (the command, or the proxy that stands for a
 * container's process), the machine monitor, and the agent in the guest.
 *
 *	client --unix socket--> caisson-vmm --virtio-serial--> caisson-init
 *
 * The same frames travel on both legs.  A session is one client connection: the
 * monitor numbers it (1..) on the channel; on the client's own socket the field is
 * 0.  Session 0 on the channel is the monitor's own.  A session makes requests one
 * at a time, each answered by one WIRE_RESULT; a session that created a process
 * (WIRE_CREATE, WIRE_EXEC) also carries that process's streams and, last,
 * WIRE_EXITED.  When a client goes away the monitor sends WIRE_HANGUP, and the
 * agent kills the process of that session (with a container's init, the
 * container).
 *
 * Flow control: WIRE_DATA may be sent only against credit.  A receiver gives
 * credit for a stream in bytes with WIRE_CREDIT; every stream starts with
 * WIRE_WINDOW in each direction it is used.  So whoever relays never has to hold
 * more than WIRE_WINDOW per stream, and a peer that sends more is at fault:
 * a client is cut off, a guest is killed.
 *
 * All integers are little endian.
 */
#ifndef CAISSON_WIRE_H
#define CAISSON_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/msg.h"

/* Raised when a frame or a structure in lib/spec.h changes; both sides must agree. */
#define WIRE_VERSION 3

#define WIRE_HEADER_SIZE 12u
#define WIRE_PAYLOAD_MAX MSG_SIZE_MAX /* host to guest */
#define WIRE_GUEST_PAYLOAD_MAX 65536u /* guest to host: what the monitor accepts */
#define WIRE_DATA_MAX 32768u	      /* bytes in one WIRE_DATA */
#define WIRE_WINDOW 131072u	      /* initial credit per stream and direction */
#define WIRE_STREAMS_MAX 32u	      /* 0 stdin, 1 stdout, 2 stderr, 3.. preserved descriptors */

enum wire_type {
	/* Requests, host to guest; each is answered by WIRE_RESULT in the same session. */
	WIRE_SETUP = 1, /* spec_sandbox; once, first, in session 0 */
	WIRE_CREATE,	/* spec_container: everything but the exec of its process */
	WIRE_START,	/* wire_start: let that process go */
	WIRE_EXEC,	/* wire_exec: another process in a running container */
	WIRE_SIGNAL,	/* wire_signal */
	WIRE_FREEZE,	/* wire_freeze */
	WIRE_PS,	/* wire_target; text: a line per process, "PID CPU_MS RSS_KB NAME" */
	WIRE_UPDATE,	/* wire_update */
	WIRE_STATS,	/* wire_target; text: lines "FILE[.KEY] VALUE" of its control group */
	WIRE_SHUTDOWN,	/* no payload: kill everything, sync, unmount, power off */

	/* Requests to the monitor itself, with a WIRE_RESULT of its own; the guest never sees them.
	 */
	WIRE_MACHINE_PAUSE =
		24,	     /* no payload: the whole machine; EBUSY: it has several containers */
	WIRE_MACHINE_RESUME, /* no payload; EALREADY: it is not paused */
	WIRE_MACHINE_MEMORY, /* wire_machine_memory; EBUSY as above */

	/* Without an answer, host to guest. */
	WIRE_RESIZE = 32, /* wire_resize: the terminal of this session's process */
	WIRE_HANGUP,	  /* the client of this session is gone */

	/* Both ways.  `stream` is the stream number. */
	WIRE_DATA = 48, /* the bytes; no bytes: end of the stream */
	WIRE_CREDIT,	/* wire_credit */

	/* Guest to host. */
	WIRE_READY = 64, /* wire_ready; once, in session 0 */
	WIRE_RESULT,	 /* wire_result */
	WIRE_EXITED,	 /* wire_exited: this session's process; all its output came before */
};

struct wire_header {
	uint32_t size;	/* of the payload, in bytes */
	uint8_t type;	/* enum wire_type */
	uint8_t stream; /* WIRE_DATA, WIRE_CREDIT; else 0 */
	uint16_t zero;	/* must be 0 */
	uint32_t session;
};

struct wire_ready {
	uint32_t version;
	uint64_t uptime_us; /* of the guest kernel when the agent got to talk */
};

struct wire_result {
	int32_t code; /* 0, or a positive errno value */
	char *text;   /* the error's sentence, or the answer; may be NULL */
};

struct wire_exited {
	int32_t status; /* exit status 0..255 if signal is 0 */
	int32_t signal; /* signal that killed the process, or 0 */
	bool oom;	/* the guest's OOM killer took a process of the container */
};

struct wire_start {
	char *container;
};

struct wire_exec {
	char *container;
	/* then a spec_process */
};

struct wire_signal {
	char *container; /* NULL: the process of this session */
	int32_t signal;
	bool all; /* every process of the container, not only its first */
};

struct wire_freeze {
	char *container;
	bool frozen;
};

struct wire_target {
	char *container;
};

struct wire_update {
	char *container;
	/* then a spec_resources */
};

struct wire_resize {
	uint16_t rows, columns;
};

struct wire_machine_memory {
	uint64_t bytes; /* with how many the guest is to do */
};

struct wire_credit {
	uint32_t bytes;
};

void wire_header_encode(uint8_t out[static WIRE_HEADER_SIZE], const struct wire_header *h);
/* 0, or -EPROTO: unknown type, payload over payload_max, nonzero padding, stream out of range. */
int wire_header_decode(struct wire_header *ret, const uint8_t in[static WIRE_HEADER_SIZE],
		       uint32_t payload_max);
const char *wire_type_name(uint8_t type);

void wire_ready_codec(struct msg *m, struct wire_ready *x);
void wire_result_codec(struct msg *m, struct wire_result *x);
void wire_exited_codec(struct msg *m, struct wire_exited *x);
void wire_start_codec(struct msg *m, struct wire_start *x);
void wire_exec_codec(struct msg *m, struct wire_exec *x);
void wire_signal_codec(struct msg *m, struct wire_signal *x);
void wire_freeze_codec(struct msg *m, struct wire_freeze *x);
void wire_target_codec(struct msg *m, struct wire_target *x);
void wire_update_codec(struct msg *m, struct wire_update *x);
void wire_resize_codec(struct msg *m, struct wire_resize *x);
void wire_machine_memory_codec(struct msg *m, struct wire_machine_memory *x);
void wire_credit_codec(struct msg *m, struct wire_credit *x);

#endif
