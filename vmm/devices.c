// SPDX-License-Identifier: Apache-2.0
#include "vmm/devices.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/vhost.h>
#include <linux/if_tun.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "lib/cleanup.h"
#include "vmm/jail.h"
#include "vmm/virtio/devices.h"

const struct confine_call devices_vcpu_calls[] = {
	{SCMP_SYS(write)},	    /* the device's interrupt, a kick to ourselves */
	{SCMP_SYS(epoll_ctl)},	    /* what a device waits for changes with its state */
	{SCMP_SYS(io_uring_enter)}, /* a reset waits for the disk's requests in flight */
	/* The file system is given to its server, or taken back. */
	{SCMP_SYS(sendmsg)},
	{SCMP_SYS(recvfrom)},
	{SCMP_SYS(shutdown)}, /* a server that does not give it back is cut off */
	/* An interface becomes active, or is reset: what the tap is to do, and vhost's rings. */
	{SCMP_SYS(ioctl), CONFINE_ARG(1, TUNSETOFFLOAD)},
	{SCMP_SYS(ioctl), CONFINE_ARG(1, VHOST_SET_FEATURES)},
	{SCMP_SYS(ioctl), CONFINE_ARG(1, VHOST_SET_MEM_TABLE)},
	{SCMP_SYS(ioctl), CONFINE_ARG(1, VHOST_SET_VRING_NUM)},
	{SCMP_SYS(ioctl), CONFINE_ARG(1, VHOST_SET_VRING_BASE)},
	{SCMP_SYS(ioctl), CONFINE_ARG(1, VHOST_SET_VRING_ADDR)},
	{SCMP_SYS(ioctl), CONFINE_ARG(1, VHOST_SET_VRING_KICK)},
	{SCMP_SYS(ioctl), CONFINE_ARG(1, VHOST_SET_VRING_CALL)},
	{SCMP_SYS(ioctl), CONFINE_ARG(1, VHOST_SET_VRING_ERR)},
	{SCMP_SYS(ioctl), CONFINE_ARG(1, VHOST_NET_SET_BACKEND)},
};
const size_t devices_vcpu_calls_n = ARRAY_SIZE(devices_vcpu_calls);

/* What the I/O thread needs of the kernel, besides that. */
static const struct confine_call io_calls[] = {
	{SCMP_SYS(epoll_wait)},	    {SCMP_SYS(epoll_pwait)}, /* the loop */
	{SCMP_SYS(epoll_ctl)},				     /* what a device waits for */
	{SCMP_SYS(read)},	    {SCMP_SYS(write)},	     /* eventfds */
	{SCMP_SYS(recvfrom)},	    {SCMP_SYS(recvmsg)},     /* console: from the monitor */
	{SCMP_SYS(sendto)},	    {SCMP_SYS(sendmsg)},     /* and to it */
	{SCMP_SYS(io_uring_enter)},			     /* disks */
	{SCMP_SYS(preadv)},	    {SCMP_SYS(pwritev)},     /* disks, where there is no io_uring */
	{SCMP_SYS(fdatasync)},				     /* the same */
	{SCMP_SYS(fallocate)}, /* the same, and memory the balloon gives back */
	{SCMP_SYS(readv)},	    {SCMP_SYS(writev)}, /* an interface's packets */
	{SCMP_SYS(getrandom)},				/* entropy */
};

static int put(struct devices *d, struct virtio_device *dev, struct error *err)
{
	struct device_slot *s = &d->slots[d->n];

	if (d->n == DEVICES_MAX) {
		virtio_device_free(dev);
		return error_set(err, E2BIG, "more than %u devices", DEVICES_MAX);
	}
	virtio_mmio_init(&s->mmio, dev);
	s->at = GPA(DEVICES_AT + d->n * VIRTIO_MMIO_WINDOW);
	s->line = DEVICES_FIRST_LINE + d->n % (DEVICES_LINES - DEVICES_FIRST_LINE);
	s->vhost_fd = -1;
	d->n++;
	return 0;
}

static int add_disks(struct devices *d, const struct virtio_env *env, const struct machine *m,
		     struct error *err)
{
	for (uint32_t i = 0; i < m->disks_n; i++) {
		const struct virtio_blk_config_host c = {.fd = m->disks[i].fd,
							 .serial = m->disks[i].serial,
							 .readonly = m->disks[i].readonly};
		struct virtio_device *dev;

		if (virtio_blk_new(env, &c, &dev, err) < 0)
			return error_wrap(err, "disk %u", i);
		if (put(d, dev, err) < 0)
			return -err->code;
	}
	return 0;
}

static int add_nics(struct devices *d, const struct virtio_env *env, const struct machine *m,
		    struct error *err)
{
	for (uint32_t i = 0; i < m->nics_n; i++) {
		/* Without it packets go through us. */
		_cleanup_close_ int vhost_fd = open("/dev/vhost-net", O_RDWR | O_CLOEXEC);
		struct virtio_net_config_host c = {.tap_fd = m->nics[i].tap_fd,
						   .vhost_fd = vhost_fd,
						   .mtu = (uint16_t)m->nics[i].mtu};
		struct virtio_device *dev;

		memcpy(c.mac, m->nics[i].mac, sizeof(c.mac));
		if (virtio_net_new(env, &c, &dev, err) < 0)
			return error_wrap(err, "interface %u", i);
		if (put(d, dev, err) < 0)
			return -err->code;
		d->slots[d->n - 1].vhost_fd = steal_fd(&vhost_fd);
	}
	return 0;
}

