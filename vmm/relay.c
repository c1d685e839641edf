// SPDX-License-Identifier: Apache-2.0
#include "vmm/relay.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/spec.h"
#include "lib/timeline.h"

#define EVENT_LISTEN (RELAY_EVENT + 0)
#define EVENT_AGENT (RELAY_EVENT + 1)
#define EVENT_CLIENT (RELAY_EVENT + 2) /* + index */

/* More than this for one client means that the guest floods it with credit or results: data is
 * bounded by the windows. */
#define CLIENT_QUEUE_MAX (8u << 20)
/* No stream's window grows beyond this, whatever the client says. */
#define WINDOW_MAX (1 << 20)

static int watch(struct relay *r, int op, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event ev = {.events = events, .data.u64 = data};

	return epoll_ctl(r->epoll_fd, op, fd, &ev) < 0 ? -errno : 0;
}

static bool agent_full(const struct relay *r)
{
	return r->phase != RELAY_RUNNING || frames_queued(&r->agent) > RELAY_QUEUE_MAX;
}

static void watch_client(struct relay *r, struct client *c)
{
	uint32_t events = 0;

	if (!agent_full(r))
		events |= EPOLLIN;
	if (frames_queued(&c->frames))
		events |= EPOLLOUT;
	watch(r, EPOLL_CTL_MOD, c->frames.fd, events, EVENT_CLIENT + (uint64_t)(c - r->clients));
}

static void watch_all(struct relay *r)
{
	watch(r, EPOLL_CTL_MOD, r->agent.fd, EPOLLIN | (frames_queued(&r->agent) ? EPOLLOUT : 0),
	      EVENT_AGENT);
	for (unsigned int i = 0; i < RELAY_CLIENTS_MAX; i++)
		if (r->clients[i].frames.fd >= 0)
			watch_client(r, &r->clients[i]);
}

int relay_init(struct relay *r, int epoll_fd, int listen_fd, int agent_fd,
	       const struct spec_sandbox *sandbox, const struct relay_machine *machine,
	       struct error *err)
{
	*r = (struct relay){
		.epoll_fd = epoll_fd,
		.listen_fd = listen_fd,
		.next_session = 1,
		.sandbox = sandbox,
		.machine = machine,
	};
	frames_init(&r->agent, agent_fd, WIRE_GUEST_PAYLOAD_MAX);
	for (unsigned int i = 0; i < RELAY_CLIENTS_MAX; i++)
		r->clients[i].frames.fd = -1;
	if (watch(r, EPOLL_CTL_ADD, listen_fd, EPOLLIN, EVENT_LISTEN) < 0 ||
	    watch(r, EPOLL_CTL_ADD, agent_fd, EPOLLIN, EVENT_AGENT) < 0)
		return error_errno(err, "watch a descriptor");
	return 0;
}

void relay_done(struct relay *r)
{
	for (unsigned int i = 0; i < RELAY_CLIENTS_MAX; i++)
		frames_done(&r->clients[i].frames);
	frames_done(&r->agent);
	cleanup_close(&r->listen_fd);
}

