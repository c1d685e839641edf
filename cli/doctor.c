// SPDX-License-Identifier: Apache-2.0
/* doctor: in plain words, what this machine can run, and what is missing for the rest. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "cli/command.h"
#include "lib/cleanup.h"
#include "runtime/settings.h"
#include "vmm/engine/engine.h"
#include "vmm/vfio/lend.h"

static const struct option options[] = {{.name = NULL}};

static void say(bool good, const char *what, const char *text)
{
	printf("%-4s %-12s %s\n", good ? "ok" : "no", what, text);
}

static void file(const char *what, const char *path, const char *hint, bool *ok)
{
	char text[512];
	bool there = access(path, R_OK) == 0;

	snprintf(text, sizeof(text), there ? "%s" : "%s is missing%s%s", path, *hint ? ": " : "",
		 hint);
	say(there, what, text);
	*ok = *ok && there;
}

static void engine(const struct engine_ops *ops)
{
	char text[256], detail[64] = "";

	if (ops->detail)
		ops->detail(detail, sizeof(detail));
	snprintf(text, sizeof(text), "%s%s%s", ops->summary, *detail ? "; " : "", detail);
	say(true, ops->name, text);
}

static void network(void)
{
	_cleanup_close_ int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	if (fd >= 0)
		say(true, "network", "/dev/net/tun");
	else
		say(false, "network",
		    "/dev/net/tun cannot be opened: containers with a network "
		    "will not start (modprobe tun)");
}

static void passthrough(void)
{
	enum vfio_kind kind;
	struct error why;
	char text[64];
	bool good = vfio_kind_of_host(&kind, &why) == 0;

	snprintf(text, sizeof(text), "virtual functions by VFIO, DMA by %s", vfio_kind_name(kind));
	say(good, "passthrough", good ? text : why.text);
}

static int run(const struct globals *g, unsigned int argc, char **argv, struct error *err)
{
	const struct engine_ops *chosen;
	struct settings s;
	struct error why = {0};
	bool ok = true;

	(void)argc, (void)argv;
	if (settings_load(&s, g->settings, err) < 0)
		return -err->code;
	printf("Engines:\n");
	for (int i = 0; engines[i]; i++) {
		bool good = engines[i]->probe(&why) == 0;

		if (good)
			engine(engines[i]);
		else
			say(false, engines[i]->name, why.text);
	}
	/* By the rule that a start goes by. */
	chosen = engine_choose(s.engine, &why);
	printf("Needs:\n");
	file("kernel", s.kernel, "build it with `make kernel`", &ok);
	file("initramfs", s.initrd, "", &ok);
	file("monitor", s.monitor, "", &ok);
	file("mkfs.erofs", "/usr/bin/mkfs.erofs", "Debian package erofs-utils", &ok);
	network();
	passthrough();
	if (geteuid() != 0)
		say(false, "user", "not root: containers cannot be created");
	settings_done(&s);
	if (!chosen || !ok)
		return error_set(err, ENODEV, "containers cannot run on this machine yet");
	printf("Containers can run on this machine; they get engine %s.\n", chosen->name);
	return 0;
}

const struct command cmd_doctor = {
	.name = "doctor",
	.args = "",
	.summary = "say which engines this machine can run, and what is missing",
	.options = options,
	.run = run,
};
