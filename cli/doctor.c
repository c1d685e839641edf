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

static const struct option options[] = {{.name = NULL}};

/* A word of the first "flags" line of /proc/cpuinfo. */
static bool cpu_has(const char *flag)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/cpuinfo", "re");
	char line[8192], *rest = NULL;

	while (f && fgets(line, sizeof(line), f)) {
		if (strncmp(line, "flags", 5) != 0)
			continue;
		for (char *w = strtok_r(line, " \t:\n", &rest); w;
		     w = strtok_r(NULL, " \t:\n", &rest))
			if (strcmp(w, flag) == 0)
				return true;
		return false;
	}
	return false;
}

static void say(bool good, const char *what, const char *text)
{
	printf("%-4s %-12s %s\n", good ? "ok" : "no", what, text);
}

/*
 * /dev/kvm alone says little: some clouds offer one that runs simple code, without VT-x or SVM
 * behind it, and an ordinary kernel does not boot on it.
 */
static void kvm(void)
{
	bool hardware = cpu_has("vmx") || cpu_has("svm"), device = access("/dev/kvm", F_OK) == 0;

	if (device && !hardware)
		say(false, "kvm",
		    "/dev/kvm is there, but the CPU shows neither vmx nor svm: "
		    "guest kernels do not boot on such a KVM");
	else if (!hardware)
		say(false, "kvm",
		    "the CPU shows neither vmx nor svm (in a virtual machine: nested "
		    "virtualization is off)");
	else if (!device)
		say(false, "kvm",
		    "the CPU could, but /dev/kvm is missing: load kvm_intel or "
		    "kvm_amd");
	else
		say(false, "kvm", "this machine could run it; this build has no kvm engine yet");
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

static int run(const struct globals *g, unsigned int argc, char **argv, struct error *err)
{
	struct settings s;
	struct error why = {0};
	bool any = false, ok = true;

	(void)argc, (void)argv;
	if (settings_load(&s, g->settings, err) < 0)
		return -err->code;
	printf("Engines:\n");
	for (int i = 0; engines[i]; i++) {
		bool good = engines[i]->probe(&why) == 0;

		say(good, engines[i]->name, good ? engines[i]->summary : why.text);
		any |= good;
	}
	kvm();
	say(false, "cki", "this build has no cki engine yet");
	printf("Needs:\n");
	file("kernel", s.kernel, "build it with `make kernel`", &ok);
	file("initramfs", s.initrd, "", &ok);
	file("monitor", s.monitor, "", &ok);
	file("mkfs.erofs", "/usr/bin/mkfs.erofs", "Debian package erofs-utils", &ok);
	network();
	if (geteuid() != 0)
		say(false, "user", "not root: containers cannot be created");
	settings_done(&s);
	if (!any || !ok)
		return error_set(err, ENODEV, "containers cannot run on this machine yet");
	printf("Containers can run on this machine.\n");
	return 0;
}

const struct command cmd_doctor = {
	.name = "doctor",
	.args = "",
	.summary = "say which engines this machine can run, and what is missing",
	.options = options,
	.run = run,
};
