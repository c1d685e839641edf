// SPDX-License-Identifier: Apache-2.0
/*
 * File system (virtio 1.2, 5.11): the queues are served by virtiofsd, in a process and
 * a jail of its own (vmm/fileserver.h); here is only what the guest's driver sees of
 * the device, and the connection.
 */
#include <errno.h>
#include <linux/virtio_fs.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/cleanup.h"
#include "vmm/virtio/devices.h"
#include "vmm/virtio/vhost_user.h"

enum { HIGH_PRIORITY, REQUESTS, QUEUES };

struct fs {
	struct virtio_device dev;
	struct virtio_fs_config config;
	struct vhost_user server;
	struct io_watch hangup; /* of the server's socket */
	bool gone;
};

static struct fs *fs_of(struct virtio_device *d)
{
	return (struct fs *)((uint8_t *)d - offsetof(struct fs, dev));
}

/* Lock held. */
static void cut_off(struct fs *f)
{
	f->gone = true;
	io_remove(f->dev.env.io, &f->hangup);
	/* Whoever reads at the other end must see it end, too. */
	shutdown(f->server.fd, SHUT_RDWR);
}

static void hung_up(struct io_watch *w, uint32_t events)
{
	struct fs *f = w->arg;

	pthread_mutex_lock(&f->dev.lock);
	/* An answer that comes while a vCPU thread waits for it is that thread's business. */
	if (!f->gone && events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP)) {
		cut_off(f);
		virtio_device_failed(&f->dev, "the file server is gone");
	}
	pthread_mutex_unlock(&f->dev.lock);
}

/* The queues are the server's; kicks come here only before it has them. */
static void notify(struct virtio_device *d, unsigned int n)
{
	(void)d;
	(void)n;
}

static int activate(struct virtio_device *d)
{
	struct fs *f = fs_of(d);

	return f->gone ? -EPIPE : vhost_user_start(&f->server, d);
}

static void reset(struct virtio_device *d)
{
	struct fs *f = fs_of(d);

	/* A server that does not stop would go on writing to the guest's memory. */
	if (vhost_user_stop(&f->server, d) < 0 && !f->gone)
		cut_off(f);
}

static void config_read(struct virtio_device *d, uint32_t offset, void *buf, uint32_t size)
{
	const struct fs *f = fs_of(d);

	virtio_config_copy(&f->config, sizeof(f->config), offset, buf, size);
}

static void fs_free(struct virtio_device *d)
{
	struct fs *f = fs_of(d);

	io_remove(d->env.io, &f->hangup);
	virtio_device_done(d);
	free(f);
}

static const struct virtio_ops fs_ops = {
	.name = "fs",
	.id = VIRTIO_ID_FS,
	.config_read = config_read,
	.activate = activate,
	.reset = reset,
	.notify = notify,
	.free = fs_free,
};

static int init(struct fs *f, const struct virtio_env *env, int fd, const char *tag,
		struct error *err)
{
	/* Linux reads and writes as much at a time as its queue has descriptors: 1 MiB. */
	static const uint16_t sizes[QUEUES] = {128, VQ_SIZE_MAX};
	int rc;

	if (strlen(tag) > sizeof(f->config.tag))
		return error_set(err, EINVAL, "tag '%s' is longer than 36 bytes", tag);
	memcpy(f->config.tag, tag, strlen(tag));
	f->config.num_request_queues = 1;
	f->hangup = (struct io_watch){.fd = fd, .events = EPOLLRDHUP, .ready = hung_up, .arg = f};
	if (vhost_user_init(&f->server, fd, env->mem, err) < 0)
		return -err->code;
	if (!(f->server.features >> VIRTIO_F_VERSION_1 & 1))
		return error_set(err, ENOTSUP, "the file server does not know virtio 1");
	if (virtio_device_init(&f->dev, &fs_ops, env, 0, sizes, QUEUES, err) < 0)
		return -err->code;
	f->dev.offered &= f->server.features;
	rc = io_add(env->io, &f->hangup);
	if (rc < 0) {
		virtio_device_done(&f->dev);
		return error_set(err, -rc, "watch the file server: %s", strerror(-rc));
	}
	return 0;
}

int virtio_fs_new(const struct virtio_env *env, int vhost_fd, const char *tag,
		  struct virtio_device **ret, struct error *err)
{
	_cleanup_free_ struct fs *f = calloc(1, sizeof(*f));

	if (!f)
		return error_set(err, ENOMEM, "out of memory");
	if (init(f, env, vhost_fd, tag, err) < 0)
		return error_wrap(err, "file sharing");
	*ret = &f->dev;
	steal_ptr(&f);
	return 0;
}
