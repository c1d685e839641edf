// SPDX-License-Identifier: Apache-2.0
#include "runtime/rootfs_key.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <search.h>
#include <sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

#include "lib/cleanup.h"

#define CONTENT_MAX (16u << 20) /* bytes of an upper directory whose content is hashed */
#define XATTR_MAX 65536		/* bytes of names, and of a value: the kernel's own limits */
#define BLOCK 4096u

enum walk_mode {
	WALK_SIZE,    /* no hash */
	WALK_META,    /* everything stat says */
	WALK_CONTENT, /* what a container could tell apart */
};

struct walk {
	enum walk_mode mode;
	SHA2_CTX sha;
	struct error *err;
	struct rootfs_size size;
	uint64_t content; /* bytes in regular files */
	void *linked;	  /* tsearch(3) of files with several names, met already */
	unsigned int depth;
	size_t path_size;
	char path[PATH_MAX]; /* below the root, for sentences */
};

/* The names in one directory: one block of text, and pointers into it. */
struct names {
	char *text;
	size_t size, capacity, n;
	char **v;
};

static void names_done(struct names *s)
{
	free(s->text);
	free(s->v);
}

static void hash(struct walk *w, const void *p, size_t n)
{
	if (w->mode != WALK_SIZE)
		SHA256Update(&w->sha, p, n);
}

static void hash_u64(struct walk *w, uint64_t x)
{
	hash(w, &x, sizeof(x));
}

/* With its length, so that no two lists of strings look alike. */
static void hash_bytes(struct walk *w, const void *p, size_t n)
{
	hash_u64(w, n);
	hash(w, p, n);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int names_add(struct names *s, const char *name)
{
	size_t n = strlen(name) + 1;

	if (s->size + n > s->capacity) {
		size_t room = s->capacity ? 2 * s->capacity : 4096;
		char *grown = realloc(s->text, room);

		if (!grown)
			return -ENOMEM;
		s->text = grown;
		s->capacity = room;
	}
	memcpy(s->text + s->size, name, n);
	s->size += n;
	s->n++;
	return 0;
}

/* All names but . and .., sorted: the order of readdir(3) is the file system's affair. */
static int names_read(struct walk *w, DIR *d, struct names *ret)
{
	struct dirent *e;
	char *p;

	for (errno = 0; (e = readdir(d)); errno = 0) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (ret->n >= ROOTFS_FILES_MAX || names_add(ret, e->d_name) < 0)
			return error_set(w->err, E2BIG, "'%s' holds too many files", w->path);
	}
	if (errno)
		return error_errno(w->err, "read directory '%s'", w->path);
	ret->v = calloc(ret->n ? ret->n : 1, sizeof(*ret->v));
	if (!ret->v)
		return error_set(w->err, ENOMEM, "out of memory");
	p = ret->text;
	for (size_t i = 0; i < ret->n; i++, p += strlen(p) + 1)
		ret->v[i] = p;
	if (ret->n)
		qsort(ret->v, ret->n, sizeof(*ret->v), by_name);
	return 0;
}

struct file_id {
	dev_t dev;
	ino_t ino;
};

static int by_id(const void *a, const void *b)
{
	const struct file_id *x = a, *y = b;

	if (x->dev != y->dev)
		return x->dev < y->dev ? -1 : 1;
	return (x->ino > y->ino) - (x->ino < y->ino);
}

/* Whether this is the first name of a file with several: its data is in an image once. */
static bool first_name(struct walk *w, const struct stat *st)
{
	struct file_id *id = malloc(sizeof(*id));
	struct file_id **found;

	if (!id)
		return true; /* counted twice is only too careful */
	*id = (struct file_id){.dev = st->st_dev, .ino = st->st_ino};
	found = tsearch(id, &w->linked, by_id);
	if (found && *found == id)
		return true;
	free(id);
	return !found;
}

static void measure(struct walk *w, const struct stat *st)
{
	uint64_t size = (uint64_t)st->st_size;

	w->size.files++;
	/* An extended inode, its xattrs and its directory entry; generous. */
	w->size.bytes += 512;
	if (S_ISREG(st->st_mode))
		w->content += size;
	if (w->mode != WALK_SIZE || !(S_ISREG(st->st_mode) || S_ISDIR(st->st_mode)))
		return;
	if (st->st_nlink > 1 && S_ISREG(st->st_mode) && !first_name(w, st))
		return;
	w->size.bytes += (size + BLOCK - 1) / BLOCK * BLOCK;
	if (S_ISREG(st->st_mode) && size >= w->size.largest) {
		w->size.largest = size;
		snprintf(w->size.largest_path, sizeof(w->size.largest_path), "%.255s", w->path);
	}
}

