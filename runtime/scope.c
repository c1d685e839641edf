// SPDX-License-Identifier: Apache-2.0
#include "runtime/scope.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/timeline.h"

#define SERVICE "org.freedesktop.systemd1"
#define OBJECT "/org/freedesktop/systemd1"
#define MANAGER "org.freedesktop.systemd1.Manager"
#define TIMEOUT_US (30 * 1000000ull)
#define CPUS_MAX 1024u

/*
 * The library is loaded when it is needed: with those it depends on it would cost the start of
 * every command, and where systemd runs it is there.
 */
#define FUNCTIONS(X)                                                                               \
	X(open_system)                                                                             \
	X(flush_close_unref)                                                                       \
	X(message_unref)                                                                           \
	X(match_signal)                                                                            \
	X(process)                                                                                 \
	X(wait)                                                                                    \
	X(message_new_method_call)                                                                 \
	X(message_append_array)                                                                    \
	X(message_append)                                                                          \
	X(message_open_container)                                                                  \
	X(message_close_container)                                                                 \
	X(call)                                                                                    \
	X(message_read)                                                                            \
	X(error_free)

static struct {
#define MEMBER(name) __typeof__(&sd_bus_##name) name;
	FUNCTIONS(MEMBER)
} lib;

static int load(struct error *err)
{
	void *handle = lib.call ? NULL : dlopen("libsystemd.so.0", RTLD_NOW | RTLD_LOCAL);

	if (lib.call)
		return 0;
	if (!handle)
		return error_set(err, EOPNOTSUPP, "--systemd-cgroup: %s", dlerror());
#define RESOLVE(name)                                                                              \
	*(void **)&lib.name = dlsym(handle, "sd_bus_" #name);                                      \
	if (!lib.name)                                                                             \
		return error_set(err, EOPNOTSUPP,                                                  \
				 "--systemd-cgroup: libsystemd has no sd_bus_" #name);
	FUNCTIONS(RESOLVE)
	return 0;
}

static void cleanup_bus(sd_bus **b)
{
	lib.flush_close_unref(*b);
}

static void cleanup_message(sd_bus_message **m)
{
	lib.message_unref(*m);
}

int scope_parse(const char *path, struct scope *ret, struct error *err)
{
	const char *first = strchr(path, ':'), *second = first ? strchr(first + 1, ':') : NULL;
	int slice_n = first ? (int)(first - path) : 0;
	int prefix_n = second ? (int)(second - first - 1) : 0;
	int n, k;

	if (access("/run/systemd/system", F_OK) < 0)
		return error_set(err, EOPNOTSUPP,
				 "--systemd-cgroup: systemd is not running on this machine");
	if (!second || strchr(second + 1, ':') || !second[1] || strchr(path, '/'))
		return error_set(err, EINVAL, "cgroup '%.200s' is not slice:prefix:name", path);
	n = snprintf(ret->slice, sizeof(ret->slice), "%.*s", slice_n, slice_n ? path : "");
	if (!slice_n)
		n = snprintf(ret->slice, sizeof(ret->slice), "system.slice");
	k = snprintf(ret->unit, sizeof(ret->unit), "%.*s%s%s.scope", prefix_n, first + 1,
		     prefix_n ? "-" : "", second + 1);
	if (n >= (int)sizeof(ret->slice) || k >= (int)sizeof(ret->unit))
		return error_set(err, EINVAL, "cgroup '%.60s...' is too long", path);
	if (n < 7 || strcmp(ret->slice + n - 6, ".slice") != 0)
		return error_set(err, EINVAL, "cgroup '%.200s': '%s' is not a slice", path,
				 ret->slice);
	return 0;
}

static int bus_open(sd_bus **ret, struct error *err)
{
	int rc;

	if (load(err) < 0)
		return -err->code;
	rc = lib.open_system(ret);

	return rc < 0 ? error_set(err, -rc, "connect to systemd: %s", strerrordesc_np(-rc)) : 0;
}

/* "0-3,7" (checked when it was read) as a property of bytes, CPU 0 in the lowest bit. */
static int append_set(sd_bus_message *m, const char *name, const char *list)
{
	uint8_t mask[CPUS_MAX / 8] = {0};
	const char *p = list;
	unsigned long top = 0;
	int rc;

	if (!list || !*list)
		return 0;
	while (*p) {
		char *end;
		unsigned long from = strtoul(p, &end, 10), to = from;

		if (*end == '-')
			to = strtoul(end + 1, &end, 10);
		for (unsigned long i = from; i <= to && i < CPUS_MAX; i++) {
			mask[i / 8] |= (uint8_t)(1u << i % 8);
			top = i > top ? i : top;
		}
		p = *end == ',' ? end + 1 : end + strlen(end);
	}
	rc = lib.message_open_container(m, 'r', "sv");
	if (rc >= 0)
		rc = lib.message_append(m, "s", name);
	if (rc >= 0)
		rc = lib.message_open_container(m, 'v', "ay");
	if (rc >= 0)
		rc = lib.message_append_array(m, 'y', mask, top / 8 + 1);
	if (rc >= 0)
		rc = lib.message_close_container(m);
	return rc < 0 ? rc : lib.message_close_container(m);
}

static int append_resources(sd_bus_message *m, const struct config_host_resources *r)
{
	int rc = 0;

	/* The mapping of shares that cgroup.c uses: 2..262144 to 1..10000. */
	if (r->cpu_shares)
		rc = lib.message_append(m, "(sv)", "CPUWeight", "t",
					1 + (r->cpu_shares - 2) * 9999 / 262142);
	if (rc >= 0 && r->cpu_quota_us == SPEC_LIMIT_NONE)
		rc = lib.message_append(m, "(sv)", "CPUQuotaPerSecUSec", "t", UINT64_MAX);
	if (rc >= 0 && r->cpu_quota_us > 0) {
		uint64_t period = r->cpu_period_us > 0 ? (uint64_t)r->cpu_period_us : 100000;
		uint64_t per_s = (uint64_t)r->cpu_quota_us * 1000000 / period;

		/* systemd counts in 10 ms per second: rounded up, as runc does. */
		per_s = (per_s + 9999) / 10000 * 10000;
		rc = lib.message_append(m, "(sv)(sv)", "CPUQuotaPeriodUSec", "t", period,
					"CPUQuotaPerSecUSec", "t", per_s);
	}
	if (rc >= 0)
		rc = append_set(m, "AllowedCPUs", r->cpuset_cpus);
	return rc < 0 ? rc : append_set(m, "AllowedMemoryNodes", r->cpuset_mems);
}

/* The job of a start, and how it ended. */
struct job {
	char path[128];
	char result[32];
};

static int on_job_removed(sd_bus_message *m, void *data, sd_bus_error *error)
{
	struct job *j = data;
	const char *path, *unit, *result;
	uint32_t id;

	(void)error;
	if (lib.message_read(m, "uoss", &id, &path, &unit, &result) >= 0 &&
	    strcmp(path, j->path) == 0)
		snprintf(j->result, sizeof(j->result), "%s", result);
	return 0;
}

static int wait_job(sd_bus *bus, struct job *j)
{
	uint64_t give_up = monotonic_ns() / 1000 + TIMEOUT_US;

	while (!j->result[0]) {
		uint64_t now = monotonic_ns() / 1000;
		int rc = lib.process(bus, NULL);

		if (rc < 0)
			return rc;
		if (rc == 0 && now >= give_up)
			return -ETIMEDOUT;
		if (rc == 0 && (rc = lib.wait(bus, give_up - now)) < 0 && rc != -EINTR)
			return rc;
	}
	return strcmp(j->result, "done") == 0 ? 0 : -EIO;
}

static int new_start(sd_bus *bus, const struct scope *s, pid_t pid,
		     const struct config_host_resources *r, sd_bus_message **ret)
{
	int rc = lib.message_new_method_call(bus, ret, SERVICE, OBJECT, MANAGER,
					     "StartTransientUnit");

	if (rc >= 0)
		rc = lib.message_append(*ret, "ss", s->unit, "fail");
	if (rc >= 0)
		rc = lib.message_open_container(*ret, 'a', "(sv)");
	if (rc >= 0)
		rc = lib.message_append(*ret, "(sv)(sv)(sv)(sv)(sv)(sv)(sv)(sv)(sv)", "Description",
					"s", "a Caisson sandbox", "Slice", "s", s->slice, "PIDs",
					"au", 1, (uint32_t)pid, "Delegate", "b", 1,
					"DefaultDependencies", "b", 0, "CollectMode", "s",
					"inactive-or-failed", "CPUAccounting", "b", 1,
					"MemoryAccounting", "b", 1, "TasksAccounting", "b", 1);
	if (rc >= 0)
		rc = append_resources(*ret, r);
	if (rc >= 0)
		rc = lib.message_close_container(*ret);
	return rc < 0 ? rc : lib.message_append(*ret, "a(sa(sv))", 0);
}

/* The line of the unified hierarchy ends with the unit once the process is in it. */
static int cgroup_of(pid_t pid, const char *unit, char **ret, struct error *err)
{
	char path[64], line[4352];
	_cleanup_fclose_ FILE *f = NULL;

	snprintf(path, sizeof(path), "/proc/%d/cgroup", pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = 0;
		if (strncmp(line, "0::/", 4) == 0 && strstr(line, unit)) {
			*ret = strdup(line + 3);
			return *ret ? 0 : error_set(err, ENOMEM, "out of memory");
		}
	}
	return error_set(err, EOPNOTSUPP,
			 "'%s' has no cgroup in a unified hierarchy (cgroup v2), which is needed "
			 "with systemd",
			 unit);
}

/* Makes the call, which starts a job, and waits for its end.  *error holds what systemd said. */
static int call_job(sd_bus *bus, sd_bus_message *call, struct job *job, sd_bus_error *error)
{
	_cleanup_(cleanup_message) sd_bus_message *answer = NULL;
	int rc = lib.call(bus, call, TIMEOUT_US, error, &answer);
	const char *path;

	if (rc >= 0)
		rc = lib.message_read(answer, "o", &path);
	if (rc < 0)
		return rc;
	snprintf(job->path, sizeof(job->path), "%s", path);
	return wait_job(bus, job);
}

/* Before the call, or the signal could be missed. */
static int match_job(sd_bus *bus, struct job *job)
{
	return lib.match_signal(bus, NULL, SERVICE, OBJECT, MANAGER, "JobRemoved", on_job_removed,
				job);
}

static int fail_job(const char *what, const char *unit, int rc, const struct job *job,
		    const sd_bus_error *error, struct error *err)
{
	return error_set(err, -rc, "%s '%s': %s", what, unit,
			 error->message	  ? error->message
			 : job->result[0] ? job->result
					  : strerrordesc_np(-rc));
}

int scope_start(const struct scope *s, pid_t pid, const struct config_host_resources *r,
		char **ret_cgroup, struct error *err)
{
	_cleanup_(cleanup_bus) sd_bus *bus = NULL;
	_cleanup_(cleanup_message) sd_bus_message *call = NULL;
	sd_bus_error error = SD_BUS_ERROR_NULL;
	struct job job = {0};
	int rc;

	if (bus_open(&bus, err) < 0)
		return -err->code;
	rc = match_job(bus, &job);
	if (rc >= 0)
		rc = new_start(bus, s, pid, r, &call);
	if (rc >= 0)
		rc = call_job(bus, call, &job, &error);
	if (rc < 0)
		fail_job("start", s->unit, rc, &job, &error, err);
	lib.error_free(&error);
	return rc < 0 ? -err->code : cgroup_of(pid, s->unit, ret_cgroup, err);
}

int scope_stop(const char *unit, struct error *err)
{
	_cleanup_(cleanup_bus) sd_bus *bus = NULL;
	_cleanup_(cleanup_message) sd_bus_message *call = NULL;
	sd_bus_error error = SD_BUS_ERROR_NULL;
	struct job job = {0};
	int rc;

	if (bus_open(&bus, err) < 0)
		return -err->code;
	rc = match_job(bus, &job);
	if (rc >= 0)
		rc = lib.message_new_method_call(bus, &call, SERVICE, OBJECT, MANAGER, "StopUnit");
	if (rc >= 0)
		rc = lib.message_append(call, "ss", unit, "replace");
	if (rc >= 0)
		rc = call_job(bus, call, &job, &error);
	/* It ends by itself when it is empty. */
	if (rc < 0 && error.name && strcmp(error.name, SERVICE ".NoSuchUnit") == 0)
		rc = 0;
	if (rc < 0)
		fail_job("stop", unit, rc, &job, &error, err);
	lib.error_free(&error);
	return rc < 0 ? -err->code : 0;
}

int scope_update(const char *unit, const struct config_host_resources *r, struct error *err)
{
	_cleanup_(cleanup_bus) sd_bus *bus = NULL;
	_cleanup_(cleanup_message) sd_bus_message *call = NULL;
	sd_bus_error error = SD_BUS_ERROR_NULL;
	int rc;

	if (bus_open(&bus, err) < 0)
		return -err->code;
	rc = lib.message_new_method_call(bus, &call, SERVICE, OBJECT, MANAGER, "SetUnitProperties");
	if (rc >= 0)
		rc = lib.message_append(call, "sb", unit, 1);
	if (rc >= 0)
		rc = lib.message_open_container(call, 'a', "(sv)");
	if (rc >= 0)
		rc = append_resources(call, r);
	if (rc >= 0)
		rc = lib.message_close_container(call);
	if (rc >= 0)
		rc = lib.call(bus, call, TIMEOUT_US, &error, NULL);
	if (rc < 0)
		error_set(err, -rc, "update '%s': %s", unit, error.message ?: strerrordesc_np(-rc));
	lib.error_free(&error);
	return rc < 0 ? -err->code : 0;
}
