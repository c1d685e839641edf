// SPDX-License-Identifier: Apache-2.0
#include "guest/init/executable.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/cleanup.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
/* Lines of a passwd file that are longer or come later are not looked at. */
#define PASSWD_LINE 1024
#define PASSWD_LINES_MAX 65536

int executable_error(struct error *err, int code, const char *name)
{
	if (code == ENOENT)
		return error_set(err, code, "exec '%s': no such file or directory", name);
	if (code == EACCES)
		return error_set(err, code, "exec '%s': permission denied", name);
	errno = code;
	return error_errno(err, "exec '%s'", name);
}

/* 0, or why path cannot be run. */
static int check(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return errno;
	if (!S_ISREG(st.st_mode))
		return EACCES;
	return faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) < 0 ? errno : 0;
}

static int find_in(char ret[static PATH_MAX], const char *dirs, const char *name)
{
	for (const char *p = dirs; p;) {
		size_t n = strcspn(p, ":");
		int len = snprintf(ret, PATH_MAX, "%.*s%s%s", (int)n, p, n ? "/" : "./", name);

		if (len > 0 && len < PATH_MAX && check(ret) == 0)
			return 0;
		p = p[n] ? p + n + 1 : NULL;
	}
	return ENOENT;
}

static const char *env_get(const struct spec_process *p, const char *name)
{
	size_t n = strlen(name);
	const char *value = NULL;

	for (uint32_t i = 0; i < p->env.n; i++)
		if (strncmp(p->env.v[i], name, n) == 0 && p->env.v[i][n] == '=')
			value = p->env.v[i] + n + 1; /* the last one counts */
	return value;
}

/* The home directory in a line of passwd(5) (name:pw:uid:gid:gecos:home:sh) if it is the user's. */
static char *home_in_line(char *line, uint32_t uid)
{
	char *field[7], *end;
	size_t n = 0;

	for (char *p = line; p && n < ARRAY_SIZE(field);)
		field[n++] = strsep(&p, ":");
	if (n < 6 || !*field[2] || strtoul(field[2], &end, 10) != uid || *end)
		return NULL;
	field[5][strcspn(field[5], "\n")] = '\0';
	return field[5];
}

/* "HOME=..." on the heap; "/" if the container does not know its user. */
static char *home_of(uint32_t uid)
{
	int fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	_cleanup_fclose_ FILE *f = NULL;
	char line[PASSWD_LINE], *home = NULL, *ret;
	struct stat st;

	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		f = fdopen(fd, "re");
	for (int i = 0; f && !home && i < PASSWD_LINES_MAX && fgets(line, sizeof(line), f); i++)
		home = home_in_line(line, uid);
	if (!f && fd >= 0)
		close(fd);
	if (asprintf(&ret, "HOME=%s", home && *home ? home : "/") < 0)
		return NULL;
	return ret;
}

static char **make_env(const struct spec_process *p)
{
	char **env = calloc((size_t)p->env.n + 2, sizeof(*env));
	const char *home = env_get(p, "HOME");
	uint32_t n = 0;

	for (uint32_t i = 0; env && i < p->env.n; i++)
		if (strcmp(p->env.v[i], "HOME=") != 0)
			env[n++] = p->env.v[i];
	if (env && (!home || !*home))
		env[n] = home_of(p->uid);
	return env;
}

int executable_find(struct executable *ret, const struct spec_process *p, struct error *err)
{
	const char *name = p->args.v[0];
	int code;

	ret->env = make_env(p);
	ret->args = calloc((size_t)p->args.n + 1, sizeof(*ret->args));
	if (!ret->env || !ret->args)
		return error_set(err, ENOMEM, "out of memory");
	memcpy(ret->args, p->args.v, p->args.n * sizeof(*ret->args));
	if (strchr(name, '/')) {
		if (snprintf(ret->path, sizeof(ret->path), "%s", name) >= (int)sizeof(ret->path))
			return executable_error(err, ENAMETOOLONG, name);
		code = check(name);
		return code ? executable_error(err, code, name) : 0;
	}
	if (find_in(ret->path, env_get(p, "PATH") ?: DEFAULT_PATH, name) != 0)
		return error_set(err, ENOENT, "exec '%s': executable file not found in $PATH",
				 name);
	return 0;
}
