// SPDX-License-Identifier: Apache-2.0
#include "daemon/config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysinfo.h>

#include "daemon/pool.h"
#include "daemon/sysfs.h"
#include "runtime/json.h"
#include "runtime/settings.h"

#define FILE_SIZE_MAX (1u << 20)
#define MEMORY_MAX (1ull << 40)

static int get_string(struct daemon_config *c, const char *name, struct json_object *o, char **ret,
		      struct error *err)
{
	const char *s = json_object_get_string(o);

	if (!json_object_is_type(o, json_type_string) || !*s ||
	    strlen(s) != (size_t)json_object_get_string_len(o))
		return error_set(err, EINVAL, "%s is not a string", name);
	*ret = arena_strdup(&c->arena, s);
	return *ret ? 0 : error_set(err, ENOMEM, "out of memory");
}

/* A number, or a size as a string ("512M"). */
static int get_number(const char *name, struct json_object *o, uint64_t min, uint64_t max,
		      uint64_t *ret, struct error *err)
{
	bool is_number = json_object_is_type(o, json_type_int);

	if ((!is_number && !json_object_is_type(o, json_type_string)) ||
	    settings_parse_size(json_object_get_string(o), ret) < 0 || *ret < min || *ret > max)
		return error_set(err, EINVAL,
				 "%s '%.64s' is not a number from %" PRIu64 " to %" PRIu64, name,
				 json_object_get_string(o), min, max);
	return 0;
}

static int get_u32(const char *name, struct json_object *o, uint32_t min, uint32_t max,
		   uint32_t *ret, struct error *err)
{
	uint64_t n;

	if (get_number(name, o, min, max, &n, err) < 0)
		return -err->code;
	*ret = (uint32_t)n;
	return 0;
}

static int get_bool(const char *name, struct json_object *o, bool *ret, struct error *err)
{
	if (!json_object_is_type(o, json_type_boolean))
		return error_set(err, EINVAL, "%s is neither true nor false", name);
	*ret = json_object_get_boolean(o);
	return 0;
}

static int get_prepare(struct daemon_config *c, struct json_object *o, struct error *err)
{
	bool yes = true;

	if (!json_object_is_type(o, json_type_object))
		return error_set(err, EINVAL, "prepare is not an object");
	json_object_object_foreach (o, name, value) {
		if (get_bool(name, value, &yes, err) < 0)
			return error_wrap(err, "prepare");
		if (strcmp(name, "functions") == 0)
			c->lazy_functions = !yes;
		else if (strcmp(name, "memory") == 0)
			c->lazy_memory = !yes;
		else
			return error_set(err, EINVAL, "prepare: '%.64s' is not a key", name);
	}
	return 0;
}

static int get_iommu(struct daemon_config *c, struct json_object *o, struct error *err)
{
	const char *name = json_object_get_string(o);

	if (!json_object_is_type(o, json_type_string) || vfio_kind_parse(name, &c->iommu) < 0)
		return error_set(err, EINVAL, "iommu '%.64s' is not auto, type1 or iommufd",
				 name ? name : "null");
	return 0;
}

static int get_clients(struct daemon_config *c, struct json_object *o, struct error *err)
{
	size_t n = json_object_is_type(o, json_type_array) ? json_object_array_length(o) : SIZE_MAX;

	if (n > CONFIG_CLIENTS_MAX)
		return error_set(err, EINVAL, "clients is not a list of at most %u user IDs",
				 CONFIG_CLIENTS_MAX);
	for (size_t i = 0; i < n; i++)
		if (get_u32("clients", json_object_array_get_idx(o, i), 0, UINT32_MAX - 1,
			    &c->uids[c->uids_n++], err) < 0)
			return -err->code;
	return 0;
}

/* One member of "slots", as it is written. */
struct entry {
	uint64_t memory;
	bool hugepages;
	uint32_t count;
	bool has_count;
	char *pf;
	uint32_t vfs; /* of pf */
	struct json_object *functions;
};

static int read_entry(struct daemon_config *c, struct json_object *o, struct entry *ret,
		      struct error *err)
{
	int rc = 0;

