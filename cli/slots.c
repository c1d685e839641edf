// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli/command.h"
#include "lib/lease.h"
#include "runtime/json.h"
#include "runtime/settings.h"

static const char *socket_path;
static bool json;

static const struct option options[] = {
	{"json", 'j', OPTION_FLAG, NULL, "for programs", &json},
	{"socket", 's', OPTION_STRING, "PATH", "caissond's socket, in place of the settings'",
	 &socket_path},
	{.name = NULL},
};

static int connect_daemon(const struct globals *g, struct error *err)
{
	struct settings s;
	int fd;

	if (socket_path)
		return lease_connect(socket_path, err);
	if (settings_load(&s, g->settings, err) < 0)
		return -err->code;
	fd = lease_connect(s.slots_socket, err);
	settings_done(&s);
	return fd;
}

static void put(struct json_object *j, const char *key, const char *text)
{
	if (text && *text)
		json_object_object_add(j, key, json_object_new_string(text));
}

static void mac_text(const struct lease_function *f, char ret[static 18])
{
	snprintf(ret, 18, "%02x:%02x:%02x:%02x:%02x:%02x", f->mac[0], f->mac[1], f->mac[2],
		 f->mac[3], f->mac[4], f->mac[5]);
}

static struct json_object *slot_json(const struct lease_slot *s)
{
	struct json_object *j = json_object_new_object(), *f;
	char mac[18];

	json_object_object_add(j, "number", json_object_new_int64(s->number));
	put(j, "state", lease_state_name(s->state));
	json_object_object_add(j, "drained", json_object_new_boolean(s->drained));
	json_object_object_add(j, "onDemand", json_object_new_boolean(s->on_demand));
	json_object_object_add(j, "memory", json_object_new_int64((int64_t)s->memory));
	json_object_object_add(j, "growth", json_object_new_int64((int64_t)s->growth));
	json_object_object_add(j, "hugepages", json_object_new_boolean(s->hugepages));
	json_object_object_add(j, "lent", json_object_new_int64((int64_t)s->lent));
	json_object_object_add(j, "since", json_object_new_int64(s->since));
	if (*s->function.address) {
		f = json_object_new_object();
		mac_text(&s->function, mac);
		put(f, "address", s->function.address);
		put(f, "pf", s->function.pf);
		json_object_object_add(f, "vf", json_object_new_int64(s->function.vf));
		put(f, "mac", mac);
		json_object_object_add(j, "function", f);
	}
	put(j, "lease", s->lease);
	put(j, "owner", s->owner);
	if (s->owner)
		json_object_object_add(j, "kept", json_object_new_boolean(s->kept));
	if (s->holder)
		json_object_object_add(j, "holder", json_object_new_int(s->holder));
	put(j, "iommu", s->iommu);
	put(j, "reason", s->reason);
	return j;
}

static void size_text(uint64_t bytes, char *ret, size_t size)
{
	if (!bytes)
		snprintf(ret, size, "-");
	else if (bytes % (1u << 20))
		snprintf(ret, size, "%" PRIu64 "K", bytes >> 10);
	else
		snprintf(ret, size, "%" PRIu64 "M", bytes >> 20);
}

static void since_text(int64_t since, char *ret, size_t size)
{
	int64_t s = time(NULL) - since;

	if (s < 120)
		snprintf(ret, size, "%" PRId64 "s", s < 0 ? 0 : s);
	else if (s < 7200)
		snprintf(ret, size, "%" PRId64 "m", s / 60);
	else
		snprintf(ret, size, "%" PRId64 "h", s / 3600);
}

static void show(const struct lease_slot *s)
{
	char memory[24], since[24], holder[16] = "-";

	size_text(s->memory, memory, sizeof(memory));
	since_text(s->since, since, sizeof(since));
	if (s->holder)
		snprintf(holder, sizeof(holder), "%d", s->holder);
	printf("%-5" PRIu32 " %-11s %-6s %-7s %-13s %-10s %-8s %s\n", s->number,
	       lease_state_name(s->state), since, memory,
	       *s->function.address ? s->function.address : "-",
	       *s->function.pf ? s->function.pf : "-", holder, s->owner ? s->owner : "-");
	size_text(s->growth, memory, sizeof(memory));
	if (s->growth)
		printf("      grows by %s\n", memory);
	if (s->iommu)
		printf("      DMA by %s\n", s->iommu);
	if (s->drained)
		printf("      drained\n");
	if (s->reason)
		printf("      %s\n", s->reason);
}

