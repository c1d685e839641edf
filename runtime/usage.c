// SPDX-License-Identifier: Apache-2.0
#include "runtime/usage.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "runtime/sandbox.h"

#define TEXT_SIZE 4096

static bool read_proc(pid_t pid, const char *file, char text[static TEXT_SIZE])
{
	char path[64];
	_cleanup_close_ int fd = -1;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, TEXT_SIZE - 1);
	text[n > 0 ? n : 0] = 0;
	return n > 0;
}

static uint64_t field(const char *text, const char *name)
{
	const char *p = strstr(text, name);

	return p ? strtoull(p + strlen(name), NULL, 10) : 0;
}

static bool look(pid_t pid, struct usage *ret)
{
	char text[TEXT_SIZE], *p;
	uint64_t user = 0, kernel = 0;

	*ret = (struct usage){.pid = pid};
	if (!read_proc(pid, "stat", text) || !(p = strrchr(text, ')')))
		return false;
	sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64, &user,
	       &kernel);
	*p = 0;
	p = strchr(text, '(');
	snprintf(ret->name, sizeof(ret->name), "%s", p ? p + 1 : "");
	ret->cpu_ms = (user + kernel) * 1000 / (uint64_t)sysconf(_SC_CLK_TCK);
	if (read_proc(pid, "smaps_rollup", text)) {
		ret->rss_kb = field(text, "Rss:");
		ret->private_kb = field(text, "Private_Dirty:");
	}
	return true;
}

static unsigned int look_at_monitor(const struct state_process *monitor,
				    struct usage ret[static USAGE_MAX], unsigned int n)
{
	pid_t children[USAGE_MAX];
	unsigned int children_n;

	if (!state_process_alive(monitor) || n >= USAGE_MAX || !look(monitor->pid, &ret[n]))
		return n;
	n++;
	children_n = state_process_children(monitor, children, USAGE_MAX - n);
	for (unsigned int i = 0; i < children_n; i++)
		n += look(children[i], &ret[n]);
	return n;
}

unsigned int usage_of(const char *root, const struct state *s, struct usage ret[static USAGE_MAX])
{
	struct container sandbox;
	struct error ignored;
	unsigned int n = 0;

	if (state_process_alive(&s->init))
		n += look(s->init.pid, &ret[n]);
	if (!s->sandbox)
		return look_at_monitor(&s->monitor, ret, n);
	if (container_open(&sandbox, root, s->sandbox, false, &ignored) < 0)
		return n;
	n = look_at_monitor(&sandbox.state.monitor, ret, n);
	container_done(&sandbox);
	return n;
}
