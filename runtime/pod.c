// SPDX-License-Identifier: Apache-2.0
#include "runtime/pod.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/timeline.h"
#include "lib/wire.h"
#include "runtime/client.h"
#include "runtime/sandbox.h"
#include "runtime/share.h"

/* How long the guest may take to end and forget a container whose proxy is gone, however it
 * answers. */
#define LEAVE_TIMEOUT_MS 10000
#define LEAVE_PAUSE_US 10000
#define SHARE_NUMBER_MAX 1000000u

/* A namespace of the sandbox is known by that of its proxy. */
static int check_namespace(const struct spec_pair *ns, const struct state *sandbox,
			   struct error *err)
{
	/* The specification's names are those of /proc but for two. */
	const char *name = strcmp(ns->key, "network") == 0 ? "net"
			   : strcmp(ns->key, "mount") == 0 ? "mnt"
							   : ns->key;
	struct stat given, its;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/%s", sandbox->init.pid, name);
	if (stat(ns->value, &given) < 0)
		return error_errno(err, "%s namespace '%s'", ns->key, ns->value);
	if (stat(path, &its) < 0)
		return error_errno(err, "the %s namespace of sandbox '%s'", ns->key, sandbox->id);
	if (given.st_dev != its.st_dev || given.st_ino != its.st_ino)
		return error_set(err, EINVAL, "%s namespace '%s' is not that of sandbox '%s'",
				 ns->key, ns->value, sandbox->id);
	return 0;
}

static int check_namespaces(const struct config *c, const struct state *sandbox, struct error *err)
{
	for (uint32_t i = 0; i < c->joined_n; i++)
		if (check_namespace(&c->joined_paths[i], sandbox, err) < 0)
			return -err->code;
	if (c->netns_set && !c->netns_path)
		return error_set(err, EOPNOTSUPP,
				 "a member of a pod has the network of its sandbox '%s', not a new "
				 "one",
				 sandbox->id);
	return 0;
}

static int check_alive(const struct state *sandbox, struct error *err)
{
	enum state_status s = state_status(sandbox);

	if (s != STATUS_RUNNING && s != STATUS_CREATED)
		return error_set(err, EINVAL, "it is %s", state_status_name(s));
	if (sandbox->sandbox)
		return error_set(err, EINVAL, "it is itself a member of '%s'", sandbox->sandbox);
	return 0;
}

/* Numbers are never used twice: a guest may still have the old one open. */
static int reserve(struct container *sandbox, int dir_fd, struct state *own, uint32_t n,
		   struct error *err)
{
	if (sandbox->state.shares_next + n > SHARE_NUMBER_MAX)
		return error_set(err, ENOSPC, "it has had %u shares: too many",
				 sandbox->state.shares_next);
	own->shares_first = sandbox->state.shares_next;
	own->shares_n = n;
	sandbox->state.shares_next += n;
	if (state_write(sandbox->dir_fd, &sandbox->state, err) < 0)
		return -err->code;
	return state_write(dir_fd, own, err);
}

static int attach_all(const struct container *sandbox, const struct state *own,
		      const struct config *c, int image_fd, struct error *err)
{
	const struct share_source image = {.fd = image_fd, .readonly = true};
	pid_t server = share_server(&sandbox->state.monitor, err);

	if (server < 0)
		return server;
	for (uint32_t i = 0; i < c->shares_n; i++) {
		const struct share_source s = {
			.path = c->shares[i].source,
			.readonly = c->shares[i].readonly,
			.recursive = c->shares[i].recursive,
		};

		if (share_attach(server, own->shares_first + i, &s, err) < 0)
			return -err->code;
	}
	return share_attach(server, own->shares_first + c->shares_n, &image, err);
}

/* What was numbered from 0 has the sandbox's numbers now. */
static void renumber(struct config *c, const struct state *own, const struct state *sandbox)
{
	struct spec_container *ct = &c->container;

	for (uint32_t i = 0; i < ct->mounts_n; i++)
		if (ct->mounts[i].share >= 0)
			ct->mounts[i].share += (int32_t)own->shares_first;
	ct->rootfs.lower_serial = NULL;
	ct->rootfs.lower_share = (int32_t)(own->shares_first + c->shares_n);
	if (c->joined & CLONE_NEWPID)
		ct->pid_of = arena_strdup(&c->arena, sandbox->id);
}

