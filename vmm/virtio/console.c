// SPDX-License-Identifier: Apache-2.0
/*
 * Console with ports (virtio 1.2, 5.3).  Both directions are flow controlled: what
 * the host's socket does not take stays in the guest's buffers, and what the guest
 * has no buffers for stays in the socket.  Nothing is stored here but one request
 * per port that is half sent.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/cleanup.h"
#include "vmm/virtio/devices.h"

#define PORTS 2u
/* Queues (5.3.2): receive and transmit of port 0, the two of control, then those of port 1.  Names
 * are the guest's: it receives what we write. */
#define QUEUES 6u
#define CONTROL_RX 2u
#define CONTROL_TX 3u
/* Requests handled before others have their turn. */
#define BUDGET 64u

/* Control messages that wait for a buffer, one bit each: so a guest that asks for ever and takes
 * nothing costs nothing.  They go out in this order. */
enum pending { ADD = 1, CONSOLE = 2, NAME = 4, OPEN = 8 };

struct port {
	struct console *owner;
	struct io_watch host; /* the socket */
	unsigned int rx, tx;  /* queue numbers */
	const char *name;     /* NULL: it is the kernel's console */
	unsigned int pending;
	bool host_open;	 /* the other end is there */
	bool guest_open; /* somebody in the guest has it open */
	bool rx_starved; /* the guest has no buffers */
	bool half_sent;	 /* `chain` is taken from the queue and `sent` bytes of it went out */
	size_t sent;
	struct vq_chain chain;
};

struct console {
	struct virtio_device dev;
	struct virtio_console_config config;
	struct port ports[PORTS];
	struct vq_chain scratch;
};

static struct console *console_of(struct virtio_device *d)
{
	return (struct console *)((uint8_t *)d - offsetof(struct console, dev));
}

/* Says what the loop should wait for on the port's socket; nothing is polled that cannot be used.
 */
static void watch(struct port *p)
{
	struct console *c = p->owner;
	bool live = c->dev.active && p->host_open;
	uint32_t events = 0;

	if (live && p->guest_open && !p->rx_starved)
		events |= EPOLLIN;
	if (live && p->half_sent)
		events |= EPOLLOUT;
	/* Not even "hang-up", which cannot be masked, while there is nobody to tell. */
	if (!events) {
		io_remove(c->dev.env.io, &p->host);
		p->host.events = 0;
		return;
	}
	io_modify(c->dev.env.io, &p->host, events);
	io_add(c->dev.env.io, &p->host);
}

static void send_control(struct console *c);

static void host_closed(struct port *p)
{
	p->host_open = false;
	p->pending |= OPEN;
	send_control(p->owner);
}

/* Takes the rest of the half-sent request.  True: all is out (or there is nobody to take it). */
static bool send_rest(struct port *p)
{
	struct iovec part[VQ_IOV_MAX];
	struct msghdr msg = {.msg_iov = part};
	ssize_t n = 0;

	while (p->host_open && p->sent < p->chain.readable_size) {
		msg.msg_iovlen = iov_slice(chain_readable(&p->chain), p->chain.readable_n, p->sent,
					   SIZE_MAX, part);
		n = sendmsg(p->host.fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EAGAIN)
			return false;
		if (n < 0 && errno != EINTR)
			host_closed(p);
		if (n > 0)
			p->sent += (size_t)n;
	}
	return true;
}

/* Guest to host. */
static void port_transmit(struct port *p)
{
	struct virtio_device *d = &p->owner->dev;
	struct vq *vq = &d->queues[p->tx].vq;
	unsigned int budget = BUDGET;

	while (d->active && vq->ready) {
		if (!p->half_sent) {
			int rc = virtio_device_pop(d, p->tx, &p->chain);

			if (rc == 0 && vq_kicks_on(vq))
				continue;
			if (rc <= 0)
				break;
			if (p->chain.writable_n) {
				virtio_device_broken(d, "writable buffer to transmit from");
				break;
			}
			p->sent = 0;
			p->half_sent = true;
		}
		if (!send_rest(p))
			break;
		p->half_sent = false;
		virtio_device_push(d, p->tx, p->chain.head, 0);
		if (!--budget) {
			virtio_device_kick(d, p->tx);
			break;
		}
	}
	watch(p);
}

