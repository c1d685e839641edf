// SPDX-License-Identifier: Apache-2.0
#include "daemon/sysfs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <net/if.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/cleanup.h"

#define DEVICES "/sys/bus/pci/devices"

struct address {
	unsigned int domain, bus, device, function;
};

static int parse_address(const char *text, struct address *ret)
{
	char back[LEASE_NAME_MAX + 1];

	if (sscanf(text, "%x:%x:%x.%x", &ret->domain, &ret->bus, &ret->device, &ret->function) != 4)
		return -EINVAL;
	snprintf(back, sizeof(back), "%04x:%02x:%02x.%x", ret->domain, ret->bus, ret->device,
		 ret->function);
	return strcmp(back, text) == 0 && ret->bus < 256 && ret->device < 32 && ret->function < 8
		       ? 0
		       : -EINVAL;
}

/* A decimal number of a function's file; -1: none. */
static long read_number(const char *address, const char *name)
{
	char path[PATH_MAX], text[32] = "";
	_cleanup_close_ int fd = -1;

	snprintf(path, sizeof(path), DEVICES "/%s/%s", address, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		return -1;
	return strtol(text, NULL, 10);
}

static int read_link(const char *path, char ret[static LEASE_NAME_MAX + 1])
{
	char target[PATH_MAX];
	ssize_t n = readlink(path, target, sizeof(target) - 1);
	const char *base;

	if (n < 0)
		return -errno;
	target[n] = 0;
	base = strrchr(target, '/');
	base = base ? base + 1 : target;
	if (strlen(base) > LEASE_NAME_MAX)
		return -ENAMETOOLONG;
	strcpy(ret, base);
	return 0;
}

/* The address of a physical function that is named by interface or address. */
static int pf_address(const char *pf, char ret[static LEASE_NAME_MAX + 1], struct error *err)
{
	struct address a;
	char path[PATH_MAX];

	if (parse_address(pf, &a) == 0) {
		strcpy(ret, pf);
		return 0;
	}
	if (strchr(pf, '/') || strlen(pf) > LEASE_NAME_MAX)
		return error_set(err, EINVAL, "'%.64s' is not an interface", pf);
	snprintf(path, sizeof(path), "/sys/class/net/%s/device", pf);
	if (read_link(path, ret) < 0 || parse_address(ret, &a) < 0)
		return error_set(err, ENODEV, "'%s' is not the interface of a PCI function", pf);
	return 0;
}

int sysfs_pf(const char *pf, uint32_t *ret_total, struct error *err)
{
	char address[LEASE_NAME_MAX + 1];
	long total;

	if (pf_address(pf, address, err) < 0)
		return -err->code;
	total = read_number(address, "sriov_totalvfs");
	if (total <= 0)
		return error_set(err, ENODEV, "'%s' has no virtual functions", pf);
	*ret_total = (uint32_t)total;
	return 0;
}

/* The interface of a function, if it has one. */
static void interface_of(const char *address, char ret[static LEASE_NAME_MAX + 1])
{
	_cleanup_closedir_ DIR *d = NULL;
	char path[PATH_MAX];
	struct dirent *e;

	*ret = 0;
	snprintf(path, sizeof(path), DEVICES "/%s/net", address);
	d = opendir(path);
	while (d && (e = readdir(d)))
		if (e->d_name[0] != '.' && strlen(e->d_name) <= LEASE_NAME_MAX)
			strcpy(ret, e->d_name);
}

int sysfs_vf(const char *pf, uint32_t n, struct lease_function *ret, struct error *err)
{
	char address[LEASE_NAME_MAX + 1];
	long offset, stride, at;
	struct address a;

	*ret = (struct lease_function){.vf = n};
	if (pf_address(pf, address, err) < 0)
		return -err->code;
	parse_address(address, &a);
	offset = read_number(address, "sriov_offset");
	stride = read_number(address, "sriov_stride");
	if (offset < 0 || stride < 0)
		return error_set(err, ENODEV, "'%s' has no virtual functions", pf);
	at = (long)(a.bus << 8 | a.device << 3 | a.function) + offset + (long)n * stride;
	snprintf(ret->address, sizeof(ret->address), "%04x:%02x:%02x.%x", a.domain,
		 (unsigned int)at >> 8 & 255, (unsigned int)at >> 3 & 31, (unsigned int)at & 7);
	interface_of(address, ret->pf);
	return 0;
}

int sysfs_function(const char *address, struct lease_function *ret, struct error *err)
{
	char path[PATH_MAX], pf[LEASE_NAME_MAX + 1], vf[LEASE_NAME_MAX + 1];
	struct address a;
	long total;

	*ret = (struct lease_function){0};
	if (parse_address(address, &a) < 0)
		return error_set(err, EINVAL, "'%.64s' is not a function's address (0000:01:10.0)",
				 address);
	strcpy(ret->address, address);
	snprintf(path, sizeof(path), DEVICES "/%s/physfn", address);
	if (read_link(path, pf) < 0)
		return 0;
	interface_of(pf, ret->pf);
	total = read_number(pf, "sriov_totalvfs");
	for (long i = 0; i < total; i++) {
		snprintf(path, sizeof(path), DEVICES "/%s/virtfn%ld", pf, i);
		if (read_link(path, vf) == 0 && strcmp(vf, address) == 0)
			ret->vf = (uint32_t)i;
	}
	return 0;
}

int sysfs_link(const char *address, const char *link, char ret[static LEASE_NAME_MAX + 1])
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), DEVICES "/%s/%s", address, link);
	return read_link(path, ret);
}

