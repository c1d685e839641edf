/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state of a container on the host: ROOT/ID/ (ROOT is /run/caisson unless
 * --root says otherwise), mode 0700.
 *
 *	state.json    this structure, replaced atomically
 *	config.json   the configuration it was created from
 *	agent.sock    where clients of the sandbox connect (vmm/relay.h); of a pod's member a
 *	              symbolic link to its sandbox's
 *	vmm.log       why the machine ended, when not in order
 *	timeline      phases of the start (lib/timeline.h)
 *	lock          who is changing this container now
 *	jail/         empty; mount point in the jails' own mount namespaces
 *
 * The status is never stored where it can be seen: a container is stopped when its
 * process is gone, whoever killed it.
 */
#ifndef CAISSON_RUNTIME_STATE_H
#define CAISSON_RUNTIME_STATE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/error.h"
#include "lib/msg.h"
#include "lib/spec.h"

/* A process that may be gone and its pid taken by another: the start time tells. */
struct state_process {
	pid_t pid;	/* 0: none */
	uint64_t start; /* /proc/PID/stat field 22, clock ticks since boot */
};

struct state {
	char *id;
	char *bundle;	   /* absolute */
	char *oci_version; /* of the configuration */
	char *created;	   /* RFC 3339, UTC */
	char *engine;
	char *netns;	       /* path of the network namespace taken over; NULL: none */
	char *cgroup;	       /* as runtime/cgroup.h names it; NULL: none */
	char *sandbox;	       /* whose guest it is in: another container's; NULL: its own */
	uint32_t shares_first; /* a member's entries in the sandbox's shares */
	uint32_t shares_n;
	uint32_t shares_next; /* of a sandbox: the first number nobody has had */
	char *lease;	      /* id, of what caissond lends it; NULL: nothing */
	char *scope;	      /* the systemd unit that is that cgroup; NULL: none */
	bool started;	      /* `start` has succeeded */
	bool paused;
	bool terminal;
	struct state_process creator; /* the command that makes it, until init is known */
	struct state_process init;    /* the proxy: what the pid-file names */
	struct state_process monitor; /* caisson-vmm */
	struct spec_pair *annotations;
	uint32_t annotations_n;
	struct msg_chunk *arena; /* owns the strings */
};

enum state_status {
	STATUS_CREATING,
	STATUS_CREATED,
	STATUS_RUNNING,
	STATUS_PAUSED,
	STATUS_STOPPED,
};

/* 0, or -EINVAL with a sentence: not a name for a container ([A-Za-z0-9_+.-], not "." or ".."). */
int state_check_id(const char *id, struct error *err);

/* Opens ROOT/ID.  -ENOENT with "container 'ID' does not exist". */
int state_dir_open(const char *root, const char *id, struct error *err);
/* Makes ROOT/ID.  -EEXIST with "container 'ID' exists already". */
int state_dir_create(const char *root, const char *id, struct error *err);

/*
 * Takes the container's lock, waiting at most timeout_ms (-1: for ever); returns its descriptor.
 * With steal, a holder that keeps it longer is killed (SIGKILL): `delete --force` must not depend
 * on a process that hangs.
 */
int state_lock(int dir_fd, int timeout_ms, bool steal, struct error *err);

/* *ret is empty on error and must not be used; state_done() frees. */
int state_read(int dir_fd, struct state *ret, struct error *err);
int state_parse(struct state *ret, const char *json, size_t size, struct error *err);
int state_write(int dir_fd, const struct state *s, struct error *err);
void state_done(struct state *s);

enum state_status state_status(const struct state *s);
const char *state_status_name(enum state_status s);

/* The identity of a living process; start 0 when it is gone (or only a zombie is left). */
struct state_process state_process_of(pid_t pid);
bool state_process_alive(const struct state_process *p);
/* Sends a signal to exactly this process (pidfd).  0, or -ESRCH when it is gone. */
int state_process_signal(const struct state_process *p, int signal);
/* Children of its first thread, at most max of them; how many there are. */
unsigned int state_process_children(const struct state_process *p, pid_t *ret, unsigned int max);
/* Waits until it is gone; 0 or -ETIMEDOUT. */
int state_process_wait_gone(const struct state_process *p, int timeout_ms);

#endif
