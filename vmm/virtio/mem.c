// SPDX-License-Identifier: Apache-2.0
/*
 * Memory that comes while the guest runs (virtio 1.2, 5.15): the region that a lent memory grows
 * into (vmm/mem/mem.h).  What has become RAM there is asked for ("requested") and may be plugged,
 * in blocks of BLOCK; what has not, may not, and is not to be touched.
 *
 * It is not asked back.  A block that the guest unplugs keeps what is in it, which is the guest's
 * own: a function may still be writing to it.
 */
#include <errno.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_mem.h>
#include <string.h>

#include "lib/cleanup.h"
#include "vmm/virtio/devices.h"

#define BLOCK (2ull << 20)
#define BUDGET 16u

struct virtio_mem {
	struct virtio_device dev;
	struct virtio_mem_config config;
	bool *plugged; /* by block */
	struct vq_chain chain;
};

static struct virtio_mem *mem_of(struct virtio_device *d)
{
	return (struct virtio_mem *)((uint8_t *)d - offsetof(struct virtio_mem, dev));
}

/* A request's blocks: true if they are all in the part that may be used. */
static bool find_blocks(const struct virtio_mem *m, const struct virtio_mem_req_plug *r,
			uint64_t *ret_first)
{
	const uint64_t offset = r->addr - m->config.addr; /* huge when it is below */
	const uint64_t size = r->nb_blocks * BLOCK, all = m->config.usable_region_size;

	*ret_first = offset / BLOCK;
	return r->nb_blocks && offset % BLOCK == 0 && size <= all && offset <= all - size;
}

static unsigned int count_plugged(const struct virtio_mem *m, uint64_t first, unsigned int n)
{
	unsigned int plugged = 0;

	for (unsigned int i = 0; i < n; i++)
		plugged += m->plugged[first + i];
	return plugged;
}

static uint16_t plug(struct virtio_mem *m, const struct virtio_mem_req_plug *r, bool on)
{
	uint64_t first;

	if (!find_blocks(m, r, &first) ||
	    count_plugged(m, first, r->nb_blocks) != (on ? 0u : r->nb_blocks))
		return VIRTIO_MEM_RESP_ERROR;
	if (on && m->config.plugged_size + r->nb_blocks * BLOCK > m->config.requested_size)
		return VIRTIO_MEM_RESP_NACK;
	memset(m->plugged + first, on, r->nb_blocks * sizeof(*m->plugged));
	if (on)
		m->config.plugged_size += r->nb_blocks * BLOCK;
	else
		m->config.plugged_size -= r->nb_blocks * BLOCK;
	return VIRTIO_MEM_RESP_ACK;
}

static uint16_t state(const struct virtio_mem *m, const struct virtio_mem_req_plug *r,
		      uint16_t *ret)
{
	unsigned int plugged;
	uint64_t first;

	if (!find_blocks(m, r, &first))
		return VIRTIO_MEM_RESP_ERROR;
	plugged = count_plugged(m, first, r->nb_blocks);
	*ret = plugged == r->nb_blocks ? VIRTIO_MEM_STATE_PLUGGED
	       : plugged	       ? VIRTIO_MEM_STATE_MIXED
				       : VIRTIO_MEM_STATE_UNPLUGGED;
	return VIRTIO_MEM_RESP_ACK;
}

static uint16_t unplug_all(struct virtio_mem *m)
{
	memset(m->plugged, 0, m->config.region_size / BLOCK * sizeof(*m->plugged));
	m->config.plugged_size = 0;
	return VIRTIO_MEM_RESP_ACK;
}

static void serve(struct virtio_mem *m)
{
	const struct vq_chain *c = &m->chain;
	struct virtio_mem_resp resp = {.type = VIRTIO_MEM_RESP_ERROR};
	struct virtio_mem_req req;

	if (chain_read(c, 0, &req, sizeof(req)) != sizeof(req) || c->writable_size < sizeof(resp)) {
		virtio_device_broken(&m->dev, "request of odd size");
		return;
	}
	/* The three kinds with blocks look the same. */
	if (req.type == VIRTIO_MEM_REQ_PLUG || req.type == VIRTIO_MEM_REQ_UNPLUG)
		resp.type = plug(m, &req.u.plug, req.type == VIRTIO_MEM_REQ_PLUG);
	else if (req.type == VIRTIO_MEM_REQ_UNPLUG_ALL)
		resp.type = unplug_all(m);
	else if (req.type == VIRTIO_MEM_REQ_STATE)
		resp.type = state(m, &req.u.plug, &resp.u.state.state);
	virtio_device_push(&m->dev, 0, c->head, (uint32_t)chain_write(c, 0, &resp, sizeof(resp)));
}

static void notify(struct virtio_device *d, unsigned int n)
{
	struct virtio_mem *m = mem_of(d);
	unsigned int budget = BUDGET;

	do {
		while (budget && d->active && virtio_device_pop(d, n, &m->chain) > 0) {
			serve(m);
			budget--;
		}
		if (!budget)
			virtio_device_kick(d, n);
	} while (budget && d->active && vq_kicks_on(&d->queues[n].vq));
}

static void config_read(struct virtio_device *d, uint32_t offset, void *buf, uint32_t size)
{
	const struct virtio_mem *m = mem_of(d);

	virtio_config_copy(&m->config, sizeof(m->config), offset, buf, size);
}

static void mem_free(struct virtio_device *d)
{
	virtio_device_done(d);
	free(mem_of(d)->plugged);
	free(mem_of(d));
}

static const struct virtio_ops mem_ops = {
	.name = "memory",
	.id = VIRTIO_ID_MEM,
	.config_read = config_read,
	.notify = notify,
	.free = mem_free,
};

/* What is RAM now, as far as the guest is concerned. */
static void look(struct virtio_mem *m)
{
	const uint64_t grown = __atomic_load_n(&m->dev.env.mem->grown, __ATOMIC_ACQUIRE);

	m->config.usable_region_size = m->config.requested_size = grown;
}

int virtio_mem_new(const struct virtio_env *env, struct virtio_device **ret, struct error *err)
{
	static const uint16_t sizes[] = {16};
	const struct mem_region *r = &env->mem->regions[env->mem->regions_n - 1];
	_cleanup_free_ struct virtio_mem *m = calloc(1, sizeof(*m));
	_cleanup_free_ bool *plugged = calloc(r->size / BLOCK, sizeof(*plugged));

	if (!m || !plugged)
		return error_set(err, ENOMEM, "out of memory");
	if (!env->mem->grows)
		return error_set(err, EINVAL, "the guest's memory does not grow");
	if (virtio_device_init(&m->dev, &mem_ops, env, 1ull << VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE,
			       sizes, ARRAY_SIZE(sizes), err) < 0)
		return -err->code;
	m->config = (struct virtio_mem_config){.block_size = BLOCK,
					       .addr = r->base.v,
					       .region_size = r->size};
	look(m);
	m->plugged = steal_ptr(&plugged);
	*ret = &m->dev;
	steal_ptr(&m);
	return 0;
}

void virtio_mem_grown(struct virtio_device *d)
{
	pthread_mutex_lock(&d->lock);
	look(mem_of(d));
	virtio_device_config_changed(d);
	pthread_mutex_unlock(&d->lock);
}

uint64_t virtio_mem_plugged(struct virtio_device *d)
{
	uint64_t plugged;

	pthread_mutex_lock(&d->lock);
	plugged = mem_of(d)->config.plugged_size;
	pthread_mutex_unlock(&d->lock);
	return plugged;
}