static int join(struct container *sandbox, int dir_fd, struct state *own, struct config *c,
		int image_fd, struct error *err)
{
	char path[PATH_MAX];

	if (check_alive(&sandbox->state, err) < 0 || check_namespaces(c, &sandbox->state, err) < 0)
		return -err->code;
	snprintf(path, sizeof(path), "../%s/agent.sock", sandbox->state.id);
	if (symlinkat(path, dir_fd, "agent.sock") < 0)
		return error_errno(err, "link 'agent.sock'");
	if (reserve(sandbox, dir_fd, own, c->shares_n + 1, err) < 0 ||
	    attach_all(sandbox, own, c, image_fd, err) < 0)
		return -err->code;
	renumber(c, own, &sandbox->state);
	return 0;
}

static int open_sandbox(struct container *ret, const char *root, const char *id,
			const struct config *c, bool lock, struct error *err)
{
	if (state_check_id(c->sandbox, err) < 0 || strcmp(c->sandbox, id) == 0)
		return error_set(err, EINVAL, "'%.100s' is not the id of a sandbox", c->sandbox);
	return container_open(ret, root, c->sandbox, lock, err) < 0 ? error_wrap(err, "sandbox")
								    : 0;
}

int pod_engine(const char *root, const char *id, struct config *c, char **ret, struct error *err)
{
	struct container sandbox;

	if (open_sandbox(&sandbox, root, id, c, false, err) < 0)
		return -err->code;
	*ret = arena_strdup(&c->arena, sandbox.state.engine);
	container_done(&sandbox);
	return *ret ? 0 : error_set(err, ENOMEM, "out of memory");
}

int pod_join(const char *root, int dir_fd, struct state *own, struct config *c, int image_fd,
	     struct error *err)
{
	struct container sandbox;
	int rc;

	if (open_sandbox(&sandbox, root, own->id, c, true, err) < 0)
		return -err->code;
	own->sandbox = arena_strdup(&own->arena, c->sandbox);
	rc = join(&sandbox, dir_fd, own, c, image_fd, err);
	container_done(&sandbox);
	return rc < 0 ? error_wrap(err, "sandbox '%s'", c->sandbox) : 0;
}

/* As long as it answers for the container, the container is there. */
static void wait_forgotten(int dir_fd, const struct state *own)
{
	struct wire_target target = {.container = own->id};
	uint64_t now = monotonic_ns(), until = now + LEAVE_TIMEOUT_MS * 1000000ull;
	struct error ignored;

	for (; now < until; now = monotonic_ns()) {
		_cleanup_free_ char *text = NULL;
		struct msg m;
		int rc;

		msg_init_encode(&m);
		wire_target_codec(&m, &target);
		rc = client_call_within(dir_fd, WIRE_PS, &m, (int)((until - now) / 1000000) + 1,
					&text, &ignored);
		msg_done(&m);
		if (rc < 0 && rc != -ESRCH)
			return;
		usleep(LEAVE_PAUSE_US);
	}
}

int pod_leave(const char *root, int dir_fd, const struct state *own, struct error *err)
{
	struct container sandbox;
	pid_t server;
	int rc = 0;

	if (container_open(&sandbox, root, own->sandbox, false, err) < 0)
		return err->code == ENOENT ? 0 : -err->code;
	if (state_process_alive(&sandbox.state.monitor)) {
		wait_forgotten(dir_fd, own);
		server = share_server(&sandbox.state.monitor, err);
		if (server > 0)
			rc = share_detach(server, own->shares_first, own->shares_n, err);
		/* It may have ended meanwhile, with its shares. */
		if (!state_process_alive(&sandbox.state.monitor))
			rc = 0;
	}
	container_done(&sandbox);
	return rc;
}