static void hash_stat(struct walk *w, const struct stat *st)
{
	bool all = w->mode == WALK_META;

	hash_u64(w, st->st_mode);
	hash_u64(w, st->st_uid);
	hash_u64(w, st->st_gid);
	hash_u64(w, S_ISDIR(st->st_mode) ? 0 : st->st_nlink);
	hash_u64(w, S_ISDIR(st->st_mode) ? 0 : (uint64_t)st->st_size);
	hash_u64(w, st->st_rdev);
	if (all || S_ISREG(st->st_mode)) {
		hash_u64(w, (uint64_t)st->st_mtim.tv_sec);
		hash_u64(w, (uint64_t)st->st_mtim.tv_nsec);
	}
	if (all) {
		hash_u64(w, (uint64_t)st->st_ctim.tv_sec);
		hash_u64(w, (uint64_t)st->st_ctim.tv_nsec);
		hash_u64(w, st->st_ino);
	}
}

static int hash_link(struct walk *w, int dir, const char *name)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(dir, name, target, sizeof(target));

	if (n < 0)
		return error_errno(w->err, "read link '%s'", w->path);
	hash_bytes(w, target, (size_t)n);
	return 0;
}

/* What overlayfs notes for itself and what differs between equal upper directories. */
static bool xattr_is_private(const char *name)
{
	static const char *const names[] = {"origin", "impure", "nlink", "uuid", "upper"};
	const char *rest = strncmp(name, "trusted.overlay.", 16) == 0 ? name + 16
			   : strncmp(name, "user.overlay.", 13) == 0  ? name + 13
								      : NULL;

	for (size_t i = 0; rest && i < ARRAY_SIZE(names); i++)
		if (strcmp(rest, names[i]) == 0)
			return true;
	return strcmp(name, "security.selinux") == 0; /* a label for each container */
}

static int hash_xattrs(struct walk *w, int dir, const char *name)
{
	_cleanup_(names_done) struct names list = {.text = malloc(XATTR_MAX)};
	_cleanup_free_ uint8_t *value = malloc(XATTR_MAX);
	char path[64 + NAME_MAX];
	char *text = list.text;
	ssize_t n;

	if (!text || !value)
		return error_set(w->err, ENOMEM, "out of memory");
	/* There is no llistxattrat(2); a directory's descriptor in /proc does the same. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dir, name);
	n = llistxattr(path, text, XATTR_MAX);
	if (n < 0 && errno != EOPNOTSUPP)
		return error_errno(w->err, "list attributes of '%s'", w->path);
	for (char *p = text; n > 0 && p < text + n; p += strlen(p) + 1)
		list.n++;
	list.v = calloc(list.n + 1, sizeof(*list.v));
	if (!list.v)
		return error_set(w->err, ENOMEM, "out of memory");
	for (size_t i = 0; i < list.n; i++)
		list.v[i] = i ? list.v[i - 1] + strlen(list.v[i - 1]) + 1 : text;
	qsort(list.v, list.n, sizeof(*list.v), by_name);
	for (size_t i = 0; i < list.n; i++) {
		if (xattr_is_private(list.v[i]))
			continue;
		n = lgetxattr(path, list.v[i], value, XATTR_MAX);
		hash_bytes(w, list.v[i], strlen(list.v[i]));
		hash_bytes(w, value, n > 0 ? (size_t)n : 0);
	}
	hash_u64(w, UINT64_MAX); /* the end of the list */
	return 0;
}