static int add_shares(struct devices *d, const struct virtio_env *env, struct error *err)
{
	struct virtio_device *dev;

	if (d->fileserver.fd < 0)
		return 0;
	if (virtio_fs_new(env, d->fileserver.fd, SPEC_SHARES_TAG, &dev, err) < 0)
		return fileserver_explain(&d->fileserver, err);
	return put(d, dev, err);
}

/* Early, so that it comes up while the rest is made. */
static int start_fileserver(struct devices *d, const struct machine *m, struct error *err)
{
	uid_t uid;

	if (!m->serve_shares)
		return 0;
	if (jail_uid(&uid, err) < 0)
		return -err->code;
	return fileserver_start(m, uid, &d->fileserver, err);
}

/* Memory that others know the place of stays there: a function may be writing to it. */
static int add_memory(struct devices *d, const struct virtio_env *env, struct error *err)
{
	struct virtio_device *dev;

	if (env->mem->fixed && !env->mem->grows)
		return 0;
	if ((env->mem->lent ? virtio_mem_new(env, &dev, err) : virtio_balloon_new(env, &dev, err)) <
		    0 ||
	    put(d, dev, err) < 0)
		return -err->code;
	if (env->mem->lent)
		d->memory = dev;
	else
		d->balloon = dev;
	return 0;
}

static int add_all(struct devices *d, const struct virtio_env *env, const struct machine *m,
		   int console_fd, int agent_fd, struct error *err)
{
	struct virtio_device *dev;

	if (virtio_console_new(env, console_fd, agent_fd, &dev, err) < 0 || put(d, dev, err) < 0)
		return -err->code;
	if (add_disks(d, env, m, err) < 0 || add_nics(d, env, m, err) < 0)
		return -err->code;
	if (virtio_rng_new(env, &dev, err) < 0 || put(d, dev, err) < 0)
		return -err->code;
	if (add_memory(d, env, err) < 0)
		return -err->code;
	return add_shares(d, env, err);
}

int devices_init(struct devices *d, const struct machine *m, const struct mem *mem, int console_fd,
		 int agent_fd, struct error *err)
{
	const struct virtio_env env = {.mem = mem, .io = &d->io, .log_fd = m->log_fd};

	d->n = 0;
	d->memory = d->balloon = NULL;
	d->fileserver = FILESERVER_NONE;
	if (io_init(&d->io, err) < 0)
		return -err->code;
	if (start_fileserver(d, m, err) < 0 || add_all(d, &env, m, console_fd, agent_fd, err) < 0) {
		devices_done(d);
		return error_wrap(err, "devices");
	}
	return 0;
}

void devices_done(struct devices *d)
{
	/* First: its device asks for an answer, and the server may have fallen. */
	fileserver_kill(&d->fileserver);
	for (unsigned int i = 0; i < d->n; i++) {
		virtio_device_free(d->slots[i].mmio.dev);
		cleanup_close(&d->slots[i].vhost_fd);
	}
	d->n = 0;
	fileserver_done(&d->fileserver);
	io_done(&d->io);
}

static int io_enter(void *arg, struct error *err)
{
	(void)arg;
	return confine_calls(io_calls, ARRAY_SIZE(io_calls), devices_vcpu_calls,
			     devices_vcpu_calls_n, err);
}

int devices_start(struct devices *d, struct error *err)
{
	return io_start(&d->io, io_enter, NULL, err);
}

void devices_stop(struct devices *d)
{
	io_stop(&d->io);
}

int devices_pause(struct devices *d, int timeout_ms, struct error *err)
{
	int rc = io_pause(&d->io, timeout_ms);

	return rc < 0 ? error_set(err, -rc, "a device did not come to rest within %d ms",
				  timeout_ms)
		      : 0;
}

void devices_resume(struct devices *d)
{
	io_resume(&d->io);
}

int devices_resize(struct devices *d, uint64_t bytes, struct error *err)
{
	if (!d->balloon)
		return error_set(err, EOPNOTSUPP,
				 "the machine has no balloon, since its memory stays where it is");
	virtio_balloon_set(d->balloon, bytes < d->balloon->env.mem->size
					       ? d->balloon->env.mem->size - bytes
					       : 0);
	return 0;
}

int devices_cmdline(const struct devices *d, char *buf, size_t size)
{
	size_t at = 0;

	for (unsigned int i = 0; i < d->n; i++) {
		int n = snprintf(buf + at, size - at, " virtio_mmio.device=4K@0x%" PRIx64 ":%u",
				 d->slots[i].at.v, d->slots[i].line);

		if (n < 0 || (size_t)n >= size - at)
			return -E2BIG;
		at += (size_t)n;
	}
	return 0;
}

void devices_mmio(struct devices *d, gpa_t at, void *data, uint32_t size, bool write)
{
	const uint64_t offset = at.v - DEVICES_AT;
	const uint64_t i = offset / VIRTIO_MMIO_WINDOW, within = offset % VIRTIO_MMIO_WINDOW;

	if (at.v < DEVICES_AT || i >= d->n)
		return;
	if (write)
		virtio_mmio_write(&d->slots[i].mmio, within, data, size);
	else
		virtio_mmio_read(&d->slots[i].mmio, within, data, size);
}
