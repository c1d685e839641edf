// SPDX-License-Identifier: Apache-2.0
#include "vmm/virtio/queue.h"

#include <errno.h>
#include <linux/virtio_ring.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "rings are used as they are");

void vq_init(struct vq *vq, const struct mem *mem, uint16_t size_max)
{
	*vq = (struct vq){.mem = mem, .size_max = size_max};
}

void vq_reset(struct vq *vq)
{
	vq_init(vq, vq->mem, vq->size_max);
}

static int fail(struct vq *vq, const char *why)
{
	vq->broken = why;
	return -EPROTO;
}

/* An area of 2.7: its alignment, and where it is. */
static void *area(const struct vq *vq, gpa_t gpa, uint64_t align, uint64_t size)
{
	return gpa.v % align ? NULL : mem_at(vq->mem, gpa, size);
}

int vq_enable(struct vq *vq, bool event_idx, bool indirect)
{
	uint64_t n = vq->size;

	if (vq->ready)
		return 0;
	if (n == 0 || n > vq->size_max || (n & (n - 1))) {
		fail(vq, "queue size is not allowed");
		return -EINVAL;
	}
	/* The two last bytes of avail and used are there without EVENT_IDX, too (2.7.6, 2.7.8). */
	vq->desc = area(vq, vq->desc_gpa, 16, 16 * n);
	vq->avail = area(vq, vq->avail_gpa, 2, 6 + 2 * n);
	vq->used = area(vq, vq->used_gpa, 4, 6 + 8 * n);
	if (!vq->desc || !vq->avail || !vq->used) {
		fail(vq, "queue outside RAM or not aligned");
		return -EINVAL;
	}
	vq->event_idx = event_idx;
	vq->indirect = indirect;
	vq->next_avail = vq->next_used = vq->published = vq->signalled = 0;
	vq->in_flight = 0;
	vq->ready = true;
	return 0;
}

/* The one read of a descriptor: after the barrier the compiler cannot look at the original. */
static struct vring_desc desc_copy(const struct vring_desc *table, unsigned int i)
{
	struct vring_desc d;

	memcpy(&d, (const uint8_t *)table + i * sizeof(d), sizeof(d));
	__asm__ volatile("" : "+m"(d));
	return d;
}

static const char *add_buffer(const struct vq *vq, struct vq_chain *c, const struct vring_desc *d)
{
	bool writable = d->flags & VRING_DESC_F_WRITE;
	uint32_t *sum = writable ? &c->writable_size : &c->readable_size;
	unsigned int n = c->readable_n + c->writable_n;
	void *at;

	if (!writable && c->writable_n)
		return "readable buffer after a writable one";
	if (n == VQ_IOV_MAX)
		return "too many buffers";
	if (!d->len)
		return "buffer of no bytes";
	if (d->len > VQ_CHAIN_BYTES_MAX - *sum)
		return "too many bytes";
	at = mem_at(vq->mem, GPA(d->addr), d->len);
	if (!at)
		return "buffer outside RAM";
	c->iov[n] = (struct iovec){at, d->len};
	*sum += d->len;
	if (writable)
		c->writable_n++;
	else
		c->readable_n++;
	return NULL;
}

/* The table an indirect descriptor points to (2.7.5.3); *n becomes its number of entries. */
static const char *indirect_table(const struct vq *vq, const struct vring_desc *d,
				  const struct vring_desc **table, uint32_t *n)
{
	if (!vq->indirect)
		return "indirect descriptor not negotiated";
	/* (its WRITE flag is to be ignored) */
	if (d->flags & VRING_DESC_F_NEXT)
		return "indirect descriptor with a next one";
	if (!d->len || d->len % sizeof(*d) || d->len > VQ_SIZE_MAX * sizeof(*d))
		return "indirect table of a bad size";
	*table = mem_at(vq->mem, GPA(d->addr), d->len);
	if (!*table)
		return "indirect table outside RAM";
	*n = d->len / sizeof(*d);
	return NULL;
}

/* Follows the chain from `head`, which is inside the queue.  NULL, or what is wrong with it. */
static const char *walk(const struct vq *vq, uint16_t head, struct vq_chain *c)
{
	const struct vring_desc *table = vq->desc;
	uint32_t n = vq->size, i = head, left = n;
	bool nested = false;
	const char *why;

	for (;;) {
		struct vring_desc d;

		if (!left--)
			return "descriptors loop";
		d = desc_copy(table, i);
		if (d.flags & VRING_DESC_F_INDIRECT) {
			if (nested)
				return "indirect descriptor in an indirect table";
			why = indirect_table(vq, &d, &table, &n);
			if (why)
				return why;
			nested = true;
			i = 0;
			left = n;
			continue;
		}
		why = add_buffer(vq, c, &d);
		if (why)
			return why;
		if (!(d.flags & VRING_DESC_F_NEXT))
			return NULL;
		i = d.next;
		if (i >= n)
			return "descriptor index out of range";
	}
}

static uint16_t avail_index(const struct vq *vq)
{
	/* Pairs with the driver's barrier before it moves the index: entries come first. */
	return __atomic_load_n(&vq->avail->idx, __ATOMIC_ACQUIRE);
}