static int hash_content(struct walk *w, int dir, const char *name)
{
	_cleanup_close_ int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	_cleanup_free_ uint8_t *buf = malloc(65536);
	uint64_t total = 0;
	struct stat st;
	ssize_t n;

	if (!buf)
		return error_set(w->err, ENOMEM, "out of memory");
	if (fd < 0 || fstat(fd, &st) < 0)
		return error_errno(w->err, "open '%s'", w->path);
	if (!S_ISREG(st.st_mode))
		return error_set(w->err, EAGAIN, "'%s' is being changed", w->path);
	while ((n = read(fd, buf, 65536)) > 0) {
		hash(w, buf, (size_t)n);
		total += (uint64_t)n;
		if (total > CONTENT_MAX) /* it grew */
			return error_set(w->err, EAGAIN, "'%s' is being changed", w->path);
	}
	if (n < 0)
		return error_errno(w->err, "read '%s'", w->path);
	hash_u64(w, total);
	return 0;
}

static int walk_dir(struct walk *w, int fd);

static int walk_child(struct walk *w, int dir, const char *name)
{
	struct stat st;
	int rc = 0, fd;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) < 0)
		return error_errno(w->err, "look at '%s'", w->path);
	measure(w, &st);
	if (w->size.files > ROOTFS_FILES_MAX)
		return error_set(w->err, E2BIG, "more than %u files", ROOTFS_FILES_MAX);
	hash_bytes(w, name, strlen(name));
	hash_stat(w, &st);
	if (w->mode != WALK_SIZE && S_ISLNK(st.st_mode))
		rc = hash_link(w, dir, name);
	if (!rc && w->mode == WALK_CONTENT)
		rc = hash_xattrs(w, dir, name);
	if (!rc && w->mode == WALK_CONTENT && S_ISREG(st.st_mode))
		rc = hash_content(w, dir, name);
	if (rc < 0 || !S_ISDIR(st.st_mode))
		return rc;
	if (w->depth >= ROOTFS_DEPTH_MAX)
		return error_set(w->err, ELOOP, "'%.64s...' is more than %d directories deep",
				 w->path, ROOTFS_DEPTH_MAX);
	fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return error_errno(w->err, "open directory '%s'", w->path);
	w->depth++;
	rc = walk_dir(w, fd);
	w->depth--;
	return rc;
}

/* Takes fd over. */
static int walk_dir(struct walk *w, int fd)
{
	_cleanup_closedir_ DIR *d = fdopendir(fd);
	_cleanup_(names_done) struct names names = {0};
	size_t before = w->path_size;
	int rc;

	if (!d) {
		rc = error_errno(w->err, "open directory '%s'", w->path);
		close(fd);
		return rc;
	}
	rc = names_read(w, d, &names);
	for (size_t i = 0; i < names.n && !rc; i++) {
		int n = snprintf(w->path + before, sizeof(w->path) - before, "%s%s",
				 before ? "/" : "", names.v[i]);

		/* mkfs.erofs could not open it either. */
		if ((size_t)n >= sizeof(w->path) - before)
			return error_set(w->err, ENAMETOOLONG,
					 "a path in it, '%.64s...', is too long", w->path);
		w->path_size = before + (size_t)n;
		rc = walk_child(w, dirfd(d), names.v[i]);
	}
	if (!rc) {
		w->path_size = before;
		w->path[before] = 0;
	}
	hash_u64(w, UINT64_MAX); /* the end of the directory */
	return rc;
}

/* Walks the tree at fd, which stays open; its hash so far is kept in w. */
static int walk(struct walk *w, int root)
{
	_cleanup_close_ int fd = openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat st;
	int rc = 0;

	if (fd < 0 || fstat(fd, &st) < 0)
		return error_errno(w->err, "open its root");
	measure(w, &st);
	hash_stat(w, &st);
	if (w->mode == WALK_CONTENT)
		rc = hash_xattrs(w, fd, ".");
	if (!rc)
		rc = walk_dir(w, steal_fd(&fd));
	tdestroy(w->linked, free);
	w->linked = NULL;
	return rc;
}

/* Undoes mountinfo's octal escapes, in place (proc(5)). */
static void unescape(char *s)
{
	char *to = s;

	for (; *s; s++) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' &&
		    s[3] >= '0' && s[3] <= '7') {
			*to++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 3;
		} else {
			*to++ = *s;
		}
	}
	*to = 0;
}

static bool is_below(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	return strcmp(dir, "/") == 0 ? strcmp(path, "/") != 0
				     : strncmp(path, dir, n) == 0 && path[n] == '/';
}

/*
 * One line of mountinfo: "36 35 98:0 /root /mnt rw,noatime master:1 - ext4 /dev/x rw,errors=y".
 * A later mount at the same place covers the earlier ones.
 */