/* One request's worth of what the host sent.  False: nothing more now. */
static bool receive_one(struct port *p)
{
	struct virtio_device *d = &p->owner->dev;
	struct vq *vq = &d->queues[p->rx].vq;
	struct vq_chain *c = &p->owner->scratch;
	struct msghdr msg = {0};
	char peek;
	ssize_t n;
	int rc;

	/* Taken requests cannot be put back: so only when there is something to put in. */
	n = recv(p->host.fd, &peek, 1, MSG_PEEK | MSG_DONTWAIT);
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		host_closed(p);
	if (n <= 0)
		return false;
	rc = virtio_device_pop(d, p->rx, c);
	if (rc == 0 && vq_kicks_on(vq))
		return true;
	p->rx_starved = rc == 0;
	if (rc <= 0)
		return false;
	if (c->readable_n || !c->writable_n) {
		virtio_device_broken(d, "readable buffer to receive into");
		return false;
	}
	/* The kernel takes the iovecs as they are, and only reads them. */
	msg.msg_iov = (struct iovec *)(uintptr_t)chain_writable(c);
	msg.msg_iovlen = c->writable_n;
	n = recvmsg(p->host.fd, &msg, MSG_DONTWAIT);
	virtio_device_push(d, p->rx, c->head, n > 0 ? (uint32_t)n : 0);
	return n > 0;
}

/* Host to guest. */
static void port_receive(struct port *p)
{
	struct virtio_device *d = &p->owner->dev;

	if (d->queues[p->rx].vq.ready && p->guest_open)
		for (unsigned int i = 0; i < BUDGET && p->host_open && d->active; i++)
			if (!receive_one(p))
				break;
	watch(p); /* with data left the level-triggered watch calls again */
}