int vq_pop(struct vq *vq, struct vq_chain *ret)
{
	uint16_t waiting, head;
	const char *why;

	if (!vq->ready || vq->broken)
		return -EPROTO;
	waiting = (uint16_t)(avail_index(vq) - vq->next_avail);
	if (!waiting)
		return 0;
	/* A driver never has more requests out than there are descriptors. */
	if (waiting > vq->size - vq->in_flight)
		return fail(vq, "available index jumps");
	head = __atomic_load_n(&vq->avail->ring[vq->next_avail & (vq->size - 1)], __ATOMIC_RELAXED);
	if (head >= vq->size)
		return fail(vq, "head out of range");
	ret->head = head;
	ret->readable_n = ret->writable_n = 0;
	ret->readable_size = ret->writable_size = 0;
	why = walk(vq, head, ret);
	if (why)
		return fail(vq, why);
	vq->next_avail++;
	vq->in_flight++;
	return 1;
}

void vq_add_used(struct vq *vq, uint16_t head, uint32_t written)
{
	struct vring_used_elem *e;

	if (!vq->ready || vq->broken || !vq->in_flight)
		return;
	e = &vq->used->ring[vq->next_used & (vq->size - 1)];
	e->id = head;
	e->len = written;
	vq->next_used++;
	vq->in_flight--;
}

void vq_publish(struct vq *vq)
{
	if (!vq->ready || vq->broken || vq->published == vq->next_used)
		return;
	vq->published = vq->next_used;
	__atomic_store_n(&vq->used->idx, vq->published, __ATOMIC_RELEASE);
}

void vq_push(struct vq *vq, uint16_t head, uint32_t written)
{
	vq_add_used(vq, head, written);
	vq_publish(vq);
}

/* The two event indices lie behind the last ring entries (2.7.6, 2.7.8). */
static uint16_t *used_event(const struct vq *vq)
{
	return &vq->avail->ring[vq->size];
}

static uint16_t *avail_event(const struct vq *vq)
{
	return (uint16_t *)&vq->used->ring[vq->size];
}

bool vq_wants_interrupt(struct vq *vq)
{
	uint16_t now = vq->published, before = vq->signalled;

	if (!vq->ready || vq->broken || now == before)
		return false;
	/* Our used index is out before we look at what the driver wants; it does the reverse. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	vq->signalled = now;
	if (!vq->event_idx)
		return !(__atomic_load_n(&vq->avail->flags, __ATOMIC_RELAXED) &
			 VRING_AVAIL_F_NO_INTERRUPT);
	return vring_need_event(__atomic_load_n(used_event(vq), __ATOMIC_RELAXED), now, before);
}

bool vq_kicks_on(struct vq *vq)
{
	if (!vq->ready || vq->broken)
		return false;
	if (vq->event_idx)
		__atomic_store_n(avail_event(vq), vq->next_avail, __ATOMIC_RELAXED);
	else
		__atomic_store_n(&vq->used->flags, 0, __ATOMIC_RELAXED);
	/* What the driver adds from here on it tells us; what it added before we see now. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return avail_index(vq) != vq->next_avail;
}

void vq_kicks_off(struct vq *vq)
{
	if (!vq->ready || vq->broken)
		return;
	/* With event indices an avail_event that is passed already does it. */
	if (!vq->event_idx)
		__atomic_store_n(&vq->used->flags, VRING_USED_F_NO_NOTIFY, __ATOMIC_RELAXED);
}

static size_t iov_copy(const struct iovec *iov, unsigned int n, size_t offset, uint8_t *buf,
		       size_t size, bool to_iov)
{
	size_t done = 0;

	for (unsigned int i = 0; i < n && done < size; i++) {
		size_t len = iov[i].iov_len, part;
		uint8_t *at = iov[i].iov_base;

		if (offset >= len) {
			offset -= len;
			continue;
		}
		part = len - offset < size - done ? len - offset : size - done;
		if (to_iov)
			memcpy(at + offset, buf + done, part);
		else
			memcpy(buf + done, at + offset, part);
		done += part;
		offset = 0;
	}
	return done;
}

size_t chain_read(const struct vq_chain *c, size_t offset, void *buf, size_t size)
{
	return iov_copy(chain_readable(c), c->readable_n, offset, buf, size, false);
}

size_t chain_write(const struct vq_chain *c, size_t offset, const void *buf, size_t size)
{
	/* Written to the iovecs only. */
	return iov_copy(chain_writable(c), c->writable_n, offset, (uint8_t *)(uintptr_t)buf, size,
			true);
}

unsigned int iov_slice(const struct iovec *iov, unsigned int n, size_t skip, size_t size,
		       struct iovec *ret)
{
	unsigned int out = 0;

	for (unsigned int i = 0; i < n && size; i++) {
		size_t len = iov[i].iov_len;

		if (skip >= len) {
			skip -= len;
			continue;
		}
		len -= skip;
		if (len > size)
			len = size;
		ret[out++] = (struct iovec){(uint8_t *)iov[i].iov_base + skip, len};
		size -= len;
		skip = 0;
	}
	return out;
}
