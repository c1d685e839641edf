// SPDX-License-Identifier: Apache-2.0
/*
 * Disk (virtio 1.2, 5.2): one queue, requests of up to SEGMENTS buffers, FLUSH, DISCARD,
 * WRITE_ZEROES and the serial number.  The bytes are in vmm/virtio/disk.h.
 */
#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "vmm/virtio/devices.h"
#include "vmm/virtio/disk.h"

#define DEPTH 128u    /* requests at a time: the queue's size */
#define SEGMENTS 126u /* of data; with head and status 128 */
#define SECTOR 512u
#define RANGE_MAX (1u << 22) /* sectors of one DISCARD or WRITE_ZEROES */

_Static_assert(SEGMENTS + 2 <= VQ_IOV_MAX, "a full request fits");

struct request {
	struct disk_op op;
	struct vq_chain chain;
	uint8_t *status;
	uint32_t written; /* bytes of the guest's buffers, if all goes well, status included */
	struct request *next_free;
};

struct blk {
	struct virtio_device dev;
	struct virtio_blk_config config;
	char serial[VIRTIO_BLK_ID_BYTES];
	bool readonly;
	struct disk disk;
	struct io_watch completions;
	struct request requests[DEPTH];
	struct request
		*free; /* the last used first: memory that was never needed stays untouched */
};

static struct blk *blk_of(struct virtio_device *d)
{
	return (struct blk *)((uint8_t *)d - offsetof(struct blk, dev));
}

static void request_put(struct blk *b, struct request *r)
{
	r->next_free = b->free;
	b->free = r;
}

static void request_end(struct blk *b, struct request *r, uint8_t status, uint32_t written)
{
	/* After a reset or a fault nobody waits for it. */
	if (b->dev.active) {
		*r->status = status;
		vq_add_used(&b->dev.queues[0].vq, r->chain.head, written);
	}
	request_put(b, r);
}

static void op_done(struct disk *disk, struct disk_op *op, int error)
{
	struct blk *b = (struct blk *)((uint8_t *)disk - offsetof(struct blk, disk));
	struct request *r = (struct request *)((uint8_t *)op - offsetof(struct request, op));

	if (!error)
		request_end(b, r, VIRTIO_BLK_S_OK, r->written);
	else
		request_end(b, r, error == EOPNOTSUPP ? VIRTIO_BLK_S_UNSUPP : VIRTIO_BLK_S_IOERR,
			    1);
}

/* Whether `size` bytes from a sector on are on the disk. */
static bool on_disk(const struct blk *b, uint64_t sector, uint64_t size)
{
	uint64_t sectors = size / SECTOR;

	return size % SECTOR == 0 && sectors <= b->config.capacity &&
	       sector <= b->config.capacity - sectors;
}

/* The status is the last writable byte; cut it off. */
static void take_status(struct request *r)
{
	struct vq_chain *c = &r->chain;
	struct iovec *last = &c->iov[c->readable_n + c->writable_n - 1];

	last->iov_len--;
	r->status = (uint8_t *)last->iov_base + last->iov_len;
	if (!last->iov_len)
		c->writable_n--;
	c->writable_size--;
}

/* The header is the first readable bytes, however they are spread (2.7.4.1); cut it off. */
static void skip_head(struct request *r, size_t size)
{
	struct vq_chain *c = &r->chain;

	r->op.iov = c->iov;
	r->op.iov_n = c->readable_n;
	c->readable_size -= (uint32_t)size;
	while (size >= r->op.iov->iov_len) {
		size -= r->op.iov->iov_len;
		r->op.iov++;
		r->op.iov_n--;
		if (!size)
			return;
	}
	r->op.iov->iov_base = (uint8_t *)r->op.iov->iov_base + size;
	r->op.iov->iov_len -= size;
}

static uint8_t start_read(struct blk *b, struct request *r, uint64_t sector)
{
	const struct vq_chain *c = &r->chain;

	if (!c->writable_size || !on_disk(b, sector, c->writable_size))
		return VIRTIO_BLK_S_IOERR;
	r->op.kind = DISK_READ;
	r->op.iov = r->chain.iov + c->readable_n;
	r->op.iov_n = c->writable_n;
	r->op.offset = sector * SECTOR;
	r->op.size = c->writable_size;
	r->written = c->writable_size + 1;
	disk_start(&b->disk, &r->op);
	return 0;
}

