// SPDX-License-Identifier: Apache-2.0
#include "runtime/client.h"

#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/timeline.h"

/* Through /proc, since --root may be longer than a socket's address. */
static void socket_address(struct sockaddr_un *a, int dir_fd)
{
	*a = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(a->sun_path, sizeof(a->sun_path), "/proc/self/fd/%d/agent.sock", dir_fd);
}

int client_listen(int dir_fd, struct error *err)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un a;

	socket_address(&a, dir_fd);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 64) < 0)
		return error_errno(err, "listen on agent.sock");
	return steal_fd(&fd);
}

int client_connect(int dir_fd, struct error *err)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un a;

	socket_address(&a, dir_fd);
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return error_errno(err, "connect to the sandbox");
	return steal_fd(&fd);
}

int client_result(const struct wire_header *h, const uint8_t *payload, char **ret_text,
		  struct error *err)
{
	struct wire_result r;
	struct msg m;
	int rc = 0;

	msg_init_decode(&m, payload, h->size);
	wire_result_codec(&m, &r);
	if (msg_finish(&m) < 0)
		rc = error_set(err, EPROTO, "the guest sent a malformed result");
	else if (r.code)
		rc = error_set(err, r.code > 0 && r.code < 4096 ? r.code : EIO, "%s",
			       r.text && *r.text ? r.text : strerror(r.code));
	else if (ret_text)
		*ret_text = strdup(r.text ? r.text : "");
	msg_done(&m);
	return rc;
}

static int wait_for(struct frames *f, uint64_t deadline)
{
	struct pollfd pfd = {.fd = f->fd, .events = POLLIN};
	uint64_t now = monotonic_ns();

	if (frames_queued(f))
		pfd.events |= POLLOUT;
	if (now >= deadline)
		return -ETIMEDOUT;
	if (poll(&pfd, 1, deadline == UINT64_MAX ? -1 : (int)((deadline - now) / 1000000) + 1) <
		    0 &&
	    errno != EINTR)
		return -errno;
	if (pfd.revents & POLLOUT && frames_flush(f) < 0)
		return -EPIPE;
	return pfd.revents & (POLLIN | POLLHUP | POLLERR) ? frames_fill(f) : 0;
}

int client_request(struct frames *f, uint8_t type, const struct msg *request, int timeout_ms,
		   char **ret_text, struct error *err)
{
	uint64_t deadline = monotonic_ns() + (uint64_t)timeout_ms * 1000000u;
	struct msg none = {.encode = true};
	const uint8_t *payload;
	struct wire_header h;
	int rc;

	rc = frames_put_msg(f, type, 0, 0, request ? request : &none);
	if (rc == 0)
		rc = frames_flush(f);
	if (rc < 0)
		return error_set(err, -rc,
				 rc == -EPROTO ? "the request is too long"
					       : "the sandbox has ended");
	for (;;) {
		while ((rc = frames_next(f, &h, &payload)) > 0)
			if (h.type == WIRE_RESULT)
				return client_result(&h, payload, ret_text, err);
		if (rc == 0)
			rc = wait_for(f, deadline);
		if (rc == -ETIMEDOUT)
			return error_set(err, ETIMEDOUT, "the guest did not answer within %d s",
					 timeout_ms / 1000);
		if (rc < 0)
			return error_set(err, EPIPE, "the sandbox has ended");
	}
}

int client_call(int dir_fd, uint8_t type, const struct msg *request, char **ret_text,
		struct error *err)
{
	return client_call_within(dir_fd, type, request, CLIENT_TIMEOUT_MS, ret_text, err);
}

int client_call_within(int dir_fd, uint8_t type, const struct msg *request, int timeout_ms,
		       char **ret_text, struct error *err)
{
	struct frames f;
	int fd = client_connect(dir_fd, err), rc;

	if (fd < 0)
		return fd;
	frames_init(&f, fd, WIRE_GUEST_PAYLOAD_MAX);
	rc = client_request(&f, type, request, timeout_ms, ret_text, err);
	frames_done(&f);
	return rc;
}

static int send_input(struct frames *f, const char *input)
{
	struct wire_header h = {.size = (uint32_t)strlen(input), .type = WIRE_DATA};
	struct wire_header end = {.type = WIRE_DATA};

	if (h.size > WIRE_DATA_MAX || frames_put(f, &h, input) < 0 || frames_put(f, &end, NULL) < 0)
		return -E2BIG;
	return frames_flush(f);
}

/* Gives back the credit for what the process printed, which nobody reads. */
static int discard(struct frames *f, const struct wire_header *h)
{
	struct wire_credit credit = {.bytes = h->size};
	struct msg m;
	int rc;

	if (!h->size)
		return 0;
	msg_init_encode(&m);
	wire_credit_codec(&m, &credit);
	rc = frames_put_msg(f, WIRE_CREDIT, 0, h->stream, &m);
	msg_done(&m);
	return rc < 0 ? rc : frames_flush(f);
}

/* One frame of a process's session.  1: the process ended, with *ret_status; 0: go on; -errno. */
static int session_frame(struct frames *f, const struct wire_header *h, const uint8_t *payload,
			 int *ret_status)
{
	struct wire_exited e;
	struct msg m;
	int rc;

	if (h->type == WIRE_DATA)
		return discard(f, h);
	if (h->type != WIRE_EXITED)
		return 0;
	msg_init_decode(&m, payload, h->size);
	wire_exited_codec(&m, &e);
	rc = msg_finish(&m);
	msg_done(&m);
	*ret_status = e.signal ? 128 + e.signal : e.status;
	return rc < 0 ? rc : 1;
}

static int session_wait(struct frames *f, int timeout_ms, struct error *err)
{
	uint64_t deadline = timeout_ms < 0 ? UINT64_MAX
					   : monotonic_ns() + (uint64_t)timeout_ms * 1000000u;
	const uint8_t *payload;
	struct wire_header h;
	int rc, status = 0;

	for (;;) {
		while ((rc = frames_next(f, &h, &payload)) > 0) {
			rc = session_frame(f, &h, payload, &status);
			if (rc > 0)
				return status;
			if (rc < 0)
				break;
		}
		if (rc == 0)
			rc = wait_for(f, deadline);
		if (rc == -ETIMEDOUT)
			return error_set(err, ETIMEDOUT, "took longer than %d s",
					 timeout_ms / 1000);
		if (rc < 0)
			return error_set(err, EPIPE, "the sandbox has ended");
	}
}

int client_exec(int dir_fd, const char *container, struct spec_process *process, const char *input,
		int timeout_ms, struct error *err)
{
	struct wire_exec head = {.container = (char *)container};
	struct frames f;
	struct msg m;
	int fd = client_connect(dir_fd, err), rc;

	if (fd < 0)
		return fd;
	frames_init(&f, fd, WIRE_GUEST_PAYLOAD_MAX);
	msg_init_encode(&m);
	wire_exec_codec(&m, &head);
	spec_process_codec(&m, process);
	rc = client_request(&f, WIRE_EXEC, &m, CLIENT_TIMEOUT_MS, NULL, err);
	msg_done(&m);
	if (rc == 0 && send_input(&f, input) < 0)
		rc = error_set(err, EPIPE, "its input cannot be sent");
	if (rc == 0)
		rc = session_wait(&f, timeout_ms, err);
	/* Leaving ends it, should it still run. */
	frames_done(&f);
	return rc;
}
