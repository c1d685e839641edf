// SPDX-License-Identifier: Apache-2.0
#include "vmm/fileserver.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "vmm/jail.h"

/* It holds a descriptor for each file that the guest's kernel remembers. */
#define DESCRIPTORS (1u << 18)
/* Below these is what a child has before it starts to inherit. */
#define INHERITED_FROM 100

/*
 * The two programs of that name.  What they are told:
 * sandbox          namespaces they have already.  The older one makes the shares its root; the
 *                  newer one does that for uid 0 only, and stays in the jail's
 * modcaps          no device nodes, no file capabilities from inside a sandbox
 * cache            what changes on the host shows at once: attributes are never kept (with the
 *                  newer program's "auto" they are for a second, and a file that grew is read up
 *                  to its old size); the older one keeps data while a file is open
 * announce_submounts   two shares may have the same inode numbers: they are two file systems
 */
static const struct program {
	const char *path;
	enum jail_caps caps;
	const char *const args[16];
} programs[] = {
	{"/usr/libexec/virtiofsd",
	 JAIL_USER_CAPS,
	 {"--shared-dir=/shares", "--sandbox=none", "--seccomp=kill", "--modcaps=-setfcap:-mknod",
	  "--cache=never", "--allow-mmap", "--xattr", "--announce-submounts", "--rlimit-nofile=0",
	  "--log-level=error"}},
	{"/usr/lib/qemu/virtiofsd",
	 JAIL_SETUP_CAPS,
	 {"-f", "-o",
	  "source=/shares,sandbox=chroot,modcaps=-setfcap:-mknod,cache=auto,timeout=0,xattr,"
	  "announce_submounts,log_level=err",
	  "--rlimit-nofile=0"}},
};

static const struct program *find(struct error *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(programs); i++)
		if (access(programs[i].path, X_OK) == 0)
			return &programs[i];
	error_set(err, ENOENT,
		  "volumes need virtiofsd: install the package virtiofsd "
		  "(Debian 12: qemu-system-common)");
	return NULL;
}

int fileserver_probe(struct error *err)
{
	return find(err) ? 0 : -err->code;
}

struct child {
	const struct machine *m;
	const struct program *program;
	uid_t uid;
	int listen_fd, stderr_fd, error_fd;
};

static int child_descriptors(struct child *c, struct error *err)
{
	const struct rlimit no_core = {0, 0}, files = {DESCRIPTORS, DESCRIPTORS};
	int null;

	/* From here on only what is made inheritable on purpose is inherited. */
	close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
	c->listen_fd = fcntl(c->listen_fd, F_DUPFD, INHERITED_FROM);
	null = open("/dev/null", O_RDONLY);
	if (c->listen_fd < 0 || null < 0 || dup2(null, 0) < 0 || dup2(c->stderr_fd, 1) < 0 ||
	    dup2(c->stderr_fd, 2) < 0)
		return error_errno(err, "set up descriptors");
	setrlimit(RLIMIT_CORE, &no_core);
	setrlimit(RLIMIT_NOFILE, &files);
	return 0;
}

static int child_prepare(struct child *c, struct error *err)
{
	static const struct jail_bind binds[] = {
		{"/usr", "/usr", false, false},
		{"/lib", "/lib", true, false},
		{"/lib64", "/lib64", true, false},
		{"/dev/null", "/dev/null", false, true},
		{"/dev/urandom", "/dev/urandom", false, true},
	};
	const struct jail jail = {
		.dir = c->m->jail_dir,
		.binds = binds,
		.binds_n = ARRAY_SIZE(binds),
		.shares = c->m->shares,
		.shares_n = c->m->shares_n,
		.uid = c->uid,
		.proc = true, /* it opens files again through /proc/self/fd */
		.caps = c->program->caps,
	};

	if (child_descriptors(c, err) < 0 || jail_enter(&jail, err) < 0)
		return -err->code;
	return jail_die_with_parent(c->error_fd, err);
}

__attribute__((noreturn)) static void child_main(struct child *c)
{
	const char *const env[] = {"PATH=/usr/bin", "HOME=/", NULL};
	const char *args[ARRAY_SIZE(c->program->args) + 3] = {c->program->path};
	struct error err = {0};
	char fd_arg[32];
	sigset_t none;
	size_t n = 1;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (child_prepare(c, &err) == 0) {
		snprintf(fd_arg, sizeof(fd_arg), "--fd=%d", c->listen_fd);
		args[n++] = fd_arg;
		for (size_t i = 0; c->program->args[i]; i++)
			args[n++] = c->program->args[i];
		execve(c->program->path, (char *const *)args, (char *const *)env);
		error_errno(&err, "run '%s'", c->program->path);
	}
	if (write(c->error_fd, &err, sizeof(err)) < 0)
		_exit(126);
	_exit(127);
}

