// SPDX-License-Identifier: Apache-2.0
#include "cni/ipam.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "runtime/json.h"

/* A run of the plugin. */
struct run {
	enum cni_command command;
	const struct attachment *of; /* NULL: as our environment says */
	char *output;		     /* to be freed */
	size_t size;
	int status; /* as wait(2) has it */
};

static int find(const struct request *r, char path[static PATH_MAX], struct error *err)
{
	const char *dir = r->path;

	while (*dir) {
		int n = (int)strcspn(dir, ":");

		if (n && snprintf(path, PATH_MAX, "%.*s/%s", n, dir, r->conf.ipam) < PATH_MAX &&
		    access(path, X_OK) == 0)
			return 0;
		dir += n + (dir[n] == ':');
	}
	return error_set(err, CNI_CONFIG, "it is in no directory of CNI_PATH '%.256s'", r->path);
}

static int make_input(const struct request *r, struct error *err)
{
	const char *text = json_object_to_json_string_ext(
		r->conf.tree, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
	_cleanup_close_ int fd = memfd_create("cni", MFD_CLOEXEC);
	size_t size = strlen(text);

	if (fd < 0 || write(fd, text, size) != (ssize_t)size || lseek(fd, 0, SEEK_SET) < 0) {
		error_errno(err, "make its input");
		return cni_recode(err, CNI_IO);
	}
	return steal_fd(&fd);
}

static void child(const char *path, const struct run *run, int in, int out)
{
	setenv("CNI_COMMAND", cni_commands[run->command], 1);
	if (run->of) {
		setenv("CNI_CONTAINERID", run->of->container, 1);
		setenv("CNI_IFNAME", run->of->ifname, 1);
		unsetenv("CNI_NETNS");
		unsetenv("CNI_ARGS");
	}
	if (dup2(in, STDIN_FILENO) >= 0 && dup2(out, STDOUT_FILENO) >= 0)
		execl(path, path, NULL);
	_exit(127);
}

static int read_output(int fd, struct run *run, struct error *err)
{
	ssize_t n = 0;

	run->output = malloc(CNI_TEXT_MAX + 1);
	if (!run->output)
		return error_set(err, CNI_IO, "out of memory");
	do {
		n = read(fd, run->output + run->size, CNI_TEXT_MAX - run->size);
		if (n > 0)
			run->size += (size_t)n;
	} while (n > 0 || (n < 0 && errno == EINTR));
	run->output[run->size] = 0;
	if (run->size == CNI_TEXT_MAX)
		return error_set(err, CNI_DECODE, "it says more than %u bytes", CNI_TEXT_MAX);
	return 0;
}

static int execute(const struct request *r, struct run *run, struct error *err)
{
	_cleanup_close_ int in = -1, out = -1, their_out = -1;
	char path[PATH_MAX];
	int pipes[2], rc;
	pid_t pid;

	if (find(r, path, err) < 0)
		return -err->code;
	in = make_input(r, err);
	if (in < 0)
		return in;
	if (pipe2(pipes, O_CLOEXEC) < 0) {
		error_errno(err, "make a pipe");
		return cni_recode(err, CNI_IO);
	}
	out = pipes[0];
	their_out = pipes[1];
	pid = fork();
	if (pid == 0)
		child(path, run, in, their_out);
	if (pid < 0) {
		error_errno(err, "fork");
		return cni_recode(err, CNI_IO);
	}
	cleanup_close(&their_out);
	their_out = -1;
	rc = read_output(out, run, err);
	cleanup_close(&out); /* what it says more has no reader */
	out = -1;
	while (waitpid(pid, &run->status, 0) < 0 && errno == EINTR)
		;
	return rc;
}

/* The plugin's own error: {"code": 7, "msg": "...", "details": "..."}. */
static int plugin_error(const struct request *r, const struct run *run, struct error *err)
{
	_cleanup_json_ struct json_object *o = NULL;
	struct json_object *code = NULL, *msg = NULL, *details = NULL;
	struct error ignored;
	int n;

	o = json_parse_object(run->output, run->size, r->conf.ipam, &ignored);
	if (o) {
		json_object_object_get_ex(o, "code", &code);
		json_object_object_get_ex(o, "msg", &msg);
		json_object_object_get_ex(o, "details", &details);
	}
	n = json_object_is_type(code, json_type_int) ? json_object_get_int(code) : 0;
	if (!json_object_is_type(msg, json_type_string))
		return error_set(err, CNI_IO, "it ended with %s %d and gave no reason",
				 WIFSIGNALED(run->status) ? "signal" : "status",
				 WIFSIGNALED(run->status) ? WTERMSIG(run->status)
							  : WEXITSTATUS(run->status));
	if (!json_object_is_type(details, json_type_string) || !json_object_get_string_len(details))
		details = NULL;
	return error_set(err, n > 0 ? n : CNI_IO, "%s%s%s", json_object_get_string(msg),
			 details ? ": " : "", details ? json_object_get_string(details) : "");
}

static int run_plugin(const struct request *r, struct run *run, struct error *err)
{
	free(run->output);
	run->output = NULL;
	run->size = 0;
	if (execute(r, run, err) < 0)
		return -err->code;
	return run->status == 0 ? 0 : plugin_error(r, run, err);
}

static void set_version(struct request *r, const char *version)
{
	json_object_object_add(r->conf.tree, "cniVersion", json_object_new_string(version));
}

/* Again in an older version, if need be. */
static int run_any(struct request *r, struct run *run, struct error *err)
{
	int rc = run_plugin(r, run, err);

	if (rc != -CNI_VERSION_INCOMPATIBLE || r->conf.version <= CNI_1_0_0)
		return rc;
	*err = (struct error){0};
	set_version(r, cni_versions[CNI_1_0_0]);
	rc = run_plugin(r, run, err);
	set_version(r, cni_versions[r->conf.version]);
	return rc;
}

static int wrap(const struct request *r, struct error *err)
{
	return error_wrap(err, "IPAM plugin '%s'", r->conf.ipam);
}

int ipam_add(struct request *r, struct result *ret, struct json_object **ret_tree,
	     struct error *err)
{
	struct doc d = {.arena = &r->conf.arena, .name = "its result", .err = err};
	struct run run = {.command = CNI_ADD};

	*ret = (struct result){0};
	*ret_tree = NULL;
	if (!r->conf.ipam)
		return 0;
	if (run_any(r, &run, err) == 0) {
		*ret_tree = doc_parse(&d, run.output, run.size);
		result_read(&d, *ret_tree, ret);
		if (d.rc)
			cni_recode(err, CNI_DECODE);
		else if (!ret->ips_n)
			error_set(err, CNI_DECODE, "its result has no address");
	}
	free(run.output);
	return err->code ? wrap(r, err) : 0;
}

static int order(struct request *r, enum cni_command command, const struct attachment *of,
		 struct error *err)
{
	struct run run = {.command = command, .of = of};
	int rc;

	if (!r->conf.ipam)
		return 0;
	rc = run_any(r, &run, err);
	free(run.output);
	return rc < 0 ? wrap(r, err) : 0;
}

int ipam_del(struct request *r, const struct attachment *of, struct error *err)
{
	return order(r, CNI_DEL, of, err);
}

int ipam_check(struct request *r, struct error *err)
{
	return order(r, CNI_CHECK, NULL, err);
}

/* Whether the plugin says that it knows 1.1.0. */
static bool knows_1_1(struct request *r)
{
	struct run run = {.command = CNI_VERSION};
	_cleanup_json_ struct json_object *o = NULL;
	struct json_object *list = NULL;
	struct error ignored = {0};
	bool found = false;

	if (run_plugin(r, &run, &ignored) == 0)
		o = json_parse_object(run.output, run.size, r->conf.ipam, &ignored);
	if (o && json_object_object_get_ex(o, "supportedVersions", &list) &&
	    json_object_is_type(list, json_type_array))
		for (size_t i = 0; i < json_object_array_length(list); i++) {
			const char *v = json_object_get_string(json_object_array_get_idx(list, i));

			found |= v && strcmp(v, cni_versions[CNI_1_1_0]) == 0;
		}
	free(run.output);
	return found;
}

int ipam_gc(struct request *r, struct error *err)
{
	return r->conf.ipam && knows_1_1(r) ? order(r, CNI_GC, NULL, err) : 0;
}

int ipam_status(struct request *r, struct error *err)
{
	char path[PATH_MAX];

	if (!r->conf.ipam)
		return 0;
	if (find(r, path, err) < 0)
		return wrap(r, err);
	return knows_1_1(r) ? order(r, CNI_STATUS, NULL, err) : 0;
}