static void client_add(struct relay *r)
{
	int fd = accept4(r->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct client *c = NULL;

	if (fd < 0)
		return;
	for (unsigned int i = 0; i < RELAY_CLIENTS_MAX && !c; i++)
		if (r->clients[i].frames.fd < 0)
			c = &r->clients[i];
	if (!c || watch(r, EPOLL_CTL_ADD, fd, 0, EVENT_CLIENT + (uint64_t)(c - r->clients)) < 0) {
		close(fd);
		return;
	}
	*c = (struct client){.session = r->next_session++};
	frames_init(&c->frames, fd, WIRE_PAYLOAD_MAX);
	for (unsigned int i = 0; i < WIRE_STREAMS_MAX; i++)
		c->window[i] = WIRE_WINDOW;
	watch_client(r, c);
}

/* The client is gone, or is cut off: its process goes with it. */
static int client_remove(struct relay *r, struct client *c, struct error *err)
{
	struct wire_header hangup = {.type = WIRE_HANGUP, .session = c->session};
	bool running = !c->ending && (c->has_process || c->requested);

	frames_done(&c->frames);
	if (c->owner)
		r->owners--;
	if (running && frames_put(&r->agent, &hangup, NULL) < 0)
		return error_set(err, ENOMEM, "out of memory");
	return 0;
}

static int credit_given(struct client *c, const struct wire_header *h, const uint8_t *payload)
{
	struct wire_credit credit;
	struct msg m;

	msg_init_decode(&m, payload, h->size);
	wire_credit_codec(&m, &credit);
	if (msg_finish(&m) < 0 || c->window[h->stream] + (int64_t)credit.bytes > WINDOW_MAX)
		return -EPROTO;
	c->window[h->stream] += credit.bytes;
	return 0;
}

/* The monitor's own answer. */
static int answer(struct client *c, struct error *err)
{
	struct wire_result result = {.code = err->code, .text = err->text};
	struct msg m;
	int rc;

	msg_init_encode(&m);
	wire_result_codec(&m, &result);
	rc = frames_put_msg(&c->frames, WIRE_RESULT, 0, 0, &m);
	msg_done(&m);
	return rc < 0 ? rc : frames_flush(&c->frames);
}

static int machine_pause(struct relay *r, struct error *err)
{
	if (r->owners > 1)
		return error_set(err, EBUSY, "the machine has %u containers", r->owners);
	if (r->machine->pause(r->machine->arg, err) < 0)
		return -err->code;
	r->paused = true;
	return 0;
}

static int machine_resume(struct relay *r, struct error *err)
{
	if (!r->paused)
		return error_set(err, EALREADY, "the machine is not paused");
	if (r->machine->resume(r->machine->arg, err) < 0)
		return -err->code;
	r->paused = false;
	return 0;
}

static int machine_memory(struct relay *r, uint64_t bytes, struct error *err)
{
	if (r->owners > 1)
		return error_set(err, EBUSY, "the machine has %u containers", r->owners);
	return r->machine->resize(r->machine->arg, bytes, err);
}

static int machine_request(struct relay *r, struct client *c, const struct wire_header *h,
			   const uint8_t *payload)
{
	struct wire_machine_memory memory = {0};
	struct error err = {0};
	struct msg m;

	switch (h->type) {
	case WIRE_MACHINE_PAUSE:
		machine_pause(r, &err);
		break;
	case WIRE_MACHINE_RESUME:
		machine_resume(r, &err);
		break;
	default:
		msg_init_decode(&m, payload, h->size);
		wire_machine_memory_codec(&m, &memory);
		if (msg_finish(&m) < 0)
			return -EPROTO;
		machine_memory(r, memory.bytes, &err);
	}
	return answer(c, &err);
}

/* A request to a guest that does not run.  The end of its container is not refused: the machine
 * goes on for that. */
static int refuse_paused(struct relay *r, struct client *c, const struct wire_header *h,
			 const uint8_t *payload, bool *ret_refused)
{
	struct wire_signal signal = {0};
	struct error err = {0};
	struct msg m;

	*ret_refused = false;
	if (h->type == WIRE_SIGNAL) {
		msg_init_decode(&m, payload, h->size);
		wire_signal_codec(&m, &signal);
		if (msg_finish(&m) == 0 && signal.container && signal.signal == SIGKILL)
			machine_resume(r, &err);
		msg_done(&m);
		if (!r->paused)
			return 0;
	}
	*ret_refused = true;
	error_set(&err, EBUSY, "the machine is paused");
	return answer(c, &err);
}

/* One frame from a client.  -EPROTO: cut it off. */
static int from_client(struct relay *r, struct client *c, const struct wire_header *h,
		       const uint8_t *payload)
{
	struct wire_header on = *h;
	bool refused;
	int rc;

	if (h->type < WIRE_RESIZE && (h->session || c->requested))
		return -EPROTO;
	if (h->type < WIRE_RESIZE && c->ending)
		return 0;
	if (h->type >= WIRE_MACHINE_PAUSE && h->type <= WIRE_MACHINE_MEMORY)
		return machine_request(r, c, h, payload);
	if (h->type < WIRE_MACHINE_PAUSE && r->paused) {
		rc = refuse_paused(r, c, h, payload, &refused);
		if (rc < 0 || refused)
			return rc;
	}
	switch (h->type) {
	case WIRE_CREATE:
	case WIRE_EXEC:
		if (c->has_process)
			return -EPROTO;
		c->has_process = true;
		if (h->type == WIRE_CREATE) {
			c->owner = r->had_owner = true;
			r->owners++;
		}
		__attribute__((fallthrough));
	case WIRE_START:
	case WIRE_SIGNAL:
	case WIRE_FREEZE:
	case WIRE_PS:
	case WIRE_UPDATE:
	case WIRE_STATS:
	case WIRE_SHUTDOWN:
		if (c->requested)
			return -EPROTO;
		c->requested = true;
		break;
	case WIRE_CREDIT:
		if (credit_given(c, h, payload) < 0)
			return -EPROTO;
		break;
	case WIRE_DATA:
	case WIRE_RESIZE:
		break;
	default:
		return -EPROTO;
	}
	if (h->session || c->ending)
		return h->session ? -EPROTO : 0;
	on.session = c->session;
	return frames_put(&r->agent, &on, payload);
}

static int client_event(struct relay *r, struct client *c, uint32_t events, struct error *err)
{
	struct wire_header h;
	const uint8_t *payload;
	int rc = 0;

	if (c->frames.fd < 0)
		return 0; /* closed earlier in this round */
	/* Nothing of it is with the guest yet. */
	if (r->phase != RELAY_RUNNING && events & (EPOLLHUP | EPOLLERR)) {
		c->has_process = c->requested = false;
		return client_remove(r, c, err);
	}
	if (events & EPOLLOUT)
		rc = frames_flush(&c->frames);
	if (rc == 0 && events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
		/* Not while the queue to the guest is full: the hang-up is seen again later. */
		if (agent_full(r) && !(events & (EPOLLHUP | EPOLLERR)))
			return 0;
		rc = frames_fill(&c->frames);
		while (rc >= 0 && (rc = frames_next(&c->frames, &h, &payload)) > 0)
			rc = from_client(r, c, &h, payload);
	}
	if (rc < 0 || (c->ending && !frames_queued(&c->frames)))
		return client_remove(r, c, err);
	return 0;
}

static int guest_fault(struct error *err, const char *what)
{
	return error_set(err, EPROTO, "the guest broke the protocol: %s", what);
}

static struct client *find(struct relay *r, uint32_t session)
{
	for (unsigned int i = 0; i < RELAY_CLIENTS_MAX; i++)
		if (r->clients[i].frames.fd >= 0 && r->clients[i].session == session)
			return &r->clients[i];
	return NULL;
}

/* The agent's word to the monitor itself: first WIRE_READY, then the result of WIRE_SETUP. */
static int from_agent_to_us(struct relay *r, const struct wire_header *h, const uint8_t *payload,
			    struct error *err)
{
	struct spec_sandbox sandbox = *r->sandbox;
	struct wire_ready ready;
	struct wire_result result;
	struct timespec now;
	struct msg m;
	int rc;

	msg_init_decode(&m, payload, h->size);
	if (h->type == WIRE_READY && r->phase == RELAY_BOOTING) {
		wire_ready_codec(&m, &ready);
		rc = msg_finish(&m);
		msg_done(&m);
		if (rc < 0 || ready.version != WIRE_VERSION)
			return guest_fault(err, "its agent is of another version");
		r->guest_uptime_us = ready.uptime_us;
		timeline_mark("agent");
		clock_gettime(CLOCK_REALTIME, &now);
		sandbox.realtime_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
		msg_init_encode(&m);
		spec_sandbox_codec(&m, &sandbox);
		rc = frames_put_msg(&r->agent, WIRE_SETUP, 0, 0, &m);
		msg_done(&m);
		r->phase = RELAY_SETTING_UP;
		return rc < 0 ? error_set(err, -rc, "the sandbox's description is too long") : 0;
	}
	if (h->type == WIRE_RESULT && r->phase == RELAY_SETTING_UP) {
		wire_result_codec(&m, &result);
		rc = msg_finish(&m);
		if (rc < 0)
			guest_fault(err, "a malformed result");
		else if (result.code)
			rc = error_set(err, EIO, "setting up the guest failed: %s",
				       result.text ? result.text : "no reason given");
		msg_done(&m);
		r->phase = RELAY_RUNNING;
		timeline_mark("guest-setup");
		return rc;
	}
	return guest_fault(err, wire_type_name(h->type));
}

static int from_agent(struct relay *r, const struct wire_header *h, const uint8_t *payload,
		      struct error *err)
{
	struct wire_header on = *h;
	struct client *c;

	if (h->session == 0)
		return from_agent_to_us(r, h, payload, err);
	if (h->type != WIRE_DATA && h->type != WIRE_CREDIT && h->type != WIRE_RESULT &&
	    h->type != WIRE_EXITED)
		return guest_fault(err, wire_type_name(h->type));
	c = find(r, h->session);
	if (!c || c->ending)
		return 0; /* it was on its way when the client left */
	if (h->type == WIRE_DATA) {
		c->window[h->stream] -= h->size;
		if (c->window[h->stream] < 0)
			return guest_fault(err, "data without credit");
	} else if (h->type == WIRE_RESULT) {
		if (!c->requested)
			return guest_fault(err, "a result nobody asked for");
		c->requested = false;
	} else if (h->type == WIRE_EXITED) {
		if (!c->has_process)
			return guest_fault(err, "the end of a process that is not there");
		c->ending = true;
	}
	if (frames_queued(&c->frames) > CLIENT_QUEUE_MAX)
		return guest_fault(err, "a flood");
	on.session = 0;
	if (frames_put(&c->frames, &on, payload) < 0)
		return error_set(err, ENOMEM, "out of memory");
	if (frames_flush(&c->frames) < 0 || (c->ending && !frames_queued(&c->frames)))
		return client_remove(r, c, err);
	return 0;
}

static int agent_event(struct relay *r, uint32_t events, struct error *err)
{
	struct wire_header h;
	const uint8_t *payload;
	int rc;

	if (events & EPOLLOUT && frames_flush(&r->agent) < 0)
		return error_set(err, EPIPE, "the channel to the guest closed");
	if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		return 0;
	rc = frames_fill(&r->agent);
	if (rc < 0)
		return error_set(err, EPIPE, "the channel to the guest closed");
	while ((rc = frames_next(&r->agent, &h, &payload)) > 0)
		if (from_agent(r, &h, payload, err) < 0)
			return -err->code;
	return rc < 0 ? guest_fault(err, "a malformed frame") : 0;
}

int relay_event(struct relay *r, uint64_t data, uint32_t events, struct error *err)
{
	int rc = 0;

	if (data == EVENT_LISTEN)
		client_add(r);
	else if (data == EVENT_AGENT)
		rc = agent_event(r, events, err);
	else
		rc = client_event(r, &r->clients[data - EVENT_CLIENT], events, err);
	if (rc < 0)
		return rc;
	if (frames_flush(&r->agent) < 0)
		return error_set(err, EPIPE, "the channel to the guest closed");
	watch_all(r);
	return 0;
}