	*ret = (struct entry){.hugepages = c->hugepages};
	if (!json_object_is_type(o, json_type_object))
		return error_set(err, EINVAL, "it is not an object");
	json_object_object_foreach (o, name, value) {
		if (strcmp(name, "memory") == 0) {
			rc = get_number(name, value, 0, MEMORY_MAX, &ret->memory, err);
		} else if (strcmp(name, "count") == 0) {
			rc = get_u32(name, value, 1, POOL_SLOTS_MAX, &ret->count, err);
			ret->has_count = true;
		} else if (strcmp(name, "hugepages") == 0) {
			rc = get_bool(name, value, &ret->hugepages, err);
		} else if (strcmp(name, "pf") == 0) {
			rc = get_string(c, name, value, &ret->pf, err);
		} else if (strcmp(name, "functions") == 0) {
			ret->functions = value;
		} else {
			rc = error_set(err, EINVAL, "'%.64s' is not a key", name);
		}
		if (rc < 0)
			return rc;
	}
	if (ret->memory % (ret->hugepages ? 2u << 20 : 4096u))
		return error_set(err, EINVAL, "memory %" PRIu64 " is no multiple of the page size",
				 ret->memory);
	if (ret->pf && ret->functions)
		return error_set(err, EINVAL, "pf and functions exclude each other");
	if (ret->functions && (!json_object_is_type(ret->functions, json_type_array) ||
			       json_object_array_length(ret->functions) == 0 || ret->has_count))
		return error_set(err, EINVAL, "functions is not a list (or there is a count, too)");
	if (!ret->pf && !ret->functions && !ret->memory)
		return error_set(err, EINVAL, "it has neither memory nor functions");
	return 0;
}

static int add(struct daemon_config *c, const struct entry *e, const struct lease_function *f,
	       struct error *err)
{
	struct slot *s = &c->slots[c->slots_n];

	if (c->slots_n == POOL_SLOTS_MAX)
		return error_set(err, E2BIG, "there are more than %u slots", POOL_SLOTS_MAX);
	for (uint32_t i = 0; f && i < c->slots_n; i++)
		if (strcmp(c->slots[i].function.address, f->address) == 0)
			return error_set(err, EINVAL, "function %s is there twice", f->address);
	*s = (struct slot){
		.hugepages = e->hugepages,
		.configured = e->memory,
		.lazy_memory = c->lazy_memory,
		.lazy_function = c->lazy_functions,
	};
	if (f) {
		/* Who had it before is not known. */
		s->function = *f;
		s->vfs = e->vfs;
		s->suspect = true;
		s->state = SLOT_DIRTY;
	}
	slot_drain(s, false); /* its targets */
	c->slots_n++;
	return 0;
}

static int add_pf(struct daemon_config *c, struct entry *e, struct error *err)
{
	struct lease_function f;
	uint32_t total;

	if (sysfs_pf(e->pf, &total, err) < 0)
		return -err->code;
	if (e->has_count && e->count > total)
		return error_set(err, EINVAL, "'%s' has %u virtual functions, not %u", e->pf, total,
				 e->count);
	e->vfs = e->has_count ? e->count : total;
	for (uint32_t i = 0; i < e->vfs; i++)
		if (sysfs_vf(e->pf, i, &f, err) < 0 || add(c, e, &f, err) < 0)
			return -err->code;
	return 0;
}

static int add_functions(struct daemon_config *c, const struct entry *e, struct error *err)
{
	for (size_t i = 0; i < json_object_array_length(e->functions); i++) {
		struct json_object *o = json_object_array_get_idx(e->functions, i);
		struct lease_function f;

		if (!json_object_is_type(o, json_type_string))
			return error_set(err, EINVAL, "functions[%zu] is not a string", i);
		if (sysfs_function(json_object_get_string(o), &f, err) < 0 ||
		    add(c, e, &f, err) < 0)
			return -err->code;
	}
	return 0;
}

static int get_slots(struct daemon_config *c, struct json_object *list, struct error *err)
{
	size_t n = json_object_is_type(list, json_type_array) ? json_object_array_length(list)
							      : SIZE_MAX;

	if (n > POOL_SLOTS_MAX)
		return error_set(err, EINVAL, "slots is not a list");
	c->slots = arena_alloc(&c->arena, POOL_SLOTS_MAX * sizeof(*c->slots));
	if (!c->slots)
		return error_set(err, ENOMEM, "out of memory");
	for (size_t i = 0; i < n; i++) {
		struct entry e;
		int rc = read_entry(c, json_object_array_get_idx(list, i), &e, err);

		if (rc == 0 && e.pf)
			rc = add_pf(c, &e, err);
		else if (rc == 0 && e.functions)
			rc = add_functions(c, &e, err);
		for (uint32_t k = 0;
		     rc == 0 && !e.pf && !e.functions && k < (e.has_count ? e.count : 1); k++)
			rc = add(c, &e, NULL, err);
		if (rc < 0)
			return error_wrap(err, "slots[%zu]", i);
	}
	return 0;
}

