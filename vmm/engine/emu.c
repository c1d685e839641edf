// SPDX-License-Identifier: Apache-2.0
#include "vmm/engine/emu.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <inttypes.h>
#include <linux/mount.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/timeline.h"
#include "vmm/engine/engine.h"
#include "vmm/jail.h"

#define QEMU "/usr/bin/qemu-system-x86_64"
#define DISKS_MAX 8u

/*
 * The kernel's command line on this machine.
 * reboot=t     a triple fault is the quickest way out; QEMU ends at it (-no-reboot)
 * panic=-1     a panic is one too, at once
 * oops=panic   a kernel that faulted holds locks and broken structures: it does not go on
 * tsc=reliable, no_timer_check   TCG's clocks are good and slow to be calibrated
 * rcupdate.rcu_expedited=1   mounting and making namespaces waits for RCU again and again
 * earlyprintk=ttyS0,keep  the console is the UART's data port and nothing else: a line device, its
 *             interrupt and its buffers would all cost a start time, and a panic prints without
 */
#define KERNEL_CMDLINE                                                                             \
	"quiet earlyprintk=ttyS0,keep reboot=t panic=-1 oops=panic tsc=reliable no_timer_check "   \
	"rcupdate.rcu_expedited=1 random.trust_cpu=on cgroup_no_v1=all"

struct guest {
	pid_t pid;
	int pidfd;
	int agent_fd, console_fd;
	bool stopped; /* by emu_pause() */
	bool ended;   /* and waited for, with this status */
	int status;
	int stderr_fd; /* QEMU's own words, for the sentence when it fails */
};

/* QEMU's argument list, built piece by piece. */
struct argv {
	char *v[128];
	unsigned int n;
	bool full;
};