static uint8_t start_write(struct blk *b, struct request *r, uint64_t sector)
{
	if (b->readonly || !r->chain.readable_size || !on_disk(b, sector, r->chain.readable_size))
		return VIRTIO_BLK_S_IOERR;
	r->op.kind = DISK_WRITE;
	r->op.offset = sector * SECTOR;
	r->op.size = r->chain.readable_size;
	disk_start(&b->disk, &r->op);
	return 0;
}

/* DISCARD and WRITE_ZEROES: one range, as the configuration says (5.2.6). */
static uint8_t start_range(struct blk *b, struct request *r, uint32_t type)
{
	struct virtio_blk_discard_write_zeroes range;
	bool unmap;

	if (b->readonly || r->chain.readable_size != sizeof(range))
		return VIRTIO_BLK_S_IOERR;
	chain_read(&r->chain, sizeof(struct virtio_blk_outhdr), &range, sizeof(range));
	unmap = range.flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
	if (range.flags & ~VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP ||
	    (type == VIRTIO_BLK_T_DISCARD && unmap))
		return VIRTIO_BLK_S_UNSUPP;
	if (!range.num_sectors || range.num_sectors > RANGE_MAX ||
	    !on_disk(b, range.sector, (uint64_t)range.num_sectors * SECTOR))
		return VIRTIO_BLK_S_IOERR;
	r->op.kind = type == VIRTIO_BLK_T_DISCARD || unmap ? DISK_PUNCH : DISK_ZERO;
	r->op.offset = range.sector * SECTOR;
	r->op.size = (uint64_t)range.num_sectors * SECTOR;
	disk_start(&b->disk, &r->op);
	return 0;
}

/* 0: it is on its way; else the status it ends with. */
static uint8_t start(struct blk *b, struct request *r, const struct virtio_blk_outhdr *head)
{
	switch (head->type) {
	case VIRTIO_BLK_T_IN:
		return start_read(b, r, head->sector);
	case VIRTIO_BLK_T_OUT:
		skip_head(r, sizeof(*head));
		return start_write(b, r, head->sector);
	case VIRTIO_BLK_T_DISCARD:
	case VIRTIO_BLK_T_WRITE_ZEROES:
		r->chain.readable_size -= (uint32_t)sizeof(*head);
		return start_range(b, r, head->type);
	case VIRTIO_BLK_T_FLUSH:
		r->op.kind = DISK_FLUSH;
		disk_start(&b->disk, &r->op);
		return 0;
	case VIRTIO_BLK_T_GET_ID:
		r->written += (uint32_t)chain_write(&r->chain, 0, b->serial, sizeof(b->serial));
		request_end(b, r, VIRTIO_BLK_S_OK, r->written);
		return 0;
	default:
		return VIRTIO_BLK_S_UNSUPP;
	}
}

/* One request from the queue.  False: there is none (now), or the device is broken. */
static bool take(struct blk *b)
{
	struct virtio_blk_outhdr head;
	struct request *r = b->free;
	uint8_t status;

	/* All are in flight when a guest that lies about its queue gets here. */
	if (!r || virtio_device_pop(&b->dev, 0, &r->chain) <= 0)
		return false;
	if (!r->chain.writable_n || r->chain.readable_size < sizeof(head)) {
		virtio_device_broken(&b->dev, "request without head or status");
		return false;
	}
	b->free = r->next_free;
	chain_read(&r->chain, 0, &head, sizeof(head));
	take_status(r);
	r->written = 1;
	status = start(b, r, &head);
	if (status)
		request_end(b, r, status, 1);
	return true;
}

/* Shows the guest what has ended. */
static void publish(struct blk *b)
{
	vq_publish(&b->dev.queues[0].vq);
	virtio_device_used(&b->dev, 0);
}

static void notify(struct virtio_device *d, unsigned int n)
{
	struct blk *b = blk_of(d);
	unsigned int budget = DEPTH;

	do {
		while (budget && take(b))
			budget--;
		if (!disk_work(&b->disk) || !budget)
			virtio_device_kick(d, n);
		publish(b);
	} while (budget && b->free && vq_kicks_on(&d->queues[n].vq));
}