bool sysfs_exists(const char *address)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), DEVICES "/%s", address);
	return access(path, F_OK) == 0;
}

void sysfs_pf_of(struct lease_function *f)
{
	char pf[LEASE_NAME_MAX + 1];

	*f->pf = 0;
	if (sysfs_link(f->address, "physfn", pf) == 0)
		interface_of(pf, f->pf);
}

/* The physical function that has (or would have) a virtual function there. */
static int find_pf(const char *address, char ret[static LEASE_NAME_MAX + 1])
{
	_cleanup_closedir_ DIR *d = opendir(DEVICES);
	struct lease_function f;
	struct error ignored;
	struct dirent *e;
	uint32_t total;

	while (d && (e = readdir(d))) {
		if (e->d_name[0] == '.' || read_number(e->d_name, "sriov_totalvfs") <= 0 ||
		    sysfs_pf(e->d_name, &total, &ignored) < 0)
			continue;
		for (uint32_t i = 0; i < total; i++)
			if (sysfs_vf(e->d_name, i, &f, &ignored) == 0 &&
			    strcmp(f.address, address) == 0) {
				snprintf(ret, LEASE_NAME_MAX + 1, "%s", e->d_name);
				return 0;
			}
	}
	return -ENODEV;
}

static int write_number(const char *address, const char *name, uint32_t n)
{
	char path[PATH_MAX], text[16];
	_cleanup_close_ int fd = -1;
	int size = snprintf(text, sizeof(text), "%u", n);

	snprintf(path, sizeof(path), DEVICES "/%s/%s", address, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	return fd < 0 || write(fd, text, (size_t)size) < 0 ? -errno : 0;
}

/* Virtual functions carry nothing while their physical function is down. */
static void set_up(const char *address)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	char name[LEASE_NAME_MAX + 1];
	struct ifreq r = {0};

	interface_of(address, name);
	if (fd < 0 || !*name || strlen(name) >= sizeof(r.ifr_name))
		return;
	memcpy(r.ifr_name, name, strlen(name));
	if (ioctl(fd, SIOCGIFFLAGS, &r) < 0)
		return;
	r.ifr_flags |= IFF_UP;
	/* Whether it is up shows in the pods' networks; that it has functions does not hang on it.
	 */
	if (ioctl(fd, SIOCSIFFLAGS, &r) < 0)
		return;
}

static int make_vfs(const char *address, uint32_t n, struct error *err)
{
	char pf[LEASE_NAME_MAX + 1];
	int rc;

	if (sysfs_exists(address))
		return 0; /* another thread was quicker */
	if (find_pf(address, pf) < 0)
		return error_set(err, ENODEV, "function %s is not there, nor its physical one",
				 address);
	if (read_number(pf, "sriov_numvfs") > 0)
		return error_set(err, EBUSY,
				 "physical function %s has %ld virtual functions, and %s is not "
				 "among them (%u are configured)",
				 pf, read_number(pf, "sriov_numvfs"), address, n);
	set_up(pf);
	/* Their drivers on the host would only be in the way; old kernels have no such file. */
	rc = write_number(pf, "sriov_drivers_autoprobe", 0);
	if (rc == 0 || rc == -ENOENT)
		rc = write_number(pf, "sriov_numvfs", n);
	if (rc < 0)
		return error_set(err, ENODEV, "make %u virtual functions of %s: %s", n, pf,
				 strerrordesc_np(-rc));
	return sysfs_exists(address)
		       ? 0
		       : error_set(err, ENODEV, "function %s did not appear", address);
}

int sysfs_make_vfs(const char *address, uint32_t n, struct error *err)
{
	static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;
	int rc;

	pthread_mutex_lock(&one);
	rc = make_vfs(address, n, err);
	pthread_mutex_unlock(&one);
	return rc;
}
