// SPDX-License-Identifier: Apache-2.0
#include "guest/init/request.h"

#include <errno.h>
#include <stdlib.h>

#include "guest/init/channel.h"
#include "guest/init/container.h"
#include "guest/init/latelink.h"
#include "guest/init/process.h"
#include "guest/init/sandbox.h"
#include "lib/cleanup.h"
#include "lib/spec.h"

struct shutdown_request shutdown_request;

/* The answer comes from elsewhere, later. */
#define LATER 1

static int do_setup(struct msg *m, uint32_t session, char **ret, struct error *err)
{
	static bool done;
	struct spec_sandbox s = {0};

	(void)session;
	(void)ret;
	spec_sandbox_codec(m, &s);
	if (msg_finish(m) < 0)
		return 0;
	if (done)
		return error_set(err, EALREADY, "the sandbox is set up already");
	done = true;
	return sandbox_setup(&s, err);
}

static int do_create(struct msg *m, uint32_t session, char **ret, struct error *err)
{
	struct spec_container c = {0};

	(void)ret;
	spec_container_codec(m, &c);
	if (msg_finish(m) < 0)
		return 0;
	if (process_of_session(session))
		return error_set(err, EBUSY, "the session has a process already");
	return container_create(session, &c, err) ?: LATER;
}

static int do_start(struct msg *m, uint32_t session, char **ret, struct error *err)
{
	struct wire_start x = {0};

	(void)ret;
	wire_start_codec(m, &x);
	if (msg_finish(m) < 0)
		return 0;
	if (latelink_hold_start(session, x.container))
		return LATER;
	return container_start(session, x.container, err) ?: LATER;
}

static int do_exec(struct msg *m, uint32_t session, char **ret, struct error *err)
{
	struct spec_process p = {0};
	struct wire_exec x = {0};

	(void)ret;
	wire_exec_codec(m, &x);
	spec_process_codec(m, &p);
	if (msg_finish(m) < 0)
		return 0;
	if (process_of_session(session))
		return error_set(err, EBUSY, "the session has a process already");
	return container_exec(session, x.container, &p, err) ?: LATER;
}

static int do_signal(struct msg *m, uint32_t session, char **ret, struct error *err)
{
	struct wire_signal x = {0};
	struct process *p;

	(void)ret;
	wire_signal_codec(m, &x);
	if (msg_finish(m) < 0)
		return 0;
	if (x.container)
		return container_signal(x.container, x.signal, x.all, err);
	p = process_of_session(session);
	return p ? process_signal(p, x.signal, err)
		 : error_set(err, ESRCH, "the session has no process");
}

static int do_freeze(struct msg *m, uint32_t session, char **ret, struct error *err)
{
	struct wire_freeze x = {0};

	(void)ret;
	wire_freeze_codec(m, &x);
	if (msg_finish(m) < 0)
		return 0;
	return container_freeze(session, &x, err) ?: LATER;
}

static int do_ps(struct msg *m, uint32_t session, char **ret, struct error *err)
{
	struct wire_target x = {0};

	(void)session;
	wire_target_codec(m, &x);
	if (msg_finish(m) < 0)
		return 0;
	return container_ps(x.container, ret, err);
}

static int do_stats(struct msg *m, uint32_t session, char **ret, struct error *err)
{
	struct wire_target x = {0};

	(void)session;
	wire_target_codec(m, &x);
	if (msg_finish(m) < 0)
		return 0;
	return container_stats(x.container, ret, err);
}

static int do_update(struct msg *m, uint32_t session, char **ret, struct error *err)
{
	struct spec_resources r = {0};
	struct wire_update x = {0};

	(void)session;
	(void)ret;
	wire_update_codec(m, &x);
	spec_resources_codec(m, &r);
	if (msg_finish(m) < 0)
		return 0;
	return container_update(x.container, &r, err);
}

static int do_shutdown(struct msg *m, uint32_t session, char **ret, struct error *err)
{
	(void)m;
	(void)ret;
	(void)err;
	shutdown_request = (struct shutdown_request){.asked = true, .session = session};
	return LATER;
}

/* Each decodes its message to the end; one that is malformed is noticed in run(). */
static int (*const requests[])(struct msg *m, uint32_t session, char **ret, struct error *err) = {
	[WIRE_SETUP] = do_setup,   [WIRE_CREATE] = do_create,
	[WIRE_START] = do_start,   [WIRE_EXEC] = do_exec,
	[WIRE_SIGNAL] = do_signal, [WIRE_FREEZE] = do_freeze,
	[WIRE_PS] = do_ps,	   [WIRE_UPDATE] = do_update,
	[WIRE_STATS] = do_stats,   [WIRE_SHUTDOWN] = do_shutdown,
};

static int run(const struct wire_header *h, const uint8_t *payload)
{
	static bool set_up;
	_cleanup_free_ char *text = NULL;
	struct error err = {0};
	struct msg m;
	int rc, form;

	if (!set_up && h->type != WIRE_SETUP && h->type != WIRE_SHUTDOWN) {
		channel_result(h->session, EINVAL, "the sandbox is not set up");
		return 0;
	}
	msg_init_decode(&m, payload, h->size);
	rc = requests[h->type](&m, h->session, &text, &err);
	form = msg_finish(&m);
	msg_done(&m);
	if (form < 0)
		return form;
	set_up |= h->type == WIRE_SETUP && rc == 0;
	if (rc < 0)
		channel_result(h->session, err.code, err.text);
	else if (rc != LATER)
		channel_result(h->session, 0, text);
	return 0;
}

static int do_resize(const struct wire_header *h, const uint8_t *payload)
{
	struct process *p = process_of_session(h->session);
	struct wire_resize x = {0};
	struct msg m;
	int rc;

	msg_init_decode(&m, payload, h->size);
	wire_resize_codec(&m, &x);
	rc = msg_finish(&m);
	msg_done(&m);
	if (rc == 0 && p)
		process_resize(p, x.rows, x.columns);
	return rc;
}

static int do_credit(const struct wire_header *h, const uint8_t *payload)
{
	struct wire_credit x = {0};
	struct msg m;
	int rc;

	msg_init_decode(&m, payload, h->size);
	wire_credit_codec(&m, &x);
	rc = msg_finish(&m);
	msg_done(&m);
	return rc < 0 ? rc : process_stream_credit(h->session, h->stream, x.bytes);
}

int request_handle(const struct wire_header *h, const uint8_t *payload)
{
	struct process *p;

	if (h->type < ARRAY_SIZE(requests) && requests[h->type])
		return run(h, payload);
	switch (h->type) {
	case WIRE_RESIZE:
		return do_resize(h, payload);
	case WIRE_HANGUP:
		latelink_forget_start(h->session);
		p = process_of_session(h->session);
		if (p)
			process_hangup(p);
		return 0;
	case WIRE_DATA:
		return process_stream_data(h->session, h->stream, payload, h->size);
	case WIRE_CREDIT:
		return do_credit(h, payload);
	default:
		return -EPROTO; /* a guest's frame from the host */
	}
}