static int list(int fd, struct error *err)
{
	_cleanup_json_ struct json_object *all = NULL;
	struct lease_slots slots;

	if (lease_list(fd, NULL, &slots, err) < 0)
		return -err->code;
	if (json)
		all = json_object_new_array();
	else
		printf("%-5s %-11s %-6s %-7s %-13s %-10s %-8s %s\n", "SLOT", "STATE", "SINCE",
		       "MEMORY", "FUNCTION", "PF", "HOLDER", "OWNER");
	for (uint32_t i = 0; i < slots.n; i++) {
		if (all)
			json_object_array_add(all, slot_json(&slots.v[i]));
		else
			show(&slots.v[i]);
	}
	if (all)
		puts(json_object_to_json_string_ext(all, JSON_C_TO_STRING_PLAIN |
								 JSON_C_TO_STRING_NOSLASHESCAPE));
	arena_done(&slots.arena);
	return 0;
}

static int status(int fd, struct error *err)
{
	_cleanup_json_ struct json_object *j = json_object_new_object();
	struct json_object *states = json_object_new_object();
	struct lease_status s;

	if (lease_status(fd, &s, err) < 0) {
		json_object_put(states);
		return -err->code;
	}
	json_object_object_add(j, "pid", json_object_new_int64(s.pid));
	json_object_object_add(j, "since", json_object_new_int64(s.since));
	json_object_object_add(j, "draining", json_object_new_boolean(s.draining));
	json_object_object_add(j, "waiting", json_object_new_int64(s.waiting));
	json_object_object_add(j, "granted", json_object_new_int64((int64_t)s.granted));
	json_object_object_add(j, "refused", json_object_new_int64((int64_t)s.refused));
	json_object_object_add(j, "returned", json_object_new_int64((int64_t)s.returned));
	json_object_object_add(j, "quarantined", json_object_new_int64((int64_t)s.quarantined));
	for (uint8_t i = 0; i < SLOT_STATES; i++)
		json_object_object_add(states, lease_state_name(i),
				       json_object_new_int64(s.slots[i]));
	json_object_object_add(j, "slots", states);
	if (json) {
		puts(json_object_to_json_string_ext(j, JSON_C_TO_STRING_PLAIN));
		return 0;
	}
	json_object_object_foreach (j, key, value)
		if (!json_object_is_type(value, json_type_object))
			printf("%-12s %s\n", key, json_object_get_string(value));
	json_object_object_foreach (states, name, n)
		printf("%-12s %s\n", name, json_object_get_string(n));
	return 0;
}

static int run(const struct globals *g, unsigned int argc, char **argv, struct error *err)
{
	const char *what = argc ? argv[0] : "list", *of = argc > 1 ? argv[1] : NULL;
	_cleanup_close_ int fd = -1;

	if (strcmp(what, "list") != 0 && strcmp(what, "status") != 0 &&
	    strcmp(what, "drain") != 0 && strcmp(what, "undrain") != 0 &&
	    strcmp(what, "retry") != 0)
		return error_set(err, EINVAL, "'%s' is not list, status, drain, undrain or retry",
				 what);
	if (of && (*what == 'l' || *what == 's'))
		return error_set(err, EINVAL, "'%s' is one argument too many", of);
	fd = connect_daemon(g, err);
	if (fd < 0)
		return fd;
	switch (*what) {
	case 'l':
		return list(fd, err);
	case 's':
		return status(fd, err);
	case 'r':
		return lease_retry(fd, of, err);
	default:
		return lease_drain(fd, of, *what == 'd', err);
	}
}

const struct command cmd_slots = {
	.name = "slots",
	.args = "[list|status|drain|undrain|retry [WHAT]]",
	.summary = "look at what caissond keeps ready, and drain it",
	.details =
		"list: all slots, with who has them. status: counts. drain: lend them no more; "
		"what is lent stays lent until it comes back, and free ones give up their memory "
		"and their function. undrain: the contrary. retry: let slots in quarantine try to "
		"come back now, and not only when it is their turn. WHAT is a slot's number, a "
		"function's address or a physical function's interface; without it, all.",
	.options = options,
	.args_max = 2,
	.run = run,
};
