// SPDX-License-Identifier: Apache-2.0
/*
 * Memory balloon (virtio 1.2, 5.5) with free page reporting.  Pages the guest gives
 * away are punched out of the memfd, so the host has them back at once; a page it
 * touches again comes as zeros.  Nothing stops a guest from touching pages that it
 * gave away: what it may have in all is the limit of the sandbox's cgroup.
 *
 * Not for a guest with passthrough: a device would go on writing to the old pages.
 */
#include <errno.h>
#include <linux/virtio_balloon.h>
#include <linux/virtio_ids.h>
#include <string.h>

#include "lib/cleanup.h"
#include "vmm/virtio/devices.h"

#define PAGE_SIZE ((uint64_t)1 << VIRTIO_BALLOON_PFN_SHIFT)
/* Of one request; Linux sends 256. */
#define PFNS_MAX 4096u
#define BUDGET 16u

/*
 * Where the queue of reports is: 5.5.2 counts queues that do not exist, Linux and QEMU do not, so
 * for them it is number 2.  We offer none of the others: whichever it is set up as, it is that one.
 */
enum { INFLATE, DEFLATE, REPORTS, QUEUES = 5 };

struct balloon {
	struct virtio_device dev;
	struct virtio_balloon_config config; /* num_pages is ours, actual the guest's */
	struct vq_chain chain;
	uint32_t pfns[PFNS_MAX];
};

static struct balloon *balloon_of(struct virtio_device *d)
{
	return (struct balloon *)((uint8_t *)d - offsetof(struct balloon, dev));
}

/* Lets v[root] sink to where it belongs in the heap v[0..n). */
static void sink(uint32_t *v, size_t root, size_t n)
{
	for (size_t child; (child = 2 * root + 1) < n; root = child) {
		uint32_t x = v[root];

		if (child + 1 < n && v[child + 1] > v[child])
			child++;
		if (x >= v[child])
			return;
		v[root] = v[child];
		v[child] = x;
	}
}

/* Ascending.  Not qsort(3): for a list as long as Linux sends, libc's allocates, and asks the
 * kernel how much memory there is, which a thread of ours may not. */
static void sort(uint32_t *v, size_t n)
{
	for (size_t i = n / 2; i-- > 0;)
		sink(v, i, n);
	for (size_t i = n; i-- > 1;) {
		uint32_t x = v[0];

		v[0] = v[i];
		v[i] = x;
		sink(v, 0, i);
	}
}

/* Gives back the pages in b->pfns, neighbours at once.  A guest may hold pages we cannot free (of a
 * hugepage that it keeps a part of): that is no error. */
static void discard_pages(struct balloon *b, size_t n)
{
	const struct mem *m = b->dev.env.mem;
	size_t end;

	sort(b->pfns, n);
	for (size_t i = 0; i < n; i = end) {
		for (end = i + 1; end < n && b->pfns[end] == b->pfns[end - 1] + 1; end++)
			;
		if (mem_discard(m, GPA(b->pfns[i] * PAGE_SIZE), (end - i) * PAGE_SIZE) == -EFAULT)
			virtio_device_broken(&b->dev, "page outside RAM");
	}
}

static void inflate(struct balloon *b)
{
	const struct vq_chain *c = &b->chain;

	if (c->writable_n || c->readable_size % 4 || c->readable_size > sizeof(b->pfns)) {
		virtio_device_broken(&b->dev, "unfit list of pages");
		return;
	}
	chain_read(c, 0, b->pfns, c->readable_size);
	discard_pages(b, c->readable_size / 4);
}

/* Free page reporting (5.5.6.7): the buffers are the free pages. */
static void report(struct balloon *b)
{
	const struct mem *m = b->dev.env.mem;
	const struct vq_chain *c = &b->chain;

	if (c->readable_n) {
		virtio_device_broken(&b->dev, "readable buffer among free pages");
		return;
	}
	for (unsigned int i = 0; i < c->writable_n; i++)
		mem_discard(m, mem_gpa(m, c->iov[i].iov_base), c->iov[i].iov_len);
}

static void notify(struct virtio_device *d, unsigned int n)
{
	struct balloon *b = balloon_of(d);
	unsigned int budget = BUDGET;

	do {
		while (budget && virtio_device_pop(d, n, &b->chain) > 0) {
			if (n == INFLATE)
				inflate(b);
			else if (n >= REPORTS)
				report(b);
			/* Deflating takes nothing: pages come back as they are touched. */
			virtio_device_push(d, n, b->chain.head, 0);
			budget--;
		}
		if (!budget)
			virtio_device_kick(d, n);
	} while (budget && vq_kicks_on(&d->queues[n].vq));
}

static void config_read(struct virtio_device *d, uint32_t offset, void *buf, uint32_t size)
{
	const struct balloon *b = balloon_of(d);

	virtio_config_copy(&b->config, sizeof(b->config), offset, buf, size);
}

static void config_write(struct virtio_device *d, uint32_t offset, const void *buf, uint32_t size)
{
	struct balloon *b = balloon_of(d);

	if (offset == offsetof(struct virtio_balloon_config, actual) &&
	    size == sizeof(b->config.actual))
		memcpy(&b->config.actual, buf, size);
}

static void reset(struct virtio_device *d)
{
	balloon_of(d)->config.actual = 0;
}

static void balloon_free(struct virtio_device *d)
{
	virtio_device_done(d);
	free(balloon_of(d));
}

static const struct virtio_ops balloon_ops = {
	.name = "balloon",
	.id = VIRTIO_ID_BALLOON,
	.config_read = config_read,
	.config_write = config_write,
	.reset = reset,
	.notify = notify,
	.free = balloon_free,
};

int virtio_balloon_new(const struct virtio_env *env, struct virtio_device **ret, struct error *err)
{
	static const uint16_t sizes[QUEUES] = {128, 128, 128, 128, 128};
	const uint64_t features = 1ull << VIRTIO_BALLOON_F_DEFLATE_ON_OOM |
				  1ull << VIRTIO_BALLOON_F_REPORTING;
	_cleanup_free_ struct balloon *b = calloc(1, sizeof(*b));

	if (!b)
		return error_set(err, ENOMEM, "out of memory");
	if (virtio_device_init(&b->dev, &balloon_ops, env, features, sizes, QUEUES, err) < 0)
		return -err->code;
	*ret = &b->dev;
	steal_ptr(&b);
	return 0;
}

void virtio_balloon_set(struct virtio_device *d, uint64_t bytes)
{
	struct balloon *b = balloon_of(d);
	uint64_t most = d->env.mem->size;

	pthread_mutex_lock(&d->lock);
	b->config.num_pages = (uint32_t)((bytes < most ? bytes : most) / PAGE_SIZE);
	virtio_device_config_changed(d);
	pthread_mutex_unlock(&d->lock);
}

uint64_t virtio_balloon_actual(struct virtio_device *d)
{
	struct balloon *b = balloon_of(d);
	uint64_t pages;

	pthread_mutex_lock(&d->lock);
	pages = b->config.actual;
	pthread_mutex_unlock(&d->lock);
	return pages * PAGE_SIZE;
}
