// SPDX-License-Identifier: Apache-2.0
#include "guest/init/errand.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stddef.h>
#include <unistd.h>

_Static_assert(sizeof(struct error) <= PIPE_BUF, "a pipe takes it whole, or not at all");

static void on_word(struct watch *w, uint32_t events)
{
	struct errand *e = container_of(w, struct errand, watch);
	struct error err = {0};
	ssize_t n;

	(void)events;
	n = read(w->fd, &err, sizeof(err));
	if (n != sizeof(err))
		error_set(&err, EIO, "the process that does it has ended");
	err.text[sizeof(err.text) - 1] = '\0';
	loop_remove(w);
	close(w->fd);
	e->done(e, &err);
}

int errand_send(struct errand *e, int (*work)(const void *arg, struct error *err), const void *arg,
		struct error *err)
{
	int ends[2];
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return error_errno(err, "make a pipe");
	e->watch = (struct watch){.fd = ends[0], .ready = on_word};
	if (loop_add(&e->watch, EPOLLIN) < 0) {
		error_errno(err, "watch a pipe");
		close(ends[0]);
		close(ends[1]);
		return -err->code;
	}
	pid = fork();
	if (pid == 0) {
		struct error word = {0};

		work(arg, &word);
		_exit(write(ends[1], &word, sizeof(word)) != sizeof(word));
	}
	if (pid < 0) {
		error_errno(err, "fork");
		loop_remove(&e->watch);
		close(ends[0]);
	}
	close(ends[1]);
	return pid < 0 ? -err->code : 0;
}