static void completed(struct io_watch *w, uint32_t events)
{
	struct blk *b = w->arg;
	struct virtio_device *d = &b->dev;
	bool full;

	(void)events;
	pthread_mutex_lock(&d->lock);
	full = !b->free;
	if (!disk_work(&b->disk) || full)
		virtio_device_kick(d, 0);
	publish(b);
	pthread_mutex_unlock(&d->lock);
}

static void reset(struct virtio_device *d)
{
	disk_drain(&blk_of(d)->disk);
}

static void config_read(struct virtio_device *d, uint32_t offset, void *buf, uint32_t size)
{
	const struct blk *b = blk_of(d);

	virtio_config_copy(&b->config, sizeof(b->config), offset, buf, size);
}

static void blk_free(struct virtio_device *d)
{
	struct blk *b = blk_of(d);

	io_remove(d->env.io, &b->completions);
	disk_done(&b->disk);
	virtio_device_done(d);
	free(b);
}

static const struct virtio_ops blk_ops = {
	.name = "blk",
	.id = VIRTIO_ID_BLOCK,
	.config_read = config_read,
	.reset = reset,
	.notify = notify,
	.free = blk_free,
};

static uint64_t features(bool readonly)
{
	uint64_t f = 1ull << VIRTIO_BLK_F_SEG_MAX | 1ull << VIRTIO_BLK_F_BLK_SIZE |
		     1ull << VIRTIO_BLK_F_FLUSH;

	if (readonly)
		return f | 1ull << VIRTIO_BLK_F_RO;
	return f | 1ull << VIRTIO_BLK_F_DISCARD | 1ull << VIRTIO_BLK_F_WRITE_ZEROES;
}

static int init(struct blk *b, const struct virtio_env *env, const struct virtio_blk_config_host *c,
		struct error *err)
{
	static const uint16_t sizes[] = {DEPTH};
	off_t size = lseek(c->fd, 0, SEEK_END);

	if (size < 0)
		return error_errno(err, "its size");
	if (size == 0 || size % SECTOR)
		return error_set(err, EINVAL, "%lld bytes are not whole sectors", (long long)size);
	if (strlen(c->serial) > sizeof(b->serial))
		return error_set(err, EINVAL, "serial '%s' is longer than 20 bytes", c->serial);
	memcpy(b->serial, c->serial, strlen(c->serial));
	b->readonly = c->readonly;
	b->config = (struct virtio_blk_config){
		.capacity = (uint64_t)size / SECTOR,
		.seg_max = SEGMENTS,
		.blk_size = SECTOR,
		.max_discard_sectors = RANGE_MAX,
		.max_discard_seg = 1,
		.discard_sector_alignment = 4096 / SECTOR,
		.max_write_zeroes_sectors = RANGE_MAX,
		.max_write_zeroes_seg = 1,
		.write_zeroes_may_unmap = 1,
	};
	for (unsigned int i = DEPTH; i-- > 0;)
		request_put(b, &b->requests[i]);
	if (disk_init(&b->disk, c->fd, DEPTH, c->no_uring, err) < 0)
		return -err->code;
	b->disk.done = op_done;
	if (virtio_device_init(&b->dev, &blk_ops, env, features(c->readonly), sizes,
			       ARRAY_SIZE(sizes), err) < 0) {
		disk_done(&b->disk);
		return -err->code;
	}
	return 0;
}

int virtio_blk_new(const struct virtio_env *env, const struct virtio_blk_config_host *c,
		   struct virtio_device **ret, struct error *err)
{
	_cleanup_free_ struct blk *b = calloc(1, sizeof(*b));
	int rc;

	if (!b)
		return error_set(err, ENOMEM, "out of memory");
	if (init(b, env, c, err) < 0)
		return error_wrap(err, "disk '%s'", c->serial);
	b->completions = (struct io_watch){
		.fd = b->disk.uring ? b->disk.ring.ring_fd : -1,
		.events = EPOLLIN,
		.ready = completed,
		.arg = b,
	};
	rc = b->disk.uring ? io_add(env->io, &b->completions) : 0;
	if (rc < 0) {
		blk_free(&((struct blk *)steal_ptr(&b))->dev);
		return error_set(err, -rc, "disk '%s': watch its ring: %s", c->serial,
				 strerror(-rc));
	}
	*ret = &b->dev;
	steal_ptr(&b);
	return 0;
}
