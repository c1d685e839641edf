// SPDX-License-Identifier: Apache-2.0
/*
 * config.json and process documents, as a hostile caller might write them.  The parser does no
 * more to the host than stat(2).  What it accepts must survive the way to the guest; what it
 * refuses must come with a sentence.
 */
#include <stdlib.h>
#include <string.h>

#include "runtime/config.h"
#include "tests/fuzz/literals.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/*
 * libseccomp 2.5.4 forgets a part of its tree when rules for one system call overlap:
 * for socket(2), (arg 0 == 16 and arg 2 == 9), arg 2 == 16, arg 2 == 9, then arg 2 != 9, arg 0 !=
 * 16 with another action, then seccomp_release().  The command that compiles a filter is
 * short-lived.
 */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:libseccomp.so";
}

static void check(bool ok)
{
	if (!ok)
		abort();
}

static void check_container(struct spec_container *c, size_t json_size)
{
	struct spec_container again;
	struct msg out, in;

	c->id = "x";
	c->rootfs.lower_serial = "x";
	msg_init_encode(&out);
	spec_container_codec(&out, c);
	if (!out.broken) {
		msg_init_decode(&in, out.data, out.size);
		spec_container_codec(&in, &again);
		check(!msg_finish(&in));
		msg_done(&in);
	} else {
		check(json_size > MSG_SIZE_MAX / 8); /* too long, not malformed */
	}
	msg_done(&out);
}

static void check_process(const char *json, size_t size)
{
	struct error err = {0};
	struct config c = {0};
	struct spec_process p;
	int rc = config_process_parse(&p, &c, json, size, &err);

	check(rc ? rc < 0 && err.code == -rc && !p.args.n : p.args.n && *p.cwd == '/');
	config_done(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error err = {0};
	struct config c;
	int rc = config_parse(&c, "/", (const char *)data, size, &err);

	if (rc) {
		check(rc < 0 && err.code == -rc && !strncmp(err.text, "config.json: ", 13));
		check(!c.arena && !c.container.mounts_n && !c.root_path);
		/* A process document has its members where a configuration has others. */
		check_process((const char *)data, size);
	} else {
		check(*c.root_path == '/' && c.container.process.args.n);
		check_container(&c.container, size);
	}
	config_done(&c);
	return 0;
}
