// SPDX-License-Identifier: Apache-2.0
/* Entropy (virtio 1.2, 5.4): every buffer is filled from the host's generator. */
#include <errno.h>
#include <linux/virtio_ids.h>
#include <sys/random.h>

#include "lib/cleanup.h"
#include "vmm/virtio/devices.h"

/* Of one request; a driver that asks for more gets less, and asks again. */
#define BYTES_MAX 4096u
#define BUDGET 16u

struct rng {
	struct virtio_device dev;
	struct vq_chain chain;
};

static struct rng *rng_of(struct virtio_device *d)
{
	return (struct rng *)((uint8_t *)d - offsetof(struct rng, dev));
}

static void fill(struct virtio_device *d, const struct vq_chain *c)
{
	uint8_t bytes[BYTES_MAX];
	size_t size = c->writable_size < BYTES_MAX ? c->writable_size : BYTES_MAX;
	ssize_t n = getrandom(bytes, size, 0);

	virtio_device_push(d, 0, c->head,
			   (uint32_t)chain_write(c, 0, bytes, n > 0 ? (size_t)n : 0));
}

static void notify(struct virtio_device *d, unsigned int n)
{
	struct rng *r = rng_of(d);
	unsigned int budget = BUDGET;

	do {
		while (budget && virtio_device_pop(d, n, &r->chain) > 0) {
			if (r->chain.readable_n) {
				virtio_device_broken(d, "readable buffer to fill");
				return;
			}
			budget--;
			fill(d, &r->chain);
		}
		if (!budget)
			virtio_device_kick(d, n);
	} while (budget && vq_kicks_on(&d->queues[n].vq));
}

static void rng_free(struct virtio_device *d)
{
	virtio_device_done(d);
	free(rng_of(d));
}

static const struct virtio_ops rng_ops = {
	.name = "rng",
	.id = VIRTIO_ID_RNG,
	.notify = notify,
	.free = rng_free,
};

int virtio_rng_new(const struct virtio_env *env, struct virtio_device **ret, struct error *err)
{
	static const uint16_t sizes[] = {8};
	_cleanup_free_ struct rng *r = calloc(1, sizeof(*r));

	if (!r)
		return error_set(err, ENOMEM, "out of memory");
	if (virtio_device_init(&r->dev, &rng_ops, env, 0, sizes, ARRAY_SIZE(sizes), err) < 0)
		return -err->code;
	*ret = &r->dev;
	steal_ptr(&r);
	return 0;
}
