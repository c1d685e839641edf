/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leases: what caissond (daemon/) lends, and how it is asked.  docs/slots.md is the story.
 *
 * A slot is guest memory that is zeroed and present, or a network card's virtual function that is
 * open and reset, or both with the memory mapped for the function's DMA at IOVA = guest-physical,
 * which is another for each engine.
 * A lease is one slot for one owner.  Who may connect is asked by peer credentials; whoever may,
 * may everything.
 *
 * Socket: unix, SOCK_SEQPACKET, one packet per request and one per reply, in turn; a connection
 * may make any number of requests and is no part of a lease (closing it ends nothing).
 *
 * A lease has two sides:
 *
 *	owner	a free text that no other living lease has, made by whoever asks (a CNI plug-in:
 *		network, container and interface).  With `kept` the lease lasts until RELEASE, by id
 *		or by owner: nobody has to remember the id.  Without, the owner's side is over at
 *		once, and only the holder's side keeps the lease.
 *	holder	a process that may have the slot's descriptors: who called TAKE, then who it named
 *		with HOLD in its place (one at a time).  Without `kept`, who called LEASE is the
 *		holder from the start.
 *
 * The lease is over, and the slot goes back, when there is neither side any more; however often
 * RELEASE is said, a slot is not touched while its holder lives.  If the holder goes and a kept
 * lease remains, the slot is cleaned as if it had gone back, stays with its owner, and can be
 * taken again.
 *
 * Nothing relies on holders being honest: before it is lent again a function is proven to be open
 * nowhere, and memory is always replaced.
 */
#ifndef CAISSON_LEASE_H
#define CAISSON_LEASE_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/error.h"
#include "lib/msg.h"

/* Not below /run/caisson, where every directory is a container. */
#define LEASE_SOCKET "/run/caissond/caissond.sock"

/* Raised when a packet changes; both sides must agree. */
#define LEASE_VERSION 4

#define LEASE_PACKET_MAX 65536u
#define LEASE_ID_LEN 32u     /* hexadecimal digits, 128 random bits */
#define LEASE_OWNER_MAX 400u /* bytes; no control characters */
#define LEASE_NAME_MAX 31u   /* of what else is a name: addresses, interfaces */
#define LEASE_WAIT_MAX_MS 120000u
#define LEASE_FDS_MAX 3u

enum lease_op {
	LEASE_LEASE = 1,
	LEASE_TAKE,
	LEASE_HOLD,
	LEASE_RELEASE,
	LEASE_LIST,
	LEASE_DRAIN,
	LEASE_RETRY,
	LEASE_STATUS,
};

enum lease_state { /* of a slot; daemon/slot.h */
		   SLOT_COLD,
		   SLOT_PREPARING,
		   SLOT_READY,
		   SLOT_LEASED,
		   SLOT_DIRTY,
		   SLOT_QUARANTINED,
		   SLOT_STATES
};

const char *lease_state_name(uint8_t state);

/* A virtual function, as its host has it.  address "": none. */
struct lease_function {
	char address[LEASE_NAME_MAX + 1]; /* "0000:01:10.0" */
	char pf[LEASE_NAME_MAX + 1];	  /* the physical function's interface; "": it has none */
	uint32_t vf;			  /* its number there: IFLA_VF_* */
	uint8_t mac[6];			  /* zero: not known */
};

/* LEASE: one slot. */
struct lease_want {
	char *owner;
	bool function;	  /* with a virtual function */
	char *pf;	  /* of this physical function (interface or address); NULL: any */
	uint64_t memory;  /* bytes; 0 with a function: said at TAKE; else exactly this much */
	bool kept;	  /* until RELEASE */
	char *engine;	  /* that it is for; NULL: not known yet */
	uint32_t wait_ms; /* for a slot to be made ready; 0: take what is ready or nothing */
};

struct lease_grant {
	char id[LEASE_ID_LEN + 1];
	uint64_t memory; /* bytes that are prepared: TAKE of as much waits for nothing */
	struct lease_function function;
};

/* TAKE: the descriptors, which come with the reply. */
struct lease_taken {
	uint64_t memory; /* bytes; 0: no memory was asked for */
	bool hugepages;	 /* 2 MiB pages of hugetlbfs */
	struct lease_function function;
	uint64_t growth; /* bytes that come later */
	int memory_fd;	 /* memfd of both together, sealed against resizing; -1: none */
	int device_fd;	 /* VFIO device; -1: none */
	/*
	 * Pipe: each time more is zeroed, and mapped for the function as mem_growth() has it, eight
	 * bytes that say how much of growth there is now.  Its end: no more comes.  -1: none.
	 */
	int growth_fd;
};

#define LEASE_TAKEN_NONE ((struct lease_taken){.memory_fd = -1, .device_fd = -1, .growth_fd = -1})

