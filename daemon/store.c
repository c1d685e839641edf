// SPDX-License-Identifier: Apache-2.0
#include "daemon/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "daemon/pool.h"
#include "runtime/json.h"

#define STORE_FILE "state.json"
#define STORE_SIZE_MAX (16u << 20)

/* Pids and descriptors of another boot say nothing. */
static const char *boot_id(void)
{
	static char id[40];
	_cleanup_close_ int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

	if (!*id && fd >= 0 && read(fd, id, sizeof(id) - 1) > 0)
		id[strcspn(id, "\n")] = 0;
	return id;
}

static void put_string(struct json_object *j, const char *key, const char *s)
{
	if (*s)
		json_object_object_add(j, key, json_object_new_string(s));
}

static void put_number(struct json_object *j, const char *key, uint64_t n)
{
	json_object_object_add(j, key, json_object_new_int64((int64_t)n));
}

static void put_bool(struct json_object *j, const char *key, bool b)
{
	if (b)
		json_object_object_add(j, key, json_object_new_boolean(true));
}

static struct json_object *function_json(const struct lease_function *f)
{
	struct json_object *j = json_object_new_object();
	char mac[18];

	snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", f->mac[0], f->mac[1], f->mac[2],
		 f->mac[3], f->mac[4], f->mac[5]);
	put_string(j, "address", f->address);
	put_string(j, "pf", f->pf);
	put_number(j, "vf", f->vf);
	put_string(j, "mac", mac);
	return j;
}

static struct json_object *lease_json(const struct slot_lease *l)
{
	struct json_object *j = json_object_new_object();

	put_string(j, "id", l->id);
	put_string(j, "owner", l->owner);
	put_bool(j, "kept", l->kept);
	put_bool(j, "taken", l->taken);
	put_number(j, "holder", (uint64_t)l->holder.pid);
	put_number(j, "holderStart", l->holder.start);
	return j;
}

static struct json_object *slot_json(const struct store_slot *e)
{
	struct json_object *j = json_object_new_object();
	const struct slot *s = &e->slot;

	put_number(j, "number", s->number);
	put_string(j, "state", lease_state_name((uint8_t)s->state));
	put_bool(j, "onDemand", s->on_demand);
	put_bool(j, "drained", s->drained);
	put_bool(j, "hugepages", s->hugepages);
	put_bool(j, "clean", s->clean);
	put_bool(j, "open", s->open);
	put_number(j, "configured", s->configured);
	put_number(j, "target", s->target);
	put_number(j, "memory", s->memory);
	put_number(j, "growth", s->growth);
	put_number(j, "lent", s->lent);
	put_number(j, "since", (uint64_t)s->since);
	put_string(j, "token", e->token);
	if (s->iommu != VFIO_AUTO)
		put_string(j, "iommu", vfio_kind_name(s->iommu));
	put_number(j, "ioas", e->ioas);
	put_bool(j, "inPlace", e->in_place);
	if (slot_has_function(s))
		json_object_object_add(j, "function", function_json(&s->function));
	if (slot_has_lease(s))
		json_object_object_add(j, "lease", lease_json(&s->lease));
	return j;
}

int store_write(int dir_fd, const struct store *s, struct error *err)
{
	_cleanup_json_ struct json_object *j = json_object_new_object();
	struct json_object *list = json_object_new_array();

	put_string(j, "boot", boot_id());
	put_number(j, "next", s->next_number);
	put_bool(j, "draining", s->draining);
	for (uint32_t i = 0; i < s->n; i++)
		json_object_array_add(list, slot_json(&s->v[i]));
	json_object_object_add(j, "slots", list);
	return json_write_file(dir_fd, STORE_FILE, j, err);
}

static struct json_object *get(struct json_object *j, const char *key, enum json_type type)
{
	struct json_object *o;

	return json_object_object_get_ex(j, key, &o) && json_object_is_type(o, type) ? o : NULL;
}

static void get_string(struct json_object *j, const char *key, char *ret, size_t size)
{
	struct json_object *o = get(j, key, json_type_string);

	snprintf(ret, size, "%s", o ? json_object_get_string(o) : "");
}

static uint64_t get_number(struct json_object *j, const char *key)
{
	int64_t n = json_object_get_int64(get(j, key, json_type_int));

	return n < 0 ? 0 : (uint64_t)n;
}

