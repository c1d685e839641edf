// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"

static const struct option *find_long(const struct option *table, const char *word, size_t n)
{
	for (const struct option *o = table; o->name; o++)
		if (strlen(o->name) == n && strncmp(o->name, word, n) == 0)
			return o;
	return NULL;
}

static const struct option *find_letter(const struct option *table, char letter)
{
	for (const struct option *o = table; o->name; o++)
		if (o->letter && o->letter == letter)
			return o;
	return NULL;
}

static int set(const struct option *o, const char *value, struct error *err)
{
	struct option_strings *list;
	unsigned long n;
	char *end;

	switch (o->kind) {
	case OPTION_FLAG:
		*(bool *)o->value = true;
		return 0;
	case OPTION_STRING:
		*(const char **)o->value = value;
		return 0;
	case OPTION_NUMBER:
		errno = 0;
		n = strtoul(value, &end, 10);
		if (errno || end == value || *end || *value == '-' || n > 1u << 30)
			return error_set(err, EINVAL, "--%s '%s' is not a number", o->name, value);
		*(unsigned int *)o->value = (unsigned int)n;
		return 0;
	case OPTION_STRINGS:
		list = o->value;
		if (list->n == OPTION_STRINGS_MAX)
			return error_set(err, EINVAL, "--%s is given more than %d times", o->name,
					 OPTION_STRINGS_MAX);
		list->v[list->n++] = value;
		return 0;
	case OPTION_IGNORED:
		return 0;
	}
	return 0;
}

/* --name, --name=value, --name value; flags also take =true and =false. */
static int parse_long(const struct option *table, int argc, char **argv, struct error *err)
{
	const char *word = argv[0] + 2, *eq = strchr(word, '=');
	const struct option *o = find_long(table, word, eq ? (size_t)(eq - word) : strlen(word));

	if (!o)
		return error_set(err, EINVAL, "'%s' is not an option here", argv[0]);
	if (!o->arg) {
		if (eq && strcmp(eq + 1, "true") != 0 && strcmp(eq + 1, "false") != 0)
			return error_set(err, EINVAL, "--%s takes no value, got '%s'", o->name,
					 eq + 1);
		if (eq && strcmp(eq + 1, "false") == 0)
			return 1;
		return set(o, NULL, err) < 0 ? -EINVAL : 1;
	}
	if (eq)
		return set(o, eq + 1, err) < 0 ? -EINVAL : 1;
	if (argc < 2)
		return error_set(err, EINVAL, "--%s needs a value (%s)", o->name, o->arg);
	return set(o, argv[1], err) < 0 ? -EINVAL : 2;
}

/* -a, -abc for flags, -avalue, -a value. */
static int parse_letters(const struct option *table, int argc, char **argv, struct error *err)
{
	for (const char *p = argv[0] + 1; *p; p++) {
		const struct option *o = find_letter(table, *p);

		if (!o)
			return error_set(err, EINVAL, "'-%c' in '%s' is not an option here", *p,
					 argv[0]);
		if (!o->arg) {
			if (set(o, NULL, err) < 0)
				return -EINVAL;
			continue;
		}
		if (p[1])
			return set(o, p + 1, err) < 0 ? -EINVAL : 1;
		if (argc < 2)
			return error_set(err, EINVAL, "-%c needs a value (%s)", o->letter, o->arg);
		return set(o, argv[1], err) < 0 ? -EINVAL : 2;
	}
	return 1;
}

int options_parse(const struct option *table, int argc, char **argv, struct error *err)
{
	int i = 0, used;

	while (i < argc && argv[i][0] == '-' && argv[i][1]) {
		if (strcmp(argv[i], "--") == 0)
			return i + 1;
		used = argv[i][1] == '-' ? parse_long(table, argc - i, argv + i, err)
					 : parse_letters(table, argc - i, argv + i, err);
		if (used < 0)
			return used;
		i += used;
	}
	return i;
}