static void arg(struct argv *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void arg(struct argv *a, const char *fmt, ...)
{
	va_list ap;
	char *s;

	va_start(ap, fmt);
	if (a->n + 1 >= ARRAY_SIZE(a->v) || vasprintf(&s, fmt, ap) < 0)
		a->full = true;
	else
		a->v[a->n++] = s;
	va_end(ap);
}

static void argv_done(struct argv *a)
{
	for (unsigned int i = 0; i < a->n; i++)
		free(a->v[i]);
	a->n = 0;
}

#define _cleanup_argv_ _cleanup_(argv_done)

static int emu_probe(struct error *err)
{
	if (access(QEMU, X_OK) < 0)
		return error_errno(err, "'%s' (Debian package qemu-system-x86)", QEMU);
	return 0;
}

static void add_machine(struct argv *a, const struct machine *m)
{
	arg(a, "%s", QEMU);
	arg(a, "-name"), arg(a, "caisson");
	arg(a, "-nodefaults");
	arg(a, "-no-user-config");
	arg(a, "-display"), arg(a, "none");
	arg(a, "-no-reboot");
	arg(a, "-monitor"), arg(a, "none");
	/* The clock stays (rtc): without it the kernel waits a second for one.  So do PIT and PIC,
	 * which the kernel needs to find the TSC's rate.  Without ACPI, QEMU tells the kernel of
	 * its virtio-mmio devices on the command line. */
	arg(a, "-M"), arg(a, "microvm,x-option-roms=off,isa-serial=on,acpi=off,usb=off,pcie=off,"
			     "graphics=off");
	arg(a, "-global"), arg(a, "virtio-mmio.force-legacy=false");
	arg(a, "-accel"), arg(a, "tcg,thread=multi,tb-size=128");
	arg(a, "-cpu"), arg(a, "max,-erms,-fsrm");
	arg(a, "-smp"), arg(a, "%u", m->vcpus);
	arg(a, "-m"), arg(a, "%" PRIu64 "M", m->memory >> 20);
	arg(a, "-kernel"), arg(a, "/kernel");
	arg(a, "-initrd"), arg(a, "/initrd");
	arg(a, "-append"), arg(a, "%s %s", KERNEL_CMDLINE, m->cmdline);
	arg(a, "-sandbox"), arg(a, "on,obsolete=deny,elevateprivileges=deny,spawn=deny,"
				   "resourcecontrol=deny");
}

static void add_channels(struct argv *a, int agent, int console)
{
	arg(a, "-chardev"), arg(a, "socket,id=console,fd=%d", console);
	arg(a, "-serial"), arg(a, "chardev:console");
	/* Port 0 is for a console by the specification, and stays empty. */
	arg(a, "-device"), arg(a, "virtio-serial-device,max_ports=2");
	arg(a, "-chardev"), arg(a, "socket,id=agent,fd=%d", agent);
	arg(a, "-device"), arg(a, "virtserialport,chardev=agent,name=caisson.agent,nr=1");
}

static void add_devices(struct argv *a, const struct machine *m)
{
	for (uint32_t i = 0; i < m->disks_n; i++) {
		const struct machine_disk *d = &m->disks[i];

		arg(a, "-add-fd"), arg(a, "fd=%d,set=%u", d->fd, i);
		arg(a, "-blockdev"),
			arg(a,
			    "driver=file,node-name=disk%u,filename=/dev/fdset/%u,"
			    "read-only=%s,locking=off%s",
			    i, i, d->readonly ? "on" : "off", d->readonly ? "" : ",discard=unmap");
		/* The guest reads ahead twice the optimal size: a program's first pages come in a
		 * few large reads instead of many small ones. */
		arg(a, "-device"),
			arg(a, "virtio-blk-device,drive=disk%u,serial=%s,opt_io_size=524288", i,
			    d->serial);
	}
	for (uint32_t i = 0; i < m->nics_n; i++) {
		const struct machine_nic *n = &m->nics[i];

		arg(a, "-netdev"), arg(a, "tap,id=net%u,fd=%d", i, n->tap_fd);
		arg(a, "-device"), arg(a,
				       "virtio-net-device,netdev=net%u,host_mtu=%u,"
				       "mac=%02x:%02x:%02x:%02x:%02x:%02x",
				       i, n->mtu, n->mac[0], n->mac[1], n->mac[2], n->mac[3],
				       n->mac[4], n->mac[5]);
	}
	if (m->serve_shares) {
		arg(a, "-fsdev"), arg(a, "local,id=shares,path=/shares,security_model=passthrough,"
					 "multidevs=remap");
		arg(a, "-device"),
			arg(a, "virtio-9p-device,fsdev=shares,mount_tag=%s", SPEC_SHARES_TAG);
	}
}

/* A descriptor QEMU inherits: at 100 and above, so that it meets no other. */
static int inherit(int fd, struct error *err)
{
	int copy = fcntl(fd, F_DUPFD, 100);

	if (copy < 0)
		return error_errno(err, "duplicate a descriptor for QEMU");
	return copy;
}

/*
 * The file of a read-only disk as a read-only mount shows it.  A descriptor of the host's own mount
 * would do for reading, but with the file server's capabilities it could be opened again for
 * writing, or given another mode, through /proc; here both end in EROFS.  The lock on the
 * original's description stays with the monitor.
 */
static int view_readonly(int fd, struct error *err)
{
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID |
					      MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC};
	_cleanup_close_ int tree = (int)syscall(
		SYS_open_tree, fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	char path[32];
	int view;

	if (tree < 0 ||
	    syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return error_errno(err, "make a read-only view of a disk");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", tree);
	view = open(path, O_RDONLY | O_CLOEXEC);
	return view < 0 ? error_errno(err, "open the read-only view of a disk") : view;
}

/* Without shares QEMU writes to no file but the scratch disk, and that has its size. */
static void limit_files(const struct machine *m)
{
	struct rlimit limit = {0, 0};
	struct stat st;

	if (m->serve_shares)
		return;
	for (uint32_t i = 0; i < m->disks_n; i++)
		if (!m->disks[i].readonly && fstat(m->disks[i].fd, &st) == 0 &&
		    (rlim_t)st.st_size > limit.rlim_cur)
			limit.rlim_cur = limit.rlim_max = (rlim_t)st.st_size;
	setrlimit(RLIMIT_FSIZE, &limit);
}

/* Tells QEMU's share of the machine by the descriptors' new numbers. */
static int inherit_all(struct machine *m, int *agent, int *console, struct error *err)
{
	*agent = inherit(*agent, err);
	*console = inherit(*console, err);
	if (*agent < 0 || *console < 0)
		return -err->code;
	for (uint32_t i = 0; i < m->disks_n; i++)
		if ((m->disks[i].fd = inherit(m->disks[i].fd, err)) < 0)
			return -err->code;
	for (uint32_t i = 0; i < m->nics_n; i++)
		if ((m->nics[i].tap_fd = inherit(m->nics[i].tap_fd, err)) < 0)
			return -err->code;
	return 0;
}

struct child {
	struct machine m;
	int agent, console, stderr_fd, error_fd;
	uid_t uid;
};

static int child_prepare(struct child *c, struct argv *a, struct error *err)
{
	const struct jail_bind binds[] = {
		{"/usr", "/usr", false, false},
		{"/lib", "/lib", true, false},
		{"/lib64", "/lib64", true, false},
		{"/dev/null", "/dev/null", false, true},
		{"/dev/urandom", "/dev/urandom", false, true},
		{c->m.kernel, "/kernel", false, false},
		{c->m.initrd, "/initrd", false, false},
	};
	const struct jail jail = {
		.dir = c->m.jail_dir,
		.binds = binds,
		.binds_n = ARRAY_SIZE(binds),
		.shares = c->m.shares,
		.shares_n = c->m.shares_n,
		.uid = c->uid,
		/* QEMU's 9p server changes modes through /proc/self/fd, to follow no link. */
		.proc = c->m.serve_shares,
		.caps = c->m.serve_shares ? JAIL_FILE_CAPS : JAIL_NO_CAPS,
	};
	const struct rlimit no_core = {0, 0};
	int null;

	/* From here on only what is made inheritable on purpose is inherited. */
	close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
	if (inherit_all(&c->m, &c->agent, &c->console, err) < 0)
		return -err->code;
	null = open("/dev/null", O_RDONLY);
	if (null < 0 || dup2(null, 0) < 0 || dup2(c->stderr_fd, 1) < 0 || dup2(c->stderr_fd, 2) < 0)
		return error_errno(err, "set up descriptors");
	add_machine(a, &c->m);
	add_channels(a, c->agent, c->console);
	add_devices(a, &c->m);
	if (a->full)
		return error_set(err, E2BIG, "too many devices for QEMU's command line");
	a->v[a->n] = NULL;
	setrlimit(RLIMIT_CORE, &no_core);
	/* A guest touches its memory here and there.  Huge pages would be cleared whole at the
	 * first touch, up to 2.5 ms each where the host is itself a guest and has to get them back
	 * first; emulated programs run no slower without. */
	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	limit_files(&c->m);
	if (jail_enter(&jail, err) < 0)
		return -err->code;
	return jail_die_with_parent(c->error_fd, err);
}

__attribute__((noreturn)) static void child_main(struct child *c)
{
	_cleanup_argv_ struct argv a = {.n = 0};
	const char *const env[] = {"PATH=/usr/bin", "HOME=/", "TMPDIR=/dev", NULL};
	struct error err = {0};
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (child_prepare(c, &a, &err) == 0) {
		execve(QEMU, a.v, (char *const *)env);
		error_errno(&err, "run '%s'", QEMU);
	}
	if (write(c->error_fd, &err, sizeof(err)) < 0)
		_exit(126);
	_exit(127);
}

static void emu_kill(struct guest *g)
{
	if (g->pidfd >= 0)
		syscall(SYS_pidfd_send_signal, g->pidfd, SIGKILL, NULL, 0);
}

static void emu_done(struct guest *g)
{
	if (!g)
		return;
	if (g->pid > 0) {
		emu_kill(g);
		while (!g->ended && waitpid(g->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	cleanup_close(&g->pidfd);
	cleanup_close(&g->agent_fd);
	cleanup_close(&g->console_fd);
	cleanup_close(&g->stderr_fd);
	free(g);
}

static void cleanup_guest(struct guest **g)
{
	emu_done(*g);
}

/* The disks as QEMU gets them; made before its mount namespace, which can clone no mount of ours.
 * The caller closes ret[i].fd where it differs from m's. */
static int view_disks(const struct machine *m, struct machine_disk *ret, struct error *err)
{
	for (uint32_t i = 0; i < m->disks_n; i++) {
		ret[i] = m->disks[i];
		if (ret[i].readonly && (ret[i].fd = view_readonly(m->disks[i].fd, err)) < 0)
			return -err->code;
	}
	return 0;
}

static void close_views(const struct machine *m, struct machine_disk *views)
{
	for (uint32_t i = 0; i < m->disks_n; i++)
		if (views[i].fd >= 0 && views[i].fd != m->disks[i].fd)
			close(views[i].fd);
}

/* What is QEMU's now; but a read-only disk's descriptor holds the lock that says that the image is
 * in use. */
static void close_handed_over(const struct machine *m)
{
	for (uint32_t i = 0; i < m->disks_n; i++)
		if (!m->disks[i].readonly)
			close(m->disks[i].fd);
	for (uint32_t i = 0; i < m->nics_n; i++)
		close(m->nics[i].tap_fd);
}

static int emu_start(const struct machine *m, struct guest **ret, struct error *err)
{
	_cleanup_(cleanup_guest) struct guest *g = calloc(1, sizeof(*g));
	_cleanup_close_ int agent = -1, console = -1, stderr_fd = -1, error_rd = -1, error_wr = -1;
	struct child c = {.m = *m};
	struct machine_disk views[DISKS_MAX] = {0};
	struct error child_err;
	int sv[2];

	if (!g)
		return error_set(err, ENOMEM, "out of memory");
	g->pidfd = g->agent_fd = g->console_fd = g->stderr_fd = -1;
	if (jail_uid(&c.uid, err) < 0)
		return -err->code;
	if (engine_channel(&g->agent_fd, &agent, err) < 0 ||
	    engine_channel(&g->console_fd, &console, err) < 0 ||
	    engine_channel(&g->stderr_fd, &stderr_fd, err) < 0)
		return -err->code;
	if (pipe2(sv, O_CLOEXEC) < 0)
		return error_errno(err, "pipe");
	error_rd = sv[0];
	error_wr = sv[1];
	c.agent = agent;
	c.console = console;
	c.stderr_fd = stderr_fd;
	c.error_fd = error_wr;
	if (m->disks_n > DISKS_MAX)
		return error_set(err, E2BIG, "more than %u disks", DISKS_MAX);
	if (m->functions_n || m->memory_fd >= 0)
		return error_set(
			err, ENOTSUP,
			"engine emu: it takes no functions of the host's and no lent memory");
	if (view_disks(m, views, err) < 0)
		return -err->code;
	c.m.disks = views;
	g->pid = jail_clone(&g->pidfd);
	if (g->pid == 0)
		child_main(&c);
	close_views(m, views);
	if (g->pid < 0)
		return error_errno(err, "start a process for QEMU");
	close(steal_fd(&error_wr));
	/* End of file: execve worked. */
	if (read(error_rd, &child_err, sizeof(child_err)) == (ssize_t)sizeof(child_err)) {
		*err = child_err;
		return error_wrap(err, "engine emu");
	}
	close_handed_over(m);
	timeline_mark("engine");
	*ret = steal_ptr(&g);
	return 0;
}

/* QEMU runs since it was started: what it is confined by, it brought on itself. */
static int emu_launch(struct guest *g, struct error *err)
{
	(void)g, (void)err;
	return 0;
}

/* All of QEMU stops: its CPUs, its devices, and what it has for the monitor. */
static int emu_pause(struct guest *g, struct error *err)
{
	int status;

	if (syscall(SYS_pidfd_send_signal, g->pidfd, SIGSTOP, NULL, 0) < 0)
		return error_errno(err, "stop QEMU");
	if (g->stopped)
		return 0;
	if (waitpid(g->pid, &status, WUNTRACED) != g->pid)
		return error_errno(err, "wait for QEMU to stop");
	/* Its end is buried by wait(), which must still find it. */
	if (!WIFSTOPPED(status)) {
		g->ended = true;
		g->status = status;
	}
	g->stopped = WIFSTOPPED(status);
	return 0;
}

static int emu_resume(struct guest *g, struct error *err)
{
	if (syscall(SYS_pidfd_send_signal, g->pidfd, SIGCONT, NULL, 0) < 0 && errno != ESRCH)
		return error_errno(err, "continue QEMU");
	g->stopped = false;
	return 0;
}

static int emu_agent_fd(const struct guest *g)
{
	return g->agent_fd;
}

static int emu_console_fd(const struct guest *g)
{
	return g->console_fd;
}

static int emu_exit_fd(const struct guest *g)
{
	return g->pidfd;
}

/* The last line QEMU wrote, without its newline; it is QEMU's word, not the guest's. */
static void last_words(const struct guest *g, char *buf, size_t size)
{
	char more[4096];
	size_t kept = 0;
	ssize_t n;
	char *line;

	/* The end of all there is. */
	while ((n = recv(g->stderr_fd, more, sizeof(more), MSG_DONTWAIT)) > 0) {
		size_t take = (size_t)n < size - 1 ? (size_t)n : size - 1;
		size_t drop = kept + take > size - 1 ? kept + take - (size - 1) : 0;

		memmove(buf, buf + drop, kept - drop);
		memcpy(buf + kept - drop, more + n - take, take);
		kept += take - drop;
	}
	buf[kept] = 0;
	while (*buf && buf[strlen(buf) - 1] == '\n')
		buf[strlen(buf) - 1] = 0;
	line = strrchr(buf, '\n');
	if (line)
		memmove(buf, line + 1, strlen(line + 1) + 1);
}

static int emu_wait(struct guest *g, struct error *err)
{
	char words[768];
	int status = g->status;

	while (!g->ended && waitpid(g->pid, &status, 0) < 0)
		if (errno != EINTR)
			return error_errno(err, "wait for QEMU");
	g->pid = 0;
	last_words(g, words, sizeof(words));
	if (WIFSIGNALED(status))
		return error_set(err, ECHILD, "QEMU was killed by signal %d", WTERMSIG(status));
	if (WEXITSTATUS(status))
		return error_set(err, ECHILD, "QEMU ended with status %d: %s", WEXITSTATUS(status),
				 words[0] ? words : "it did not say why");
	return 0;
}

const struct engine_ops engine_emu = {
	.name = "emu",
	.summary = "software emulation (QEMU TCG): runs anywhere, slowly",
	.shares = SPEC_SHARES_9P,
	.probe = emu_probe,
	.start = emu_start,
	.launch = emu_launch,
	.pause = emu_pause,
	.resume = emu_resume,
	.agent_fd = emu_agent_fd,
	.console_fd = emu_console_fd,
	.exit_fd = emu_exit_fd,
	.wait = emu_wait,
	.kill = emu_kill,
	.done = emu_done,
};