static bool get_bool(struct json_object *j, const char *key)
{
	return json_object_get_boolean(get(j, key, json_type_boolean));
}

static void read_function(struct json_object *j, struct lease_function *ret)
{
	char mac[18];

	get_string(j, "address", ret->address, sizeof(ret->address));
	get_string(j, "pf", ret->pf, sizeof(ret->pf));
	get_string(j, "mac", mac, sizeof(mac));
	ret->vf = (uint32_t)get_number(j, "vf");
	if (sscanf(mac, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &ret->mac[0], &ret->mac[1], &ret->mac[2],
		   &ret->mac[3], &ret->mac[4], &ret->mac[5]) != 6)
		memset(ret->mac, 0, sizeof(ret->mac));
}

static void read_lease(struct json_object *j, struct slot_lease *ret)
{
	get_string(j, "id", ret->id, sizeof(ret->id));
	get_string(j, "owner", ret->owner, sizeof(ret->owner));
	ret->kept = get_bool(j, "kept");
	ret->taken = get_bool(j, "taken");
	ret->holder.pid = (pid_t)get_number(j, "holder");
	ret->holder.start = get_number(j, "holderStart");
}

static int read_slot(struct json_object *j, struct store_slot *ret)
{
	struct json_object *o;
	struct slot *s = &ret->slot;
	char state[16], iommu[16];

	*ret = (struct store_slot){0};
	if (!json_object_is_type(j, json_type_object))
		return -EINVAL;
	get_string(j, "state", state, sizeof(state));
	while (s->state < SLOT_STATES && strcmp(state, lease_state_name((uint8_t)s->state)) != 0)
		s->state++;
	if (s->state == SLOT_STATES)
		return -EINVAL;
	s->number = (uint32_t)get_number(j, "number");
	s->on_demand = get_bool(j, "onDemand");
	s->drained = get_bool(j, "drained");
	s->hugepages = get_bool(j, "hugepages");
	s->clean = get_bool(j, "clean");
	s->open = get_bool(j, "open");
	s->configured = get_number(j, "configured");
	s->target = get_number(j, "target");
	s->memory = get_number(j, "memory");
	s->growth = get_number(j, "growth");
	s->lent = get_number(j, "lent");
	s->since = (int64_t)get_number(j, "since");
	get_string(j, "token", ret->token, sizeof(ret->token));
	get_string(j, "iommu", iommu, sizeof(iommu));
	if (*iommu && vfio_kind_parse(iommu, &s->iommu) < 0)
		return -EINVAL;
	ret->ioas = (uint32_t)get_number(j, "ioas");
	ret->in_place = get_bool(j, "inPlace");
	o = get(j, "function", json_type_object);
	if (o)
		read_function(o, &s->function);
	o = get(j, "lease", json_type_object);
	if (o)
		read_lease(o, &s->lease);
	return 0;
}

static int read_all(struct json_object *j, struct store *ret)
{
	struct json_object *list = get(j, "slots", json_type_array);
	size_t n = list ? json_object_array_length(list) : SIZE_MAX;
	char boot[40];

	get_string(j, "boot", boot, sizeof(boot));
	if (strcmp(boot, boot_id()) != 0)
		return 0;
	if (n > 2 * POOL_SLOTS_MAX)
		return -EINVAL;
	ret->v = calloc(n + 1, sizeof(*ret->v));
	if (!ret->v)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		if (read_slot(json_object_array_get_idx(list, i), &ret->v[ret->n++]) < 0)
			return -EINVAL;
	ret->next_number = (uint32_t)get_number(j, "next");
	ret->draining = get_bool(j, "draining");
	return 0;
}

int store_read(int dir_fd, struct store *ret, struct error *err)
{
	_cleanup_json_ struct json_object *j = NULL;
	_cleanup_free_ char *text = NULL;
	size_t size;

	*ret = (struct store){0};
	text = file_read(dir_fd, STORE_FILE, STORE_SIZE_MAX, &size, err);
	if (!text)
		return err->code == ENOENT ? 0 : -err->code;
	j = json_parse_object(text, size, STORE_FILE, err);
	if (!j)
		return -err->code;
	if (read_all(j, ret) == 0)
		return 0;
	free(ret->v);
	*ret = (struct store){0};
	return error_set(err, EINVAL, STORE_FILE " is damaged: if nothing is lent, remove it");
}
