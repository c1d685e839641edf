/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the guest is told: the sandbox, the containers in it and the processes in
 * those, after the host has read, checked and resolved the OCI configuration.
 * The host encodes these structures, the agent decodes them (lib/msg.h); numbers
 * are Linux's own (MS_*, CLONE_*, RLIMIT_*, CAP_* bit numbers), so the agent
 * looks nothing up.
 *
 * Trust: in the agent they come from the host, which it has to believe; on the
 * host nothing in them comes from the guest.
 */
#ifndef CAISSON_SPEC_H
#define CAISSON_SPEC_H

#include "lib/msg.h"

enum spec_caps {
	CAPS_BOUNDING,
	CAPS_EFFECTIVE,
	CAPS_INHERITABLE,
	CAPS_PERMITTED,
	CAPS_AMBIENT,
	CAPS_SETS
};

struct spec_rlimit {
	uint32_t resource; /* RLIMIT_* */
	uint64_t soft, hard;
};

struct spec_process {
	bool terminal;
	uint16_t rows, columns; /* 0: the guest's default */
	struct strv args;	/* at least one */
	struct strv env;	/* NAME=value */
	char *cwd;		/* absolute; made if missing, as crun and runc do */
	uint32_t uid, gid;
	uint32_t *gids; /* supplementary */
	uint32_t gids_n;
	uint32_t umask; /* UINT32_MAX: leave the default 022 */
	uint64_t caps[CAPS_SETS];
	struct spec_rlimit *rlimits;
	uint32_t rlimits_n;
	bool no_new_privileges;
	bool oom_score_adj_set;
	int32_t oom_score_adj;
	struct blob seccomp;	/* an array of struct sock_filter; empty: none */
	uint32_t seccomp_flags; /* SECCOMP_FILTER_FLAG_* */
	uint32_t extra_fds;	/* --preserve-fds: streams 3..3+n-1 become fds 3.. */
};

struct spec_mount {
	char *source;	      /* device or name given to mount(2); NULL with a share */
	char *destination;    /* in the container, absolute; symbolic links resolve inside it */
	char *type;	      /* filesystem type; "bind" with a share */
	uint64_t flags;	      /* MS_* without propagation */
	uint64_t propagation; /* MS_SHARED, MS_SLAVE, MS_PRIVATE, MS_UNBINDABLE [| MS_REC], or 0 */
	char *data;	      /* options for the filesystem */
	int32_t share;	      /* index of the host directory or file in the shares; -1: none */
	bool share_is_dir;
	bool copy_up; /* tmpcopyup: a tmpfs that starts with what the image has there */
};

struct spec_device {
	char *path;    /* absolute, in the container */
	uint32_t mode; /* S_IFCHR, S_IFBLK or S_IFIFO | permissions */
	uint32_t major, minor;
	uint32_t uid, gid;
};

struct spec_pair {
	char *key, *value;
};

/* Instead of a limit. */
#define SPEC_LIMIT_UNSET (-1) /* not given: stays as it is */
#define SPEC_LIMIT_NONE (-2)  /* no limit: "max" */

/* Limits of the container's cgroup v2 inside the guest; a weight of 0 is unset. */
struct spec_resources {
	int64_t memory_max, memory_low, memory_swap_max; /* bytes */
	int64_t pids_max;
	int64_t cpu_quota_us, cpu_period_us;
	uint64_t cpu_weight;	   /* 1..10000 */
	struct spec_pair *unified; /* file name, content */
	uint32_t unified_n;
};

struct spec_rootfs {
	char *lower_serial;  /* serial number of the disk with the erofs image; NULL: lower_share */
	int32_t lower_share; /* else the share that is the image */
	char *scratch_serial; /* disk for what the container writes; NULL: tmpfs */
	uint64_t upper_size;  /* bytes, limit of that tmpfs; 0: half of the guest's memory */
	bool readonly;
	uint64_t propagation; /* rootfsPropagation, MS_*; 0: private */
};

struct spec_container {
	char *id;
	char *hostname;	  /* NULL: keep */
	char *domainname; /* NULL: keep */
	uint64_t unshare; /* CLONE_NEWPID, NEWIPC, NEWUTS, NEWCGROUP, NEWNET: new ones besides
			     NEWNS, which every container has; else it has the guest's own */
	char *pid_of;	  /* container whose pid namespace it has instead; NULL: none */
	struct spec_rootfs rootfs;
	struct spec_mount *mounts;
	uint32_t mounts_n;
	struct spec_device *devices;
	uint32_t devices_n;
	struct spec_pair *sysctl;
	uint32_t sysctl_n;
	struct strv masked_paths, readonly_paths;
	struct spec_resources resources;
	struct spec_process process;
};

struct spec_address {
	uint8_t family; /* AF_INET, AF_INET6 */
	uint8_t prefix;
	uint8_t addr[16];
	uint8_t broadcast[16]; /* AF_INET only; zero: none */
	uint32_t flags; /* IFA_F_* that IPAM set and a guest may take over, e.g. IFA_F_NODAD */
	uint8_t scope;	/* RT_SCOPE_* */
};

struct spec_route {
	uint8_t family;
	uint8_t dst_prefix; /* 0: default route */
	uint8_t dst[16];
	bool has_gateway, has_source;
	uint8_t gateway[16], source[16];
	uint32_t metric, mtu;
	uint8_t scope, protocol, type; /* RT_SCOPE_*, RTPROT_*, RTN_* */
	uint32_t flags;		       /* RTNH_F_ONLINK or 0 */
};

struct spec_neighbour { /* a permanent entry */
	uint8_t family;
	uint8_t addr[16];
	uint8_t mac[6];
};

struct spec_nic {
	char *name; /* as in the namespace on the host */
	uint8_t mac[6];
	uint32_t mtu;
	bool late; /* its driver may bring it when containers run already: it is not waited for */
	struct spec_address *addresses;
	uint32_t addresses_n;
	struct spec_route *routes; /* in the order they must be added */
	uint32_t routes_n;
	struct spec_neighbour *neighbours;
	uint32_t neighbours_n;
};

/* How the host's directories reach the guest: what to mount, with tag SPEC_SHARES_TAG. */
enum spec_shares { SPEC_SHARES_NONE, SPEC_SHARES_9P, SPEC_SHARES_VIRTIOFS, SPEC_SHARES_KINDS };

struct spec_sandbox {
	char *hostname;
	int64_t realtime_ns; /* the host's CLOCK_REALTIME: the guest may have no clock */
	uint8_t entropy[32]; /* credited to the guest's random pool: early boot has none */
	uint8_t shares;	     /* enum spec_shares */
	struct spec_nic *nics;
	uint32_t nics_n;
	uint32_t network_wait_ms; /* how long the start of a container waits for late nics to be up
				     before it fails; 0: it does not wait */
};

/* Mount tag of the one export that carries every host directory and file: entry "N" in it is
 * share number N. */
#define SPEC_SHARES_TAG "caisson"

void spec_process_codec(struct msg *m, struct spec_process *p);
void spec_container_codec(struct msg *m, struct spec_container *c);
void spec_sandbox_codec(struct msg *m, struct spec_sandbox *s);
void spec_resources_codec(struct msg *m, struct spec_resources *r);
/* Decode only: refuses what no host of ours sends (empty args, relative cwd, a share index below
 * -1, an unknown kind of shares); sets m->broken. */

#endif
