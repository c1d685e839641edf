// SPDX-License-Identifier: Apache-2.0
#include "runtime/rootfs.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

#include "lib/cleanup.h"

/*
 * All that an image depends on besides the tree; the number rises when what mkfs.erofs is asked
 * for changes.  Every extended attribute is kept inline (-x), which saves a pass over the tree.
 */
#define SALT "caisson rootfs 1: mkfs.erofs --preserve-mtime -x2147483647"
#define IMAGE_UUID "ca155000-0000-4000-8000-000000000000" /* the same content, the same image */
#define SLACK (16u << 20) /* bytes that an image may be larger than estimated */
#define BUILD_TRIES 3	  /* when the tree changes meanwhile */
#define NAME_SIZE (ROOTFS_KEY_SIZE + 8)
#define EROFS_SUPER_OFFSET 1024

/* An image in the cache. */
struct entry {
	char name[NAME_SIZE];
	uint64_t size; /* bytes on disk */
	struct timespec used;
};

struct entries {
	struct entry *v;
	size_t n;
	uint64_t total;
};

static void entries_done(struct entries *e)
{
	free(e->v);
}

/* mkdir -p; directories that are missing above get the usual mode. */
static int make_dirs(const char *path, struct error *err)
{
	_cleanup_free_ char *copy = strdup(path);

	if (!copy)
		return error_set(err, ENOMEM, "out of memory");
	for (char *p = copy + 1; *copy && *p; p++) {
		if (*p != '/')
			continue;
		*p = 0;
		if (mkdir(copy, 0755) < 0 && errno != EEXIST)
			return error_errno(err, "create directory '%s'", copy);
		*p = '/';
	}
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return error_errno(err, "create directory '%s'", path);
	return 0;
}

static int cache_open(const char *dir, struct error *err)
{
	_cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat st;

	if (fd < 0 && errno == ENOENT) {
		if (make_dirs(dir, err) < 0)
			return -err->code;
		fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	if (fd < 0 || fstat(fd, &st) < 0)
		return error_errno(err, "cache directory '%s'", dir);
	/* Whoever can write here decides what runs in other people's containers. */
	if (st.st_uid != geteuid())
		return error_set(err, EPERM, "cache directory '%s' belongs to user %u, not %u", dir,
				 st.st_uid, geteuid());
	if (st.st_mode & 022)
		return error_set(err, EPERM,
				 "cache directory '%s' may be written by others (mode %04o)", dir,
				 st.st_mode & 07777);
	if (st.st_mode & 077 && fchmod(fd, 0700) < 0)
		return error_errno(err, "change mode of cache directory '%s'", dir);
	return steal_fd(&fd);
}

/* linux/fs/erofs/erofs_fs.h, struct erofs_super_block: magic at 0, log2 of the block size at 12,
 * blocks at 36.  Finds images that were cut or overwritten, not those that were forged. */
static bool image_is_whole(int fd, const struct stat *st)
{
	uint8_t super[128];
	uint32_t magic, blocks;

	if (!S_ISREG(st->st_mode) || st->st_uid != geteuid() ||
	    pread(fd, super, sizeof(super), EROFS_SUPER_OFFSET) != sizeof(super))
		return false;
	memcpy(&magic, super, sizeof(magic));
	memcpy(&blocks, super + 36, sizeof(blocks));
	return le32toh(magic) == EROFS_SUPER_MAGIC_V1 && super[12] >= 9 && super[12] <= 16 &&
	       le32toh(blocks) && (uint64_t)le32toh(blocks) << super[12] <= (uint64_t)st->st_size;
}

/* Opens an image that is there and whole, and locks it.  0: there is none. */
static int image_use(int cache, struct rootfs_image *ret, struct error *err)
{
	const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_nsec = UTIME_NOW}};
	_cleanup_close_ int fd = -1;
	char name[NAME_SIZE];
	struct stat st;

	snprintf(name, sizeof(name), "%s.erofs", ret->key);
	fd = openat(cache, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 && (errno == ENOENT || errno == ELOOP))
		return 0;
	if (fd < 0 || fstat(fd, &st) < 0)
		return error_errno(err, "open image '%s'", name);
	if (!image_is_whole(fd, &st))
		return 0;
	/*
	 * An exclusive lock is held for an instant only: by its maker, or by someone who is about
	 * to remove it, after which this descriptor still is as good.
	 */
	if (flock(fd, LOCK_SH) < 0)
		return error_errno(err, "lock image '%s'", name);
	futimens(fd, times); /* a cache that forgets this is only less clever */
	ret->size = (uint64_t)st.st_size;
	ret->fd = steal_fd(&fd);
	return 1;
}

