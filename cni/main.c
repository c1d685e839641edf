// SPDX-License-Identifier: Apache-2.0
/*
 * caisson-cni: gives a pod a passthrough function from caissond (docs/cni.md).
 *
 * Run by container runtimes: the command in the environment, the network configuration on standard
 * input, one JSON document on standard output, which on failure is the error.  It keeps no state of
 * its own: the lease is caissond's, the addresses are the IPAM plugin's, and both are found by
 * network, container and interface.  So DEL and GC undo whatever an ADD left, wherever it died.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cni/function.h"
#include "cni/ipam.h"
#include "cni/placeholder.h"
#include "lib/cleanup.h"
#include "runtime/json.h"
#include "runtime/network.h"

#define _cleanup_namespace_ _cleanup_(network_namespace_leave)

static void print(struct json_object *o)
{
	printf("%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY |
								 JSON_C_TO_STRING_NOSLASHESCAPE));
}

static int enter(const struct request *r, int *ret_home, struct error *err)
{
	_cleanup_close_ int ns = network_namespace_open(r->netns, err);

	if (ns < 0)
		return cni_recode(err, -ns == EPERM ? CNI_ENVIRONMENT : CNI_CONTAINER_UNKNOWN);
	if (network_namespace_enter(ns, ret_home, err) < 0)
		return cni_recode(err, CNI_IO);
	return 0;
}

/* Early and for a clear sentence: nothing has been done yet. */
static int check_name_is_free(const struct request *r, struct error *err)
{
	_cleanup_namespace_ int home = -1;
	int rc = enter(r, &home, err);

	if (rc == 0)
		rc = placeholder_exists(r->ifname, err);
	if (rc == 1)
		return error_set(err, CNI_EXISTS,
				 "interface '%s' exists already in network namespace '%s'",
				 r->ifname, r->netns);
	return rc;
}

static struct placeholder placeholder_of(const struct request *r, const struct function *f)
{
	struct placeholder p = {.name = r->ifname, .mtu = f->mtu, .lease = f->lease};

	memcpy(p.mac, f->mac, sizeof(p.mac));
	return p;
}

static int make_placeholder(const struct request *r, const struct function *f,
			    const struct result *result, struct error *err)
{
	const struct placeholder p = placeholder_of(r, f);
	_cleanup_namespace_ int home = -1;

	if (enter(r, &home, err) < 0)
		return -err->code;
	return placeholder_add(&p, result, err);
}

static int say_result(const struct request *r, const struct function *f,
		      const struct result *result)
{
	struct result_made made = {
		.name = r->ifname, .sandbox = r->netns, .pci = f->at.address, .mtu = f->mtu};
	bool own_dns = r->conf.dns && json_object_object_length(r->conf.dns);
	_cleanup_json_ struct json_object *o = NULL;

	memcpy(made.mac, f->mac, sizeof(made.mac));
	o = result_write(r->conf.version, result, &made, own_dns ? r->conf.dns : result->dns);
	print(o);
	return 0;
}

static int add_with_function(struct request *r, struct function *f, struct error *err)
{
	_cleanup_json_ struct json_object *tree = NULL;
	struct error ignored = {0};
	struct result result;

	if (function_set_up(r, f, err) < 0)
		return -err->code;
	if (ipam_add(r, &result, &tree, err) == 0 && make_placeholder(r, f, &result, err) == 0)
		return say_result(r, f, &result);
	/* Also when its ADD failed: DEL is harmless, and who knows how far it came. */
	ipam_del(r, NULL, &ignored);
	return -err->code;
}

static int do_add(struct request *r, struct error *err)
{
	struct error ignored = {0};
	struct function f;

	if (check_name_is_free(r, err) < 0 || function_lease(r, &f, err) < 0)
		return -err->code;
	if (add_with_function(r, &f, err) < 0)
		function_return(r, &ignored);
	return -err->code;
}

static int remove_placeholder(const struct request *r, struct error *err)
{
	_cleanup_namespace_ int home = -1;

	/* A namespace that is gone took the interface with it; a path that now leads to the host's
	 * own (/proc/PID/ns/net of a PID that is somebody else's) is one that is gone. */
	if (!*r->netns)
		return 0;
	if (enter(r, &home, err) < 0) {
		if (err->code == CNI_IO)
			return -err->code;
		*err = (struct error){0};
		return 0;
	}
	return placeholder_remove(r->ifname, err);
}

/* The addresses last: nobody else gets them while the function might still be sending. */
static int do_del(struct request *r, struct error *err)
{
	if (remove_placeholder(r, err) < 0 || function_return(r, err) < 0)
		return -err->code;
	return ipam_del(r, NULL, err);
}

/* Of what the runtime remembers of ADD, what is about this interface. */
static int own_part(struct request *r, struct result *ret, const struct result_interface **ret_if,
		    struct error *err)
{
	const struct result *previous = &r->conf.previous;
	int32_t own = -1;