static int mount_line(struct rootfs_tree *t, char *line)
{
	char *fields[5], *save = NULL, *end = strstr(line, " - "), *type, *options;

	if (!end)
		return 0;
	*end = 0;
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		fields[i] = strtok_r(i ? NULL : line, " ", &save);
		if (!fields[i])
			return 0;
	}
	unescape(fields[4]);
	if (is_below(fields[4], t->path))
		t->mounts_below = true;
	if (strcmp(fields[4], t->path) != 0)
		return 0;
	type = strtok_r(end + 3, " ", &save);
	strtok_r(NULL, " ", &save);
	options = strtok_r(NULL, "\n", &save);
	free(steal_ptr(&t->options));
	t->mounts_below = false; /* those were covered too */
	t->overlay = type && options && strcmp(type, "overlay") == 0;
	if (t->overlay) {
		t->options = strdup(options);
		if (!t->options)
			return -ENOMEM;
	}
	return 0;
}

static int read_mounts(struct rootfs_tree *t, struct error *err)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/self/mountinfo", "re");
	_cleanup_free_ char *line = NULL;
	size_t capacity = 0;

	if (!f)
		return error_errno(err, "open '/proc/self/mountinfo'");
	while (getline(&line, &capacity, f) > 0)
		if (mount_line(t, line) < 0)
			return error_set(err, ENOMEM, "out of memory");
	if (ferror(f))
		return error_errno(err, "read '/proc/self/mountinfo'");
	return 0;
}

