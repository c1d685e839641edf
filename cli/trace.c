// SPDX-License-Identifier: Apache-2.0
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "lib/cleanup.h"
#include "runtime/json.h"
#include "runtime/sandbox.h"
#include "runtime/trace.h"

static const char *format = "json";
static bool align, whole;

static const struct option options[] = {
	{"format", 'f', OPTION_STRING, "FORMAT", "json (Trace Event Format) or svg", &format},
	{"align", 0, OPTION_FLAG, NULL, "let every start begin at 0, to compare them", &align},
	{"whole", 0, OPTION_FLAG, NULL, "svg: also the process and its end", &whole},
	{.name = NULL},
};

static int add_file(struct trace *t, int dir_fd, const char *path, const char *name,
		    struct error *err)
{
	_cleanup_free_ char *text = NULL;
	size_t size;

	text = file_read(dir_fd, path, TRACE_FILE_MAX, &size, err);
	if (!text)
		return -err->code;
	return trace_add(t, name, text, size, err);
}

/* With `any`, one that has no timeline is passed over. */
static int add_container(struct trace *t, const char *root, const char *id, bool any,
			 struct error *err)
{
	_cleanup_close_ int dir_fd = state_dir_open(root, id, err);
	int rc;

	if (dir_fd < 0)
		return any ? 0 : dir_fd;
	rc = add_file(t, dir_fd, "timeline", id, err);
	if (rc < 0 && any)
		return 0;
	if (rc == -ENOENT)
		return error_set(err, ENOENT,
				 "container '%s' has no timeline: it was started with --timeline",
				 id);
	return rc < 0 ? error_wrap(err, "%s", id) : 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct trace_start *)a)->name, ((const struct trace_start *)b)->name);
}

static int add_all(struct trace *t, const char *root, struct error *err)
{
	_cleanup_closedir_ DIR *d = opendir(root);
	struct dirent *e;

	if (!d && errno != ENOENT)
		return error_errno(err, "--root '%s'", root);
	while (d && (e = readdir(d)))
		if (e->d_name[0] != '.' && add_container(t, root, e->d_name, true, err) < 0)
			return -err->code;
	if (!t->n)
		return error_set(err, ENOENT, "there is no container with a timeline in '%s'",
				 root);
	qsort(t->starts, t->n, sizeof(*t->starts), by_name);
	return 0;
}

/* What has a slash in it is a file; no container's name has one. */
static int add_word(struct trace *t, const char *root, const char *word, struct error *err)
{
	const char *slash = strrchr(word, '/');

	if (!slash)
		return add_container(t, root, word, false, err);
	if (add_file(t, AT_FDCWD, word, slash + 1, err) < 0)
		return error_wrap(err, "%s", word);
	return 0;
}

static int run(const struct globals *g, unsigned int argc, char **argv, struct error *err)
{
	bool svg = strcmp(format, "svg") == 0;
	struct trace t = {0};
	int rc = 0;

	if (!svg && strcmp(format, "json") != 0)
		return error_set(err, EINVAL, "--format '%s' is neither json nor svg", format);
	if (whole && !svg)
		return error_set(err, EINVAL, "--whole is for --format svg: json has it all");
	if (!argc)
		rc = add_all(&t, g->root, err);
	for (unsigned int i = 0; i < argc && rc == 0; i++)
		rc = add_word(&t, g->root, argv[i], err);
	if (rc == 0)
		rc = svg ? trace_write_svg(&t, align, whole, stdout, err)
			 : trace_write_json(&t, align, stdout, err);
	trace_done(&t);
	return rc;
}

const struct command cmd_trace = {
	.name = "trace",
	.args = "[ID|FILE...]",
	.summary = "show where the time of starts went",
	.details =
		"Every start records its phases, by one clock. This shows those of the containers "
		"named, of timelines in files (with a slash in the name: ./t), or of all "
		"containers, side by side: as JSON in the Trace Event Format, which Perfetto "
		"(ui.perfetto.dev) and chrome://tracing open, or as a picture.\n"
		"A timeline goes with its container, unless it was written elsewhere "
		"(--timeline) or the settings say where timelines stay (timelines).",
	.options = options,
	.args_max = 1024,
	.run = run,
};