/* LIST: one of them. */
struct lease_slot {
	uint32_t number;
	uint8_t state; /* enum lease_state */
	bool drained;
	bool hugepages;
	bool on_demand;	 /* made for one lease, gone with it */
	uint64_t memory; /* bytes */
	uint64_t growth; /* bytes that its holder is promised besides */
	uint64_t lent;	 /* times */
	int64_t since;	 /* CLOCK_REALTIME seconds of its last change of state */
	struct lease_function function;
	char *lease;	/* id; NULL: not leased */
	char *owner;	/* NULL: not leased */
	bool kept;	/* and not released yet */
	int32_t holder; /* pid; 0: none */
	char *iommu;  /* what its function was opened with: "type1", "iommufd"; NULL: nothing yet */
	char *reason; /* why it is quarantined, or could not be prepared; NULL: nothing to say */
};

struct lease_slots {
	struct lease_slot *v;
	uint32_t n;
	struct msg_chunk *arena; /* owns all of it: arena_done() */
};

struct lease_status {
	uint32_t pid;
	int64_t since; /* CLOCK_REALTIME seconds */
	bool draining; /* all of it */
	uint32_t slots[SLOT_STATES];
	uint32_t waiting;				  /* requests that are not answered yet */
	uint64_t granted, refused, returned, quarantined; /* since it was started */
};

/*
 * Connects; path NULL: LEASE_SOCKET.  -ENOENT or -ECONNREFUSED: there is no daemon.
 * Of all that follow: 0, or the daemon's code and sentence, or -EPIPE when it went away before it
 * answered, -ETIMEDOUT, -EPROTO.  After -EPIPE a LEASE may have been granted: RELEASE by owner, or
 * ask again (-EEXIST says that it was).
 */
int lease_connect(const char *path, struct error *err);

/*
 * -EAGAIN: none is free now, and none came within wait_ms.
 * -ENOENT: nothing like it is configured, or for another engine.  -EEXIST: the owner has a lease.
 */
int lease_lease(int fd, const struct lease_want *want, struct lease_grant *ret, struct error *err);

/*
 * The parts of a lease; the caller becomes the holder.  With another amount of memory than is
 * prepared this waits for it, at most wait_ms.  memory 0: the function alone.  max: what it is to
 * have at last, the rest of it while it is used; it and memory are as mem_growth() wants them
 * (vmm/mem/layout.h), or max is memory.
 * engine: that of the guest.
 * -ENOENT: no such lease.  -ENOTSUP: it is for another engine, or cannot grow.  -EBUSY: its parts
 * are with a process already.  -EAGAIN: it did not come in time, or what is to come is more than
 * may be made now.
 */
int lease_take(int fd, const char *id, const char *engine, uint64_t memory, uint64_t max,
	       uint32_t wait_ms, struct lease_taken *ret, struct error *err);
void lease_taken_done(struct lease_taken *t);

/* The process of that pidfd becomes the holder in the caller's place. */
int lease_hold(int fd, const char *id, int pidfd, struct error *err);

/* Ends the owner's side, by id or (id NULL) by owner.  0 also when there is no such lease. */
int lease_release(int fd, const char *id, const char *owner, struct error *err);

/* All slots, or (owner not NULL) those leased to that owner. */
int lease_list(int fd, const char *owner, struct lease_slots *ret, struct error *err);

/*
 * Slots that are lent no more, and when they are free hold nothing; and back.  what: a slot's
 * number, a function's address, a physical function's interface; NULL: all, and those to come.
 */
int lease_drain(int fd, const char *what, bool drain, struct error *err);
/* Lets a quarantined slot try to come back; `what` as above. */
int lease_retry(int fd, const char *what, struct error *err);

int lease_status(int fd, struct lease_status *ret, struct error *err);

/* --- what both sides are made of --- */

struct lease_head {
	uint16_t version;
	uint8_t op; /* a reply repeats it */
};

struct lease_request {
	struct lease_head head;
	char *id, *owner, *what, *engine;
	struct lease_want want;
	uint64_t memory, memory_max;
	uint32_t wait_ms, first;
	bool drain;
};

struct lease_reply {
	struct lease_head head;
	int32_t code; /* 0, or a positive errno value */
	char *text;   /* then the sentence; else NULL */
	struct lease_grant grant;
	struct lease_taken taken; /* without descriptors */
	struct lease_slot *slots;
	uint32_t slots_n;
	uint32_t next; /* LIST: ask again with first = next; 0: that was all */
	struct lease_status status;
};

/* Decode: refuses another version, an unknown operation, and what is longer than its bound. */
void lease_request_codec(struct msg *m, struct lease_request *r);
void lease_reply_codec(struct msg *m, struct lease_reply *r);

/* One packet with up to LEASE_FDS_MAX descriptors.  lease_recv: bytes, 0 at the end of file, or
 * -errno; descriptors that are not there are -1, more than there may be are closed. */
int lease_send(int fd, const struct msg *m, const int *fds, unsigned int fds_n);
int lease_recv(int fd, uint8_t buf[static LEASE_PACKET_MAX], int ret_fds[static LEASE_FDS_MAX]);
void lease_close_fds(int fds[static LEASE_FDS_MAX]);

#endif
