/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file server: virtiofsd, which serves the machine's shares to the virtio-fs
 * device (vmm/virtio/fs.c) over a socket.
 *
 * A process of its own in a jail of its own: an empty root with /usr read-only and
 * the shares (vmm/jail.h), own pid, mount, net, ipc, uts namespaces, a uid of the
 * sandbox's, and file capabilities only.  Then it locks itself up further: its root
 * becomes the shares, capabilities that only this takes are dropped, and its own
 * seccomp filter comes into force.
 *
 * Trust: it answers the guest and is assumed to fall to it some day.
 */
#ifndef CAISSON_FILESERVER_H
#define CAISSON_FILESERVER_H

#include <sys/types.h>

#include "lib/error.h"
#include "vmm/machine.h"

struct fileserver {
	pid_t pid;
	int pidfd;
	int fd;	       /* stream socket: vhost-user */
	int stderr_fd; /* its last words */
};

#define FILESERVER_NONE ((struct fileserver){.pidfd = -1, .fd = -1, .stderr_fd = -1})

/* 0 when there is a virtiofsd, else -ENOENT and the sentence that says what to install. */
int fileserver_probe(struct error *err);

/*
 * Starts it for the shares of `m` (at least one), as user `uid`.  It may still be on its way, or
 * fail, when this returns: the first answer on `fd` tells, fileserver_explain() says more.
 */
int fileserver_start(const struct machine *m, uid_t uid, struct fileserver *ret, struct error *err);

/* Adds the server's last words, if there are any, to the sentence.  Returns -err->code. */
int fileserver_explain(struct fileserver *f, struct error *err);

/* Ends it now, so that nobody waits for its answer any more. */
void fileserver_kill(struct fileserver *f);
/* The same, and frees all; harmless on FILESERVER_NONE. */
void fileserver_done(struct fileserver *f);

#endif
