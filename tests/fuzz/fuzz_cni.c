// SPDX-License-Identifier: Apache-2.0
/*
 * What caisson-cni reads: a network configuration with each command, a result (of an IPAM plugin,
 * or as prevResult), an owner's name.  What is refused must come with one sentence and a CNI error
 * code.
 */
#include <stdlib.h>
#include <string.h>

#include "cni/netconf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
	if (!ok)
		abort();
}

static void check_config(enum cni_command command, const char *text, size_t size)
{
	struct attachment a;
	struct request r;
	struct error err = {0};
	char owner[512];

	setenv("CNI_COMMAND", cni_commands[command], 1);
	if (request_parse(&r, text, size, &err) < 0) {
		check(err.code >= 1 && err.code <= 7 && *err.text && !strchr(err.text, '\n'));
	} else if (command != CNI_VERSION) {
		check(r.conf.name && *r.conf.name && r.conf.vf.vlan < 4095 && r.conf.vf.qos < 8);
		check(!(r.conf.vf.has & VF_MAC) || !(r.conf.vf.mac[0] & 1));
		check(request_owner(&r, owner, sizeof(owner), &err) == 0);
		check(request_owner_parse(&r, owner, &a));
		check(!strcmp(a.container, r.container) && !strcmp(a.ifname, r.ifname));
	}
	request_done(&r);
}

static void check_result(const char *text, size_t size)
{
	static const struct result_made made = {.name = "eth0", .sandbox = "/n", .pci = "p"};
	struct msg_chunk *arena = NULL;
	struct error err = {0};
	struct doc d = {.arena = &arena, .name = "result", .err = &err};
	struct json_object *tree = doc_parse(&d, text, size), *out;
	struct result r;

	result_read(&d, tree, &r);
	for (uint32_t i = 0; i < r.ips_n && !d.rc; i++)
		check(r.ips[i].prefix <= 128);
	for (int v = 0; v < CNI_VERSIONS && !d.rc; v++) {
		out = result_write((enum cni_version)v, &r, &made, r.dns);
		json_object_put(out);
	}
	json_object_put(tree);
	arena_done(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* CNI_ARGS is what comes before the first line's end. */
	const char *text = (const char *)data, *end = memchr(data, '\n', size);
	char args[256] = "";
	size_t n = end ? (size_t)(end - text) : 0;

	if (n && n < sizeof(args)) {
		memcpy(args, text, n);
		text += n + 1;
		size -= n + 1;
	}
	setenv("CNI_ARGS", args, 1);
	setenv("CNI_CONTAINERID", "c1", 1);
	setenv("CNI_IFNAME", "eth0", 1);
	setenv("CNI_NETNS", "/n", 1);
	for (int c = 0; c < CNI_COMMANDS; c++)
		check_config((enum cni_command)c, text, size);
	check_result(text, size);
	return 0;
}