	if (!r->conf.has_previous)
		return error_set(err, CNI_CONFIG, "prevResult is missing");
	for (uint32_t i = 0; i < previous->interfaces_n; i++) {
		const struct result_interface *x = &previous->interfaces[i];

		if (x->sandbox && strcmp(x->name, r->ifname) == 0)
			own = (int32_t)i;
	}
	if (own < 0)
		return error_set(err, CNI_CONFIG, "prevResult has no interface '%s' in a sandbox",
				 r->ifname);
	*ret = *previous;
	*ret_if = &previous->interfaces[own];
	ret->ips_n = 0;
	ret->ips = arena_alloc(&r->conf.arena, (previous->ips_n + 1) * sizeof(*ret->ips));
	for (uint32_t i = 0; i < previous->ips_n && ret->ips; i++)
		if (previous->ips[i].interface < 0 || previous->ips[i].interface == own)
			ret->ips[ret->ips_n++] = previous->ips[i];
	return ret->ips ? 0 : error_set(err, CNI_IO, "out of memory");
}

static int do_check(struct request *r, struct error *err)
{
	const struct result_interface *made = NULL;
	struct placeholder p;
	struct result result;
	struct function f;

	if (own_part(r, &result, &made, err) < 0 || function_find(r, &f, err) < 0)
		return -err->code;
	if (!made->mac || !netconf_parse_mac(made->mac, f.mac))
		return error_set(err, CNI_CONFIG, "prevResult: '%.64s' is not a MAC",
				 made->mac ? made->mac : "");
	f.mtu = r->conf.mtu;
	p = placeholder_of(r, &f);
	if (function_check(r, &f, err) < 0)
		return -err->code;
	{
		_cleanup_namespace_ int home = -1;

		if (enter(r, &home, err) < 0 || placeholder_check(&p, &result, err) < 0)
			return -err->code;
	}
	return ipam_check(r, err);
}

static bool is_valid(const struct request *r, const struct attachment *a)
{
	for (uint32_t i = 0; i < r->conf.valid_n; i++)
		if (strcmp(r->conf.valid[i].container, a->container) == 0 &&
		    strcmp(r->conf.valid[i].ifname, a->ifname) == 0)
			return true;
	return false;
}

/* Goes on after a failure, which is told at the end. */
static int do_gc(struct request *r, struct error *err)
{
	struct attachment *all;
	struct error one;
	uint32_t n;

	if (function_attachments(r, &all, &n, err) < 0)
		return -err->code;
	for (uint32_t i = 0; i < n; i++) {
		one = (struct error){0};
		if (is_valid(r, &all[i]))
			continue;
		/* An IPAM plugin that knows no GC is told here of what we know is gone. */
		if (function_return_of(r, &all[i], &one) < 0 || ipam_del(r, &all[i], &one) < 0) {
			error_wrap(&one, "interface '%s' of container '%.128s'", all[i].ifname,
				   all[i].container);
			*err = one;
		}
	}
	one = (struct error){0};
	if (ipam_gc(r, &one) < 0)
		*err = one;
	return -err->code;
}

static int do_status(struct request *r, struct error *err)
{
	if (function_status(r, err) < 0)
		return -err->code;
	return ipam_status(r, err);
}

static int do_version(struct request *r, struct error *err)
{
	_cleanup_json_ struct json_object *o = json_object_new_object();
	struct json_object *list = json_object_new_array();

	(void)err;
	json_object_object_add(o, "cniVersion",
			       json_object_new_string(cni_versions[r->conf.version]));
	for (int i = 0; i < CNI_VERSIONS; i++)
		json_object_array_add(list, json_object_new_string(cni_versions[i]));
	json_object_object_add(o, "supportedVersions", list);
	print(o);
	return 0;
}

static void say_error(const struct request *r, const struct error *err)
{
	_cleanup_json_ struct json_object *o = json_object_new_object();

	json_object_object_add(o, "cniVersion",
			       json_object_new_string(cni_versions[r->conf.version]));
	json_object_object_add(o, "code", json_object_new_int(err->code));
	json_object_object_add(o, "msg", json_object_new_string(err->text));
	print(o);
}

static int run(struct request *r, struct error *err)
{
	static int (*const commands[CNI_COMMANDS])(struct request *, struct error *) = {
		[CNI_ADD] = do_add, [CNI_DEL] = do_del,	      [CNI_CHECK] = do_check,
		[CNI_GC] = do_gc,   [CNI_STATUS] = do_status, [CNI_VERSION] = do_version,
	};

	if (request_read(r, err) < 0)
		return -err->code;
	commands[r->command](r, err);
	if (!err->code)
		return 0;
	return error_wrap(err, "network '%s'", r->conf.name);
}

int main(void)
{
	struct error err = {0};
	struct request r;
	int rc = run(&r, &err);

	if (rc < 0)
		say_error(&r, &err);
	request_done(&r);
	return rc < 0 ? 1 : 0;
}
