// SPDX-License-Identifier: Apache-2.0
/*
 * The init of a guest that has fallen to its container: it speaks the wire well enough to be
 * believed, says yes to everything, and does none of it.  LIE, from the kernel's command line:
 *
 *	deaf	a signal is taken, and nothing ends
 *	exit:N	at a signal, the container's process "was killed by signal N"
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fcntl.h>
#include <poll.h>

#include "guest/init/transport.h"
#include "lib/wire.h"

static int channel;
static uint32_t container; /* the session of its first process */

static void exchange(void *at, size_t size, short event)
{
	for (size_t done = 0; done < size;) {
		struct pollfd p = {.fd = channel, .events = event};
		char *next = (char *)at + done;
		ssize_t n;

		poll(&p, 1, 100);
		n = event == POLLIN ? read(channel, next, size - done)
				    : write(channel, next, size - done);
		done += n > 0 ? (size_t)n : 0;
	}
}

static void say(uint8_t type, uint32_t session, struct msg *m)
{
	struct wire_header h = {.type = type, .session = session, .size = (uint32_t)m->size};
	uint8_t head[WIRE_HEADER_SIZE];

	wire_header_encode(head, &h);
	exchange(head, sizeof(head), POLLOUT);
	exchange(m->data, m->size, POLLOUT);
	msg_done(m);
}

static void say_ready(void)
{
	struct wire_ready ready = {.version = WIRE_VERSION};
	struct msg m;

	msg_init_encode(&m);
	wire_ready_codec(&m, &ready);
	say(WIRE_READY, 0, &m);
}

static void say_yes(uint32_t session)
{
	struct wire_result yes = {0};
	struct msg m;

	msg_init_encode(&m);
	wire_result_codec(&m, &yes);
	say(WIRE_RESULT, session, &m);
}

static void say_killed(int signal)
{
	struct wire_exited exited = {.signal = signal};
	struct msg m;

	msg_init_encode(&m);
	wire_exited_codec(&m, &exited);
	say(WIRE_EXITED, container, &m);
}

static void take_frame(const char *lie)
{
	static uint8_t payload[WIRE_PAYLOAD_MAX];
	uint8_t head[WIRE_HEADER_SIZE];
	struct wire_header h;

	exchange(head, sizeof(head), POLLIN);
	if (wire_header_decode(&h, head, sizeof(payload)) < 0)
		for (;;)
			pause();
	exchange(payload, h.size, POLLIN);
	if (h.type == WIRE_CREATE)
		container = h.session;
	if (h.type <= WIRE_SHUTDOWN)
		say_yes(h.session);
	if (h.type == WIRE_SIGNAL && strncmp(lie, "exit:", 5) == 0)
		say_killed(atoi(lie + 5));
}

int main(void)
{
	const char *lie = getenv("LIE");
	struct error err;

	mkdir("/sys", 0755);
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	channel = transport_virtio_port.open(&err);
	if (channel < 0 || !lie)
		return 1;
	say_ready();
	for (;;)
		take_frame(lie);
}