/*
 * virtiofsd takes one connection from a socket that listens.  It is ours before the server
 * starts; the name is gone again when this returns, and nobody but root could have used it.
 */
static int connect_first(const struct machine *m, int *ret_listen, int *ret_ours, struct error *err)
{
	_cleanup_close_ int dir = open(m->jail_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	_cleanup_close_ int listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	_cleanup_close_ int ours = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int rc;

	if (dir < 0 || listening < 0 || ours < 0)
		return error_errno(err, "make a socket");
	snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d/shares.sock", dir);
	if (bind(listening, (struct sockaddr *)&a, sizeof(a)) < 0)
		return error_errno(err, "bind a socket in '%s'", m->jail_dir);
	rc = listen(listening, 1) < 0 || connect(ours, (struct sockaddr *)&a, sizeof(a)) < 0;
	if (rc)
		error_errno(err, "connect to it");
	unlink(a.sun_path);
	if (rc)
		return -err->code;
	*ret_listen = steal_fd(&listening);
	*ret_ours = steal_fd(&ours);
	return 0;
}

/* The child's sentence, if it did not get as far as its program. */
static int child_result(int error_fd, struct error *err)
{
	struct error child_err;

	/* End of file: execve worked. */
	if (read(error_fd, &child_err, sizeof(child_err)) != (ssize_t)sizeof(child_err))
		return 0;
	child_err.text[sizeof(child_err.text) - 1] = 0;
	*err = child_err;
	return -err->code;
}

static int start(struct child *c, struct fileserver *f, struct error *err)
{
	_cleanup_close_ int listening = -1, words = -1, error_rd = -1, error_wr = -1;
	int sv[2];

	if (connect_first(c->m, &listening, &f->fd, err) < 0)
		return -err->code;
	/* Both ends: a server that nobody listens to must not wait for that. */
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sv) < 0)
		return error_errno(err, "socketpair");
	f->stderr_fd = sv[0];
	words = sv[1];
	if (pipe2(sv, O_CLOEXEC) < 0)
		return error_errno(err, "pipe");
	error_rd = sv[0];
	error_wr = sv[1];
	c->listen_fd = listening;
	c->stderr_fd = words;
	c->error_fd = error_wr;
	f->pid = jail_clone(&f->pidfd);
	if (f->pid == 0)
		child_main(c);
	if (f->pid < 0)
		return error_errno(err, "start a process for it");
	close(steal_fd(&error_wr));
	return child_result(error_rd, err);
}

int fileserver_start(const struct machine *m, uid_t uid, struct fileserver *ret, struct error *err)
{
	struct child c = {.m = m, .program = find(err), .uid = uid};

	*ret = FILESERVER_NONE;
	if (!c.program)
		return -err->code;
	if (start(&c, ret, err) < 0) {
		fileserver_done(ret);
		return error_wrap(err, "file server");
	}
	return 0;
}

int fileserver_explain(struct fileserver *f, struct error *err)
{
	char words[512], text[sizeof(err->text)];
	struct pollfd dying = {.fd = f->stderr_fd, .events = POLLIN};
	ssize_t n;
	char *line;

	/* Its connection may break before it has said why. */
	poll(&dying, 1, 1000);
	n = recv(f->stderr_fd, words, sizeof(words) - 1, MSG_DONTWAIT);
	if (n <= 0)
		return -err->code;
	while (n > 0 && words[n - 1] == '\n')
		n--;
	words[n] = 0;
	line = strrchr(words, '\n');
	memcpy(text, err->text, sizeof(text));
	return error_set(err, err->code, "%s (it said: %s)", text, line ? line + 1 : words);
}

void fileserver_kill(struct fileserver *f)
{
	/* By pidfd: the monitor's filter has no kill(2) for other processes. */
	if (f->pid > 0) {
		syscall(SYS_pidfd_send_signal, f->pidfd, SIGKILL, NULL, 0);
		while (waitpid(f->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	f->pid = 0;
}

void fileserver_done(struct fileserver *f)
{
	fileserver_kill(f);
	cleanup_close(&f->pidfd);
	cleanup_close(&f->fd);
	cleanup_close(&f->stderr_fd);
	*f = FILESERVER_NONE;
}