/* The same directory without what is mounted on directories below (a copy of its mount). */
static int bare_tree(int fd)
{
	return (int)syscall(SYS_open_tree, fd, "",
			    AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
}

int rootfs_tree_open(struct rootfs_tree *ret, const char *dir, struct error *err)
{
	_cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char self[64];
	ssize_t n;

	*ret = (struct rootfs_tree){.fd = -1};
	if (fd < 0)
		return error_errno(err, "root directory '%s'", dir);
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	n = readlink(self, ret->path, sizeof(ret->path) - 1);
	if (n < 0 || ret->path[0] != '/')
		return error_set(err, EINVAL, "root directory '%s' has no path", dir);
	ret->path[n] = 0;
	if (read_mounts(ret, err) < 0) {
		rootfs_tree_close(ret);
		return error_wrap(err, "root directory '%s'", dir);
	}
	if (ret->mounts_below) {
		int bare = bare_tree(fd);

		if (bare < 0) {
			rootfs_tree_close(ret);
			return error_errno(err,
					   "root directory '%s' has file systems mounted below "
					   "it: open_tree",
					   dir);
		}
		close(fd);
		fd = bare;
	}
	ret->fd = steal_fd(&fd);
	return 0;
}

void rootfs_tree_close(struct rootfs_tree *t)
{
	int saved = errno;

	if (t->fd >= 0)
		close(t->fd);
	free(t->options);
	*t = (struct rootfs_tree){.fd = -1};
	errno = saved;
}

/*
 * Whether this is a layer in an engine's store, where directories stay as they were unpacked:
 * <store>/<64 hex digits>/diff (containers-storage, docker), snapshots/<n>/fs (containerd).
 */
static bool is_layer(const char *path)
{
	const char *last = strrchr(path, '/'), *middle = last;
	size_t n;

	if (!last)
		return false;
	while (middle > path && middle[-1] != '/')
		middle--;
	n = (size_t)(last - middle);
	if (!n)
		return false;
	if (strcmp(last, "/diff") == 0)
		return n == 64 && strspn(middle, "0123456789abcdef") == 64;
	return strcmp(last, "/fs") == 0 && strspn(middle, "0123456789") == n &&
	       middle - path >= 11 && strncmp(middle - 11, "/snapshots/", 11) == 0;
}

/*
 * Opens a directory that the mount's options name.  Engines with many layers shorten relative
 * to their store, two levels above the mount point (<store>/<id>/merged).
 */
static int open_named(const struct rootfs_tree *t, const char *name, bool layer)
{
	_cleanup_free_ char *real = NULL;
	char path[2 * PATH_MAX];

	if (*name == '/')
		snprintf(path, sizeof(path), "%s", name);
	else
		snprintf(path, sizeof(path), "%s/../../%s", t->path, name);
	real = realpath(path, NULL);
	if (!real || (layer && !is_layer(real)))
		return -1;
	return open(real, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* Hashes who the layers of "a:b:c" are; colons and backslashes in names are escaped by one. */
static bool hash_layers(struct walk *w, const struct rootfs_tree *t, char *list)
{
	while (*list) {
		char *from = list, *to = list, *name = list;
		_cleanup_close_ int fd = -1;
		struct stat st;

		for (; *from && *from != ':'; from++) {
			if (*from == '\\' && from[1])
				from++;
			*to++ = *from;
		}
		list = *from ? from + 1 : from;
		*to = 0;
		fd = *name ? open_named(t, name, true) : -1;
		if (fd < 0 || fstat(fd, &st) < 0)
			return false;
		hash_u64(w, st.st_dev);
		hash_stat(w, &st);
	}
	return true;
}

/* What is in the upper directory: its content if that is little. */
static int hash_upper(struct walk *w, int fd)
{
	struct walk first = {.mode = WALK_META, .err = w->err};
	int rc;

	SHA256Init(&first.sha);
	rc = walk(&first, fd);
	if (rc < 0)
		return rc;
	if (first.content > CONTENT_MAX) {
		uint8_t digest[SHA256_DIGEST_LENGTH];

		SHA256Final(digest, &first.sha);
		hash(w, digest, sizeof(digest));
		return 0;
	}
	w->mode = WALK_CONTENT;
	return walk(w, fd);
}

/* 1: done; 0: not a mount whose parts are known, walk it all; -errno with err set. */
static int hash_overlay(struct walk *w, const struct rootfs_tree *t)
{
	_cleanup_free_ char *options = strdup(t->options);
	char *save = NULL, *lower = NULL, *upper = NULL;
	_cleanup_close_ int fd = -1;
	int rc;

	if (!options)
		return error_set(w->err, ENOMEM, "out of memory");
	for (char *o = strtok_r(options, ",", &save); o; o = strtok_r(NULL, ",", &save)) {
		if (strncmp(o, "lowerdir=", 9) == 0)
			lower = o + 9;
		else if (strncmp(o, "upperdir=", 9) == 0)
			upper = o + 9;
		else if (strncmp(o, "lowerdir+", 9) == 0 || strncmp(o, "datadir+", 8) == 0)
			return 0; /* the newer way to name layers, which no engine uses yet */
		else if (strncmp(o, "metacopy", 8) == 0 || strncmp(o, "redirect", 8) == 0 ||
			 strcmp(o, "userxattr") == 0)
			hash_bytes(w, o, strlen(o)); /* they decide what the layers mean */
	}
	if (!lower)
		return 0;
	unescape(lower);
	if (!hash_layers(w, t, lower))
		return 0;
	if (!upper)
		return 1;
	unescape(upper);
	fd = open_named(t, upper, false);
	if (fd < 0)
		return 0;
	rc = hash_upper(w, fd);
	return rc < 0 ? error_wrap(w->err, "upper directory '%s'", upper) : 1;
}

int rootfs_key(const struct rootfs_tree *t, const char *salt, char ret[ROOTFS_KEY_SIZE],
	       struct error *err)
{
	struct walk w = {.mode = WALK_META, .err = err};
	uint8_t digest[SHA256_DIGEST_LENGTH];
	int rc = 0;

	SHA256Init(&w.sha);
	hash_bytes(&w, salt, strlen(salt));
	if (t->overlay) {
		rc = hash_overlay(&w, t);
		if (rc == 0) { /* forget what was hashed on the way */
			SHA256Init(&w.sha);
			hash_bytes(&w, salt, strlen(salt));
		}
	}
	if (rc == 0) {
		hash_bytes(&w, "tree", 4);
		w.mode = WALK_META;
		rc = walk(&w, t->fd);
	}
	if (rc < 0)
		return rc;
	SHA256Final(digest, &w.sha);
	for (size_t i = 0; i < sizeof(digest); i++)
		snprintf(ret + 2 * i, 3, "%02x", digest[i]);
	return 0;
}

int rootfs_measure(const struct rootfs_tree *t, struct rootfs_size *ret, struct error *err)
{
	struct walk w = {.mode = WALK_SIZE, .err = err};
	int rc = walk(&w, t->fd);

	*ret = w.size;
	return rc;
}