static int get_engine(struct daemon_config *c, struct json_object *o, struct error *err)
{
	if (get_string(c, "engine", o, &c->engine, err) < 0)
		return -err->code;
	c->in_place = strcmp(c->engine, "cki") == 0;
	return c->in_place || strcmp(c->engine, "kvm") == 0
		       ? 0
		       : error_set(err, EINVAL, "engine '%.64s' is not kvm or cki", c->engine);
}

/* On demand, too. */
static int check_in_place(const struct daemon_config *c, struct error *err)
{
	bool huge = c->hugepages;

	for (uint32_t i = 0; i < c->slots_n; i++)
		huge = huge && (c->slots[i].hugepages || !c->slots[i].configured);
	return !c->in_place || huge ? 0
				    : error_set(err, EINVAL,
						"engine cki has memory of huge pages alone: set "
						"hugepages");
}

static int read_key(struct daemon_config *c, const char *name, struct json_object *o,
		    struct error *err)
{
	if (strcmp(name, "directory") == 0)
		return get_string(c, name, o, &c->directory, err);
	if (strcmp(name, "socket") == 0)
		return get_string(c, name, o, &c->socket, err);
	if (strcmp(name, "metrics") == 0)
		return get_string(c, name, o, &c->metrics, err);
	if (strcmp(name, "threads") == 0)
		return get_u32(name, o, 1, CONFIG_THREADS_MAX, &c->threads, err);
	if (strcmp(name, "cpu") == 0)
		return get_u32(name, o, 0, 100 * CONFIG_THREADS_MAX, &c->cpu, err);
	if (strcmp(name, "hugepages") == 0)
		return get_bool(name, o, &c->hugepages, err);
	if (strcmp(name, "on_demand") == 0)
		return get_number(name, o, 0, MEMORY_MAX, &c->on_demand, err);
	if (strcmp(name, "return_ms") == 0)
		return get_u32(name, o, 100, 600000, &c->return_ms, err);
	if (strcmp(name, "iommu") == 0)
		return get_iommu(c, o, err);
	if (strcmp(name, "engine") == 0)
		return get_engine(c, o, err);
	if (strcmp(name, "prepare") == 0)
		return get_prepare(c, o, err);
	if (strcmp(name, "clients") == 0)
		return get_clients(c, o, err);
	if (strcmp(name, "slots") == 0)
		return 0;
	return error_set(err, EINVAL, "'%.64s' is not a key", name);
}

static char *beside(struct daemon_config *c, const char *name)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", c->directory, name);
	return arena_strdup(&c->arena, path);
}

static int read_object(struct daemon_config *c, struct json_object *j, struct error *err)
{
	struct json_object *slots;

	json_object_object_foreach (j, name, value)
		if (read_key(c, name, value, err) < 0)
			return -err->code;
	/* Last, since it goes by what the others say. */
	if (!json_object_object_get_ex(j, "slots", &slots))
		return error_set(err, EINVAL, "slots is missing");
	if (!c->engine)
		c->engine = arena_strdup(&c->arena, "kvm");
	if (get_slots(c, slots, err) < 0 || check_in_place(c, err) < 0)
		return -err->code;
	if (!c->directory)
		c->directory = arena_strdup(&c->arena, CONFIG_DIRECTORY);
	if (!c->directory || !c->engine)
		return error_set(err, ENOMEM, "out of memory");
	if (!c->socket)
		c->socket = beside(c, "caissond.sock");
	if (!c->metrics)
		c->metrics = beside(c, "metrics.prom");
	return c->socket && c->metrics ? 0 : error_set(err, ENOMEM, "out of memory");
}

int daemon_config_read(struct daemon_config *ret, const char *path, struct error *err)
{
	_cleanup_json_ struct json_object *j = NULL;
	_cleanup_free_ char *text = NULL;
	struct sysinfo info;
	size_t size;

	sysinfo(&info);
	*ret = (struct daemon_config){
		.threads = 2,
		.cpu = 100,
		.on_demand = (uint64_t)info.totalram * info.mem_unit / 4,
		.return_ms = 5000,
	};
	if (!path)
		path = CONFIG_FILE;
	text = file_read(AT_FDCWD, path, FILE_SIZE_MAX, &size, err);
	if (!text)
		return -err->code;
	j = json_parse_object(text, size, path, err);
	if (!j)
		return -err->code;
	if (read_object(ret, j, err) < 0) {
		daemon_config_free(ret);
		return error_wrap(err, "%s", path);
	}
	return 0;
}

void daemon_config_free(struct daemon_config *c)
{
	arena_done(&c->arena);
	*c = (struct daemon_config){0};
}