static void host_ready(struct io_watch *w, uint32_t events)
{
	struct port *p = w->arg;
	struct virtio_device *d = &p->owner->dev;

	pthread_mutex_lock(&d->lock);
	if (d->active) {
		if (p->half_sent && events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
			port_transmit(p);
		if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
			port_receive(p);
	} else {
		watch(p); /* broken in the meantime: stops the level-triggered event */
	}
	pthread_mutex_unlock(&d->lock);
}

/* One control message into one of the guest's buffers (5.3.6.2).  False: there is none. */
static bool control_put(struct console *c, unsigned int id, uint16_t event, uint16_t value,
			const char *text)
{
	const struct virtio_console_control msg = {.id = id, .event = event, .value = value};
	struct virtio_device *d = &c->dev;
	struct vq_chain *chain = &c->scratch;
	size_t n;

	if (virtio_device_pop(d, CONTROL_RX, chain) <= 0)
		return false;
	if (chain->readable_n || chain->writable_size < sizeof(msg) + strlen(text)) {
		virtio_device_broken(d, "unfit buffer for a control message");
		return false;
	}
	n = chain_write(chain, 0, &msg, sizeof(msg));
	n += chain_write(chain, n, text, strlen(text));
	virtio_device_push(d, CONTROL_RX, chain->head, (uint32_t)n);
	return true;
}

static bool port_control(struct console *c, unsigned int id, enum pending what)
{
	const struct port *p = &c->ports[id];

	switch (what) {
	case ADD:
		return control_put(c, id, VIRTIO_CONSOLE_PORT_ADD, 1, "");
	case CONSOLE:
		return control_put(c, id, VIRTIO_CONSOLE_CONSOLE_PORT, 1, "");
	case NAME:
		return control_put(c, id, VIRTIO_CONSOLE_PORT_NAME, 1, p->name);
	default:
		return control_put(c, id, VIRTIO_CONSOLE_PORT_OPEN, p->host_open, "");
	}
}

/* All that wait, as far as there are buffers. */
static void send_control(struct console *c)
{
	struct vq *vq = &c->dev.queues[CONTROL_RX].vq;

	if (!virtio_device_has(&c->dev, VIRTIO_CONSOLE_F_MULTIPORT) || !vq->ready)
		return;
	for (unsigned int id = 0; id < PORTS; id++)
		for (unsigned int what = ADD; what <= OPEN; what <<= 1) {
			if (!(c->ports[id].pending & what))
				continue;
			while (c->dev.active && !port_control(c, id, what))
				if (!vq_kicks_on(vq))
					return;
			c->ports[id].pending &= ~what;
		}
}

static void control(struct console *c, const struct virtio_console_control *m)
{
	struct port *p = m->id < PORTS ? &c->ports[m->id] : NULL;

	if (m->event == VIRTIO_CONSOLE_DEVICE_READY && m->value == 1)
		for (unsigned int i = 0; i < PORTS; i++)
			c->ports[i].pending |= ADD;
	else if (m->event == VIRTIO_CONSOLE_PORT_READY && m->value == 1 && p)
		p->pending |= p->name ? NAME | OPEN : CONSOLE | OPEN;
	else if (m->event == VIRTIO_CONSOLE_PORT_OPEN && p)
		p->guest_open = m->value;
	/* Anything else is a driver newer than we are, or a guest that could not add a port. */
	if (p)
		watch(p);
}

static void control_receive(struct console *c)
{
	struct virtio_device *d = &c->dev;
	struct virtio_console_control m;
	unsigned int budget = BUDGET;
	int rc;

	do {
		while (budget && (rc = virtio_device_pop(d, CONTROL_TX, &c->scratch)) > 0) {
			budget--;
			if (chain_read(&c->scratch, 0, &m, sizeof(m)) < sizeof(m)) {
				virtio_device_broken(d, "control message too short");
				return;
			}
			virtio_device_push(d, CONTROL_TX, c->scratch.head, 0);
			control(c, &m);
		}
		if (!budget)
			virtio_device_kick(d, CONTROL_TX);
	} while (budget && vq_kicks_on(&d->queues[CONTROL_TX].vq));
	send_control(c);
}

static void notify(struct virtio_device *d, unsigned int n)
{
	struct console *c = console_of(d);

	if (n == CONTROL_RX)
		send_control(c);
	else if (n == CONTROL_TX)
		control_receive(c);
	for (unsigned int i = 0; i < PORTS; i++) {
		struct port *p = &c->ports[i];

		if (n == p->tx && !p->half_sent)
			port_transmit(p);
		if (n == p->rx) {
			p->rx_starved = false;
			port_receive(p);
		}
	}
}

static int activate(struct virtio_device *d)
{
	struct console *c = console_of(d);

	/* Without ports there is one, and it is open (5.3.5). */
	c->ports[0].guest_open = !virtio_device_has(d, VIRTIO_CONSOLE_F_MULTIPORT);
	return 0;
}

static void reset(struct virtio_device *d)
{
	struct console *c = console_of(d);

	for (unsigned int i = 0; i < PORTS; i++) {
		struct port *p = &c->ports[i];

		p->pending = 0;
		p->guest_open = p->rx_starved = p->half_sent = false;
		watch(p);
	}
}

static void config_read(struct virtio_device *d, uint32_t offset, void *buf, uint32_t size)
{
	const struct console *c = console_of(d);

	virtio_config_copy(&c->config, sizeof(c->config), offset, buf, size);
}

static void console_free(struct virtio_device *d)
{
	virtio_device_done(d);
	free(console_of(d));
}

static const struct virtio_ops console_ops = {
	.name = "console",
	.id = VIRTIO_ID_CONSOLE,
	.config_read = config_read,
	.activate = activate,
	.reset = reset,
	.notify = notify,
	.free = console_free,
};

static void init_port(struct console *c, unsigned int id, int fd, const char *name)
{
	c->ports[id] = (struct port){
		.owner = c,
		.host = {.fd = fd, .ready = host_ready, .arg = &c->ports[id]},
		.rx = id ? 2 * id + 2 : 0,
		.tx = id ? 2 * id + 3 : 1,
		.name = name,
		.host_open = true,
	};
}

int virtio_console_new(const struct virtio_env *env, int console_fd, int agent_fd,
		       struct virtio_device **ret, struct error *err)
{
	static const uint16_t sizes[QUEUES] = {64, 64, 64, 64, 128, 128};
	_cleanup_free_ struct console *c = calloc(1, sizeof(*c));

	if (!c)
		return error_set(err, ENOMEM, "out of memory");
	c->config.max_nr_ports = PORTS;
	init_port(c, 0, console_fd, NULL);
	init_port(c, 1, agent_fd, VIRTIO_AGENT_PORT);
	if (virtio_device_init(&c->dev, &console_ops, env, 1ull << VIRTIO_CONSOLE_F_MULTIPORT,
			       sizes, QUEUES, err) < 0)
		return -err->code;
	*ret = &c->dev;
	steal_ptr(&c);
	return 0;
}