/*
 * Waits until nobody makes an image in the file any more.  Not for an exclusive lock: by then the
 * file may be the image, which its users lock for as long as they run.
 */
static int await_maker(int fd)
{
	int rc;

	do
		rc = flock(fd, LOCK_SH);
	while (rc < 0 && errno == EINTR);
	return rc < 0 ? rc : flock(fd, LOCK_UN);
}

/*
 * Opens and locks the file an image is made in, waiting for whoever makes the same one.  The file
 * may have been renamed or removed while waiting: then the lock is on something else.
 */
static int temp_lock(int cache, const char *name, struct error *err)
{
	for (;;) {
		_cleanup_close_ int fd = openat(
			cache, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
		struct stat ours, there;

		if (fd < 0)
			return error_errno(err, "create '%s'", name);
		if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
			if (await_maker(fd) < 0)
				return error_errno(err, "lock '%s'", name);
			continue;
		}
		if (fstat(fd, &ours) < 0)
			return error_errno(err, "look at '%s'", name);
		if (fstatat(cache, name, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
		    there.st_dev == ours.st_dev && there.st_ino == ours.st_ino)
			return steal_fd(&fd);
	}
}

static int by_use(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	if (x->used.tv_sec != y->used.tv_sec)
		return x->used.tv_sec < y->used.tv_sec ? -1 : 1;
	return (x->used.tv_nsec > y->used.tv_nsec) - (x->used.tv_nsec < y->used.tv_nsec);
}

static bool has_suffix(const char *name, const char *suffix)
{
	size_t n = strlen(name), m = strlen(suffix);

	return n == ROOTFS_KEY_SIZE - 1 + m && strcmp(name + n - m, suffix) == 0;
}

/* Removes a file that nobody has locked.  Its lock is what a new maker or user waits for, who
 * then sees that the name is gone (temp_lock) or does not mind (image_use). */
static bool remove_unlocked(int cache, const char *name)
{
	_cleanup_close_ int fd = openat(cache, name,
					O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat ours, there;

	return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &ours) == 0 &&
	       fstatat(cache, name, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
	       there.st_ino == ours.st_ino && unlinkat(cache, name, 0) == 0;
}

/* Lists the images, oldest first, and clears away what killed makers left. */
static int list_entries(int cache, struct entries *ret, struct error *err)
{
	_cleanup_close_ int fd = openat(cache, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_closedir_ DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	struct stat st;

	if (!d)
		return error_errno(err, "read the cache directory");
	fd = -1; /* d's now */
	while ((e = readdir(d))) {
		struct entry *grown;

		if (has_suffix(e->d_name, ".tmp"))
			remove_unlocked(cache, e->d_name);
		if (!has_suffix(e->d_name, ".erofs") ||
		    fstatat(cache, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		grown = realloc(ret->v, (ret->n + 1) * sizeof(*ret->v));
		if (!grown)
			return error_set(err, ENOMEM, "out of memory");
		ret->v = grown;
		snprintf(grown[ret->n].name, sizeof(grown->name), "%.*s", NAME_SIZE - 1, e->d_name);
		grown[ret->n].size = (uint64_t)st.st_blocks * 512;
		grown[ret->n].used = st.st_mtim;
		ret->total += grown[ret->n++].size;
	}
	if (ret->n)
		qsort(ret->v, ret->n, sizeof(*ret->v), by_use);
	return 0;
}

static uint64_t free_bytes(int cache)
{
	struct statvfs fs;

	return fstatvfs(cache, &fs) < 0 ? UINT64_MAX : (uint64_t)fs.f_bavail * fs.f_frsize;
}

/* Until the images are at most `limit` bytes and the file system has `room` bytes free. */
static void trim(int cache, struct entries *e, uint64_t limit, uint64_t room)
{
	for (size_t i = 0; i < e->n && (e->total > limit || free_bytes(cache) < room); i++)
		if (remove_unlocked(cache, e->v[i].name))
			e->total -= e->v[i].size;
}

int rootfs_cache_trim(const char *cache_dir, uint64_t cache_size, struct error *err)
{
	_cleanup_(entries_done) struct entries e = {0};
	_cleanup_close_ int cache = -1;
	struct error own;

	if (!err)
		err = &own;
	cache = cache_open(cache_dir, err);
	if (cache < 0)
		return cache;
	if (list_entries(cache, &e, err) < 0)
		return -err->code;
	trim(cache, &e, cache_size ? cache_size : ROOTFS_CACHE_SIZE, 0);
	return 0;
}

/*
 * Makes room for an image of that size, or refuses.  What cannot fit even into an empty cache must
 * not empty it: the tree's owner decides how large its files look.
 */
static int make_room(int cache, const struct rootfs_size *size, uint64_t limit, struct error *err)
{
	_cleanup_(entries_done) struct entries e = {0};
	uint64_t need = size->bytes + SLACK, room;

	if (size->bytes > limit)
		return error_set(
			err, EFBIG,
			"an image of it takes %llu bytes, more than the cache may hold (%llu); "
			"its largest file is '%s' (%llu bytes)",
			(unsigned long long)size->bytes, (unsigned long long)limit,
			size->largest_path, (unsigned long long)size->largest);
	if (list_entries(cache, &e, err) < 0)
		return -err->code;
	room = free_bytes(cache);
	if (need <= e.total || need - e.total <= room)
		trim(cache, &e, limit - size->bytes, need);
	room = free_bytes(cache);
	if (room < need)
		return error_set(
			err, ENOSPC,
			"an image of it takes %llu bytes, more than are free in the cache (%llu); "
			"its largest file is '%s' (%llu bytes)",
			(unsigned long long)need, (unsigned long long)room, size->largest_path,
			(unsigned long long)size->largest);
	return 0;
}

/* In the child: says why on the pipe that is its standard error. */
static void __attribute__((noreturn)) child_fail(const char *what)
{
	dprintf(2, "%s: %s\n", what, strerror(errno));
	_exit(127);
}

/* In the child: what is mounted below the tree disappears from this process's view. */
static void hide_mounts_below(const char *path)
{
	if (unshare(CLONE_NEWNS) < 0)
		child_fail("unshare");
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		child_fail("make mounts private");
	if (mount(path, path, NULL, MS_BIND, NULL) < 0)
		child_fail("bind the root directory");
}

static void __attribute__((noreturn)) child(const struct rootfs_tree *t, int out, int err_fd,
					    const struct rootfs_size *size, pid_t parent)
{
	const struct rlimit largest = {size->bytes + SLACK, size->bytes + SLACK};
	char image[64], path[PATH_MAX + 1];
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	sigset_t none;

	/* Dies with us; if we died before that was said, at once. */
	if (dup2(err_fd, 2) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
		_exit(127);
	if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0)
		child_fail("open '/dev/null'");
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	/* Files that grow meanwhile must not fill the disk. */
	setrlimit(RLIMIT_FSIZE, &largest);
	if (t->mounts_below)
		hide_mounts_below(t->path);
	/* It inherits the lock: the next maker waits until this one is really gone. */
	fcntl(out, F_SETFD, 0);
	snprintf(image, sizeof(image), "/proc/self/fd/%d", out);
	snprintf(path, sizeof(path), "%s", t->path);
	setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 0);
	execlp("mkfs.erofs", "mkfs.erofs", "--quiet", "--preserve-mtime", "-x2147483647",
	       "-U" IMAGE_UUID, image, path, NULL);
	if (errno == ENOENT) {
		dprintf(2, "not found (it is in the package erofs-utils)\n");
		_exit(127);
	}
	child_fail("execute it");
}

/* Reads all a child says; keeps the last line with something in it, which is the cause. */
static void last_words(int fd, char *ret, size_t size)
{
	char buf[4096];
	size_t kept = 0;
	bool ended = false;
	ssize_t n;

	*ret = 0;
	while ((n = read(fd, buf, sizeof(buf))) > 0 || (n < 0 && errno == EINTR)) {
		for (ssize_t i = 0; i < n; i++) {
			if (buf[i] == '\n' || buf[i] == '\r') {
				ended = kept > 0;
				continue;
			}
			if (ended)
				kept = 0;
			ended = false;
			if (kept < size - 1)
				ret[kept++] = buf[i];
			ret[kept] = 0;
		}
	}
}

/* Writes the image of the tree to out.  0 or -errno with err set. */
static int run_mkfs(const struct rootfs_tree *t, int out, const struct rootfs_size *size,
		    struct error *err)
{
	_cleanup_close_ int from = -1, to = -1;
	char words[300];
	int pipe_fds[2], status;
	pid_t parent = getpid(), pid;

	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return error_errno(err, "pipe");
	from = pipe_fds[0];
	to = pipe_fds[1];
	pid = fork();
	if (pid < 0)
		return error_errno(err, "fork");
	if (pid == 0)
		child(t, out, to, size, parent);
	close(steal_fd(&to));
	last_words(from, words, sizeof(words));
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return error_errno(err, "wait for mkfs.erofs");
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGXFSZ)
		return error_set(err, EFBIG, "mkfs.erofs: the image grew above %llu bytes",
				 (unsigned long long)size->bytes + SLACK);
	if (WIFSIGNALED(status))
		return error_set(err, EIO, "mkfs.erofs was killed by signal %d", WTERMSIG(status));
	if (WEXITSTATUS(status))
		return error_set(err, EIO, "mkfs.erofs: %s",
				 *words ? words : "failed without saying why");
	return 0;
}

/* Makes the image in a locked file.  1: done; 0: the tree changed on the way, again. */
static int build(const struct rootfs_tree *t, int cache, int out, uint64_t limit,
		 struct rootfs_image *ret, struct error *err)
{
	char key[ROOTFS_KEY_SIZE];
	struct rootfs_size size;
	int rc;

	rc = rootfs_measure(t, &size, err);
	if (!rc)
		rc = make_room(cache, &size, limit, err);
	if (!rc)
		rc = run_mkfs(t, out, &size, err);
	if (!rc)
		rc = rootfs_key(t, SALT, key, err);
	if (rc < 0)
		return rc;
	if (strcmp(key, ret->key) != 0) {
		memcpy(ret->key, key, sizeof(key));
		return 0;
	}
	if (fsync(out) < 0)
		return error_errno(err, "write the image");
	return 1;
}

/* One attempt to use or make the image with ret->key.  1: it is in ret; 0: the key has changed. */
static int attempt(const struct rootfs_tree *t, int cache, uint64_t limit, struct rootfs_image *ret,
		   struct error *err)
{
	char temp[NAME_SIZE], name[NAME_SIZE];
	_cleanup_close_ int out = -1;
	int rc;

	rc = image_use(cache, ret, err);
	if (rc) {
		ret->reused = true;
		return rc;
	}
	snprintf(temp, sizeof(temp), "%s.tmp", ret->key);
	snprintf(name, sizeof(name), "%s.erofs", ret->key);
	out = temp_lock(cache, temp, err);
	if (out < 0)
		return out;
	rc = image_use(cache, ret, err); /* someone else may have made it meanwhile */
	if (rc) {
		unlinkat(cache, temp, 0);
		ret->reused = true;
		return rc;
	}
	rc = build(t, cache, out, limit, ret, err);
	if (rc > 0 && renameat(cache, temp, cache, name) < 0)
		rc = error_errno(err, "rename '%s' to '%s'", temp, name);
	if (rc <= 0) {
		unlinkat(cache, temp, 0);
		return rc;
	}
	/* Our own lock is on the image now and would make image_use() wait for ever. */
	flock(out, LOCK_SH);
	rc = image_use(cache, ret, err);
	if (rc == 0)
		return error_set(err, EIO, "the image '%s' is not whole", name);
	return rc;
}

static int image_of(const char *rootfs_dir, const char *cache_dir, uint64_t limit,
		    struct rootfs_image *ret, struct error *err)
{
	_cleanup_(rootfs_tree_close) struct rootfs_tree tree = {.fd = -1};
	_cleanup_close_ int cache = -1;
	int rc;

	rc = rootfs_tree_open(&tree, rootfs_dir, err);
	if (rc < 0)
		return rc;
	cache = cache_open(cache_dir, err);
	if (cache < 0)
		return cache;
	rc = rootfs_key(&tree, SALT, ret->key, err);
	for (int i = 0; i < BUILD_TRIES && !rc; i++)
		rc = attempt(&tree, cache, limit, ret, err);
	if (rc == 0)
		rc = error_set(err, EAGAIN, "its files keep changing");
	return rc < 0 ? error_wrap(err, "image of root directory '%s'", rootfs_dir) : 0;
}

int rootfs_image(const char *rootfs_dir, const char *cache_dir, uint64_t cache_size,
		 struct rootfs_image *ret, struct error *err)
{
	struct error own;
	int rc;

	*ret = (struct rootfs_image){.fd = -1};
	rc = image_of(rootfs_dir, cache_dir, cache_size ? cache_size : ROOTFS_CACHE_SIZE, ret,
		      err ? err : &own);
	if (rc < 0)
		*ret = (struct rootfs_image){.fd = -1};
	return rc;
}

void rootfs_image_done(struct rootfs_image *image)
{
	if (image->key[0] && image->fd >= 0)
		close(image->fd);
	*image = (struct rootfs_image){.fd = -1};
}
