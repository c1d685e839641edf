/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The jail: what a process of the sandbox can still see and do on the host.
 *
 * Its root is an empty read-only tmpfs in a mount namespace of its own, with only
 * what is named here bound into it; its user id is one that no other process on the
 * machine has while it lives; no capability (but those that serving host
 * directories takes, if there are any), no_new_privs, and it dies with its parent.
 */
#ifndef CAISSON_JAIL_H
#define CAISSON_JAIL_H

#include <stdbool.h>
#include <sys/types.h>

#include "lib/error.h"
#include "vmm/machine.h"

struct jail_bind {
	const char *host; /* path of a file or directory on the host */
	const char
		*name; /* where it shows in the jail, "/usr"; its directory must be "/" or "/dev" */
	bool optional; /* not an error when the host has none */
	bool writable; /* a device node */
};

/* What a process in the jail may do besides nothing; each more than the one before. */
enum jail_caps {
	JAIL_NO_CAPS,
	JAIL_FILE_CAPS,	 /* act as any owner on files: QEMU's 9p server */
	JAIL_USER_CAPS,	 /* and become any user: virtiofsd */
	JAIL_SETUP_CAPS, /* and change its root and give up capabilities, when it starts */
};

struct jail {
	const char *dir; /* empty directory to mount the root on */
	const struct jail_bind *binds;
	unsigned int binds_n;
	const struct machine_share *shares; /* bound as /shares/0, /shares/1, ... */
	unsigned int shares_n;
	uid_t uid; /* also the group */
	bool proc; /* a /proc with its own processes only; the caller is in a pid namespace */
	enum jail_caps caps; /* kept; JAIL_NO_CAPS for whoever serves no files */
};

/*
 * An id for the calling process.  0x70000000.. belong to no one on a Debian system (systemd's
 * UIDS-GIDS table leaves them unused); one per pid is unique among living processes.  The pid is
 * the one that /proc shows, since in a pid namespace of its own a process does not know it.
 */
int jail_uid(uid_t *ret, struct error *err);

/* fork(2) into new mount, pid, ipc, uts and net namespaces; -1 and errno. */
pid_t jail_clone(int *ret_pidfd);

/*
 * Enters the jail: for a process that is single-threaded, root, and already in a mount namespace
 * of its own (whose other mounts vanish for it).  On error the process must exit.
 */
int jail_enter(const struct jail *j, struct error *err);

/*
 * Last of all, since a change of user undoes it: the process dies with its parent.  pipe_fd: the
 * end to write of a pipe that only the parent reads, which tells if it has died before.
 */
int jail_die_with_parent(int pipe_fd, struct error *err);

/*
 * Only the last part of it: becomes `uid` (and the group of that number) with no capability but
 * those of `caps`, and no_new_privs.
 */
int jail_drop(uid_t uid, enum jail_caps caps, struct error *err);

#endif
