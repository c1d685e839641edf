// SPDX-License-Identifier: Apache-2.0
/*
 * runtime/rootfs.c with the real mkfs.erofs, on trees that nobody should have to mount.  Mounts
 * happen in a mount namespace of the test's own; files go below one directory in /tmp.
 */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "runtime/rootfs.h"

#define LAYER_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define LAYER_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static char base[] = "/tmp/caisson-test-XXXXXX";
static char cache[64];
static char saved_path[4096];

__attribute__((format(printf, 1, 2))) static int sh(const char *fmt, ...)
{
	char command[4096];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(command, sizeof(command), fmt, ap);
	va_end(ap);
	return system(command);
}

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static char *in_base(const char *name)
{
	static char paths[8][256];
	static unsigned int next;
	char *p = paths[next++ % 8];

	snprintf(p, sizeof(paths[0]), "%s/%s", base, name);
	return p;
}

static struct rootfs_image image(const char *dir)
{
	struct rootfs_image i;
	struct error err = {0};

	if (rootfs_image(dir, cache, 0, &i, &err) < 0)
		fail_msg("%s", err.text);
	assert_true(i.fd >= 0);
	assert_int_equal(strlen(i.key), 64);
	return i;
}

static void key_of(const char *dir, char key[ROOTFS_KEY_SIZE])
{
	struct rootfs_tree t;
	struct error err = {0};

	if (rootfs_tree_open(&t, dir, &err) < 0 || rootfs_key(&t, "test", key, &err) < 0)
		fail_msg("%s", err.text);
	rootfs_tree_close(&t);
}

static bool same_key(const char *a, const char *b)
{
	char x[ROOTFS_KEY_SIZE], y[ROOTFS_KEY_SIZE];

	key_of(a, x);
	key_of(b, y);
	return strcmp(x, y) == 0;
}

/* Files in the cache whose name ends so. */
static int count(const char *suffix)
{
	_cleanup_closedir_ DIR *d = opendir(cache);
	struct dirent *e;
	int n = 0;

	assert_non_null(d);
	while ((e = readdir(d)))
		n += strlen(e->d_name) > strlen(suffix) &&
		     strcmp(e->d_name + strlen(e->d_name) - strlen(suffix), suffix) == 0;
	return n;
}

static void image_fails(const char *dir, uint64_t cache_size, int code, const char *words)
{
	struct rootfs_image i;
	struct error err = {0};
	int before = count(".erofs");

	assert_int_equal(rootfs_image(dir, cache, cache_size, &i, &err), -code);
	if (!strstr(err.text, words))
		fail_msg("'%s' does not say '%s'", err.text, words);
	print_message("  %s\n", err.text);
	assert_int_equal(i.fd, -1);
	assert_int_equal(count(".tmp"), 0);
	assert_int_equal(count(".erofs"), before);
}

static void mount_image(const struct rootfs_image *i, const char *at)
{
	assert_int_equal(
		sh("mkdir -p %s && mount -o loop,ro %s/%s.erofs %s", at, cache, i->key, at), 0);
}

/* Puts a script in place of mkfs.erofs. */
static void fake_mkfs(const char *script)
{
	_cleanup_fclose_ FILE *f = NULL;
	char path[4200];

	setenv("PATH", saved_path, 1);
	assert_int_equal(sh("mkdir -p %s/bin", base), 0);
	f = fopen(in_base("bin/mkfs.erofs"), "we");
	assert_non_null(f);
	fprintf(f, "#!/bin/sh\n%s\n", script);
	fchmod(fileno(f), 0755);
	snprintf(path, sizeof(path), "%s/bin:%s", base, saved_path);
	setenv("PATH", path, 1);
}

static void real_mkfs(void)
{
	setenv("PATH", saved_path, 1);
}

static int setup(void **state)
{
	(void)state;
	real_mkfs();
	return sh("umount %s/cache %s/*/c?/merged 2>/dev/null; rm -rf %s; mkdir -p %s/rootfs", base,
		  base, base, base);
}

static void make_everything(const char *dir)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(
		sh("cd %s && mkdir -p etc usr/bin deep/er && echo hello >etc/file &&"
		   "printf 'x%%.0s' $(seq 1 5000) >usr/bin/tool && chmod 6755 usr/bin/tool &&"
		   "chown 1000:1001 etc/file && chmod 0640 etc/file && ln etc/file hard &&"
		   "ln -s /etc/passwd absolute && ln -s ../../.. up && mkfifo fifo &&"
		   "mknod null c 1 3 && mknod disk b 259 1048575 && mkdir sticky &&"
		   "chmod 1777 sticky && : >'new\nline' && touch -d '2001-02-03 04:05:06.789' "
		   "etc/file && chown -h 5:6 up && mkdir -p deep/$(printf 'a%%.0s' $(seq 1 250))",
		   dir),
		0);
	snprintf(a.sun_path, sizeof(a.sun_path), "%s/socket", dir);
	assert_int_equal(bind(fd, (void *)&a, sizeof(a)), 0);
	assert_int_equal(setxattr(in_base("rootfs/usr/bin/tool"), "security.capability",
				  "\1\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20, 0),
			 0);
	assert_int_equal(setxattr(in_base("rootfs/etc"), "user.note", "of us", 5, 0), 0);
	assert_int_equal(setxattr(in_base("rootfs/etc"), "trusted.note", "of root", 7, 0), 0);
}

static void test_image_is_the_tree(void **state)
{
	const char *at = in_base("mnt"), *dir = in_base("rootfs");
	char value[64];
	struct rootfs_image i;

	(void)state;
	make_everything(dir);
	i = image(dir);
	assert_false(i.reused);
	mount_image(&i, at);
	/* type, mode, owner, times (of all but the directories' sizes), link targets and counts */
	assert_int_equal(
		sh("list() { (cd $1 && find . \\( -type d -printf '%%p d %%m %%U %%G %%T@\\n' \\)"
		   " -o -printf '%%p %%y %%m %%U %%G %%s %%T@ %%n %%l\\n' | sort; find . -type c "
		   "-exec stat -c '%%n %%t %%T' {} + -o -type b -exec stat -c '%%n %%t %%T' {} +;"
		   "find . -type f -exec sha256sum {} + | sort); };"
		   "list %s >%s/a; list %s >%s/b; diff %s/a %s/b",
		   dir, base, at, base, base, base),
		0);
	assert_int_equal(sh("[ %s/etc/file -ef %s/hard ]", at, at), 0);
	assert_int_equal(getxattr(in_base("mnt/usr/bin/tool"), "security.capability", value, 64),
			 20);
	assert_int_equal(getxattr(in_base("mnt/etc"), "user.note", value, 64), 5);
	assert_int_equal(getxattr(in_base("mnt/etc"), "trusted.note", value, 64), 7);
	assert_int_equal(sh("umount %s", at), 0);
	rootfs_image_done(&i);
}

static void test_same_tree_is_reused(void **state)
{
	static const char *const changes[] = {
		"echo more >>etc/file",
		"chmod 0600 etc/file",
		"chown 7 etc/file",
		"mv hard hard2",
		"rm absolute; ln -s /etc/shadow absolute",
		"rm fifo",
		"ln etc/file third",
		/* the same size and times: only ctime tells */
		"cp -p etc/file ../f; echo jello >etc/file; touch -r ../f etc/file",
		"mkdir sticky/new",
		"touch usr",
	};
	const char *dir = in_base("rootfs");
	struct rootfs_image a, b;
	struct stat st;

	(void)state;
	make_everything(dir);
	a = image(dir);
	b = image(dir);
	assert_true(b.reused);
	assert_string_equal(a.key, b.key);
	assert_int_equal(a.size, b.size);
	assert_int_equal(fstat(b.fd, &st), 0);
	assert_int_equal(st.st_size, b.size);
	assert_int_equal(fcntl(b.fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	assert_true(fcntl(b.fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(stat(cache, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	rootfs_image_done(&a);
	rootfs_image_done(&b);
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		char before[ROOTFS_KEY_SIZE], after[ROOTFS_KEY_SIZE];

		key_of(dir, before);
		assert_int_equal(sh("cd %s && %s", dir, changes[i]), 0);
		key_of(dir, after);
		if (strcmp(before, after) == 0)
			fail_msg("'%s' did not change the key", changes[i]);
	}
	a = image(dir);
	assert_false(a.reused);
	rootfs_image_done(&a);
}

static void test_empty_tree(void **state)
{
	struct rootfs_image i = image(in_base("rootfs"));

	(void)state;
	mount_image(&i, in_base("mnt"));
	assert_int_equal(sh("[ -z \"$(ls -A %s/mnt)\" ] && umount %s/mnt", base, base), 0);
	rootfs_image_done(&i);
	rootfs_image_done(&i);
	i = (struct rootfs_image){0}; /* must not close standard input */
	rootfs_image_done(&i);
	assert_true(fcntl(0, F_GETFD) >= 0);
}

static void test_refusals(void **state)
{
	const char *dir = in_base("rootfs");
	struct rootfs_image i;
	double t;

	(void)state;
	assert_int_equal(sh("mkdir -m 700 %s; echo x >%s/plain; ln -s / %s/x", cache, base, dir),
			 0);
	image_fails(in_base("nothing"), 0, ENOENT, "nothing': No such file");
	image_fails(in_base("plain"), 0, ENOTDIR, "plain': Not a directory");

	setenv("PATH", "/nonexistent", 1);
	image_fails(dir, 0, EIO, "mkfs.erofs: not found");
	fake_mkfs("echo 'progress' >&2; echo '<E> it hurts' >&2; exit 3");
	image_fails(dir, 0, EIO, "mkfs.erofs: <E> it hurts");
	fake_mkfs("exit 1");
	image_fails(dir, 0, EIO, "failed without saying why");
	fake_mkfs("kill -9 $$");
	image_fails(dir, 0, EIO, "killed by signal 9");
	fake_mkfs(":"); /* says it is fine, and wrote nothing */
	assert_true(rootfs_image(dir, cache, 0, &i, NULL) < 0);
	real_mkfs();
	i = image(dir);
	assert_false(i.reused);
	rootfs_image_done(&i);

	assert_int_equal(truncate(in_base("rootfs/sparse"), 0), -1);
	assert_int_equal(sh("truncate -s 1T %s/sparse", dir), 0);
	t = now_ms();
	image_fails(dir, 0, EFBIG, "its largest file is 'sparse' (1099511627776 bytes)");
	image_fails(dir, UINT64_MAX, ENOSPC, "more than are free in the cache");
	assert_true(now_ms() - t < 1000);
}

static void test_deep_and_long(void **state)
{
	const char *dir = in_base("rootfs");
	struct rootfs_image i;

	(void)state;
	assert_int_equal(sh("mkdir -m 700 %s", cache), 0);
	assert_int_equal(sh("cd %s && mkdir -p $(printf 'd/%%.0s' $(seq 500))", dir), 0);
	i = image(dir);
	rootfs_image_done(&i);
	assert_int_equal(sh("cd %s/rootfs && mkdir -p e/$(printf 'd/%%.0s' $(seq 600))", base), 0);
	image_fails(in_base("rootfs"), 0, ELOOP, "is more than 512 directories deep");
	assert_int_equal(sh("cd %s/rootfs && rm -r e && n=$(printf 'n%%.0s' $(seq 1 250)) && "
			    "for i in $(seq 1 20); do mkdir $n && cd -P $n || exit 1; done",
			    base),
			 0);
	image_fails(in_base("rootfs"), 0, ENAMETOOLONG, "is too long");
}

static void test_unreadable(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	assert_int_equal(sh("mkdir %s/rootfs/secret %s/mine && echo x >%s/rootfs/secret/file && "
			    "chmod 0700 %s/rootfs/secret && chmod 0755 %s && chown 65534 %s/mine",
			    base, base, base, base, base, base),
			 0);
	pid = fork();
	if (pid == 0) {
		struct error err = {0};
		struct rootfs_image i;

		if (setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0)
			_exit(2);
		snprintf(cache, sizeof(cache), "%s/mine/cache", base);
		if (rootfs_image(in_base("rootfs"), cache, 0, &i, &err) != -EACCES)
			_exit(3);
		_exit(strstr(err.text, "open directory 'secret': Permission denied") ? 0 : 4);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void test_cache_of_others(void **state)
{
	(void)state;
	assert_int_equal(sh("mkdir %s && chmod 0777 %s", cache, cache), 0);
	image_fails(in_base("rootfs"), 0, EPERM, "may be written by others (mode 0777)");
	assert_int_equal(sh("chmod 0700 %s && chown 1234 %s", cache, cache), 0);
	image_fails(in_base("rootfs"), 0, EPERM, "belongs to user 1234");
}

static void test_no_space(void **state)
{
	const char *dir = in_base("rootfs");
	struct rootfs_image i;
	struct error err = {0};

	(void)state;
	assert_int_equal(sh("head -c 30000000 /dev/zero >%s/zeros && mkdir -m 0700 %s && "
			    "mount -t tmpfs -o size=40m,mode=0700 none %s",
			    dir, cache, cache),
			 0);
	image_fails(dir, 0, ENOSPC, "more than are free in the cache");
	/* Space that runs out on the way, and a file that grows. */
	fake_mkfs("for a; do image=$b; b=$a; done; head -c 99000000 /dev/zero >$image");
	assert_int_equal(sh("truncate -s 9000000 %s/zeros", dir), 0);
	assert_true(rootfs_image(dir, cache, 0, &i, &err) < 0);
	print_message("  %s\n", err.text);
	assert_int_equal(count(".tmp") + count(".erofs"), 0);
	real_mkfs();
	i = image(dir);
	rootfs_image_done(&i);
	/* The first image goes to make room for the second. */
	assert_int_equal(sh("truncate -s 18000000 %s/zeros", dir), 0);
	i = image(dir);
	assert_int_equal(count(".erofs"), 1);
	rootfs_image_done(&i);
	assert_int_equal(sh("umount %s", cache), 0);
}

static void test_damaged_image_is_made_again(void **state)
{
	const char *dir = in_base("rootfs");
	static const char *const damage[] = {
		"truncate -s 4096",
		"truncate -s 0",
		"dd conv=notrunc if=/dev/zero count=8 2>/dev/null of=",
	};

	(void)state;
	assert_int_equal(sh("head -c 100000 /dev/urandom >%s/file", dir), 0);
	for (size_t n = 0; n < ARRAY_SIZE(damage); n++) {
		struct rootfs_image i = image(dir), j;

		rootfs_image_done(&i);
		assert_int_equal(sh("f=$(echo %s/*.erofs); case '%s' in *=) %s$f;; *) %s $f;; esac",
				    cache, damage[n], damage[n], damage[n]),
				 0);
		j = image(dir);
		assert_false(j.reused);
		mount_image(&j, in_base("mnt"));
		assert_int_equal(sh("cmp %s/mnt/file %s/file && umount %s/mnt", base, dir, base),
				 0);
		rootfs_image_done(&j);
	}
}

/* Whether the process whose pid is in the file runs (and is no zombie that nobody fetched). */
static bool alive(const char *file)
{
	return sh("grep -qs '^State:.[^ZX]' /proc/$(cat %s)/status", file) == 0;
}

/* A maker is killed: its mkfs goes too, the rest is used by the next one for this key, and cleared
 * away by one for another key. */
static void test_killed_maker(void **state)
{
	const char *dir = in_base("rootfs");
	struct rootfs_image i;
	char script[128];

	(void)state;
	for (int round = 0; round < 2; round++) {
		pid_t pid;

		snprintf(script, sizeof(script), "echo $$ >%s/pid; exec sleep 1000", base);
		fake_mkfs(script);
		pid = fork();
		if (pid == 0) {
			rootfs_image(dir, cache, 0, &i, NULL);
			_exit(1);
		}
		while (sh("[ -s %s/pid ]", base) != 0)
			usleep(1000);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		assert_int_equal(count(".tmp"), 1);
		real_mkfs();
		if (round) {
			assert_int_equal(sh("echo x >%s/other", dir), 0);
			/* Its mkfs holds the lock until it is gone; only the same key waits. */
			while (alive(in_base("pid")))
				usleep(1000);
		}
		i = image(dir);
		assert_false(i.reused);
		assert_int_equal(count(".tmp"), 0);
		rootfs_image_done(&i);
		assert_false(alive(in_base("pid")));
		unlink(in_base("pid"));
		assert_int_equal(sh("echo y >%s/again", dir), 0);
	}
}

/* Says on `have` that it has the image, and keeps it until `keep` ends: users live long, and nobody
 * who waits for the image may wait for them. */
static void __attribute__((noreturn)) use_image(const char *dir, int have, int keep)
{
	struct rootfs_image mine;
	struct error err = {0};
	char buf[4096];

	if (rootfs_image(dir, cache, 0, &mine, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		_exit(1);
	}
	if (pread(mine.fd, buf, sizeof(buf), 0) != sizeof(buf) || write(have, "x", 1) != 1)
		_exit(2);
	_exit(read(keep, buf, 1) == 0 ? 0 : 3);
}

static void test_many_at_once_make_one(void **state)
{
	const char *dir = in_base("rootfs");
	int have[2], keep[2];
	char script[4400], byte;
	pid_t pids[8];

	(void)state;
	assert_int_equal(
		sh("cp -r /etc/ssl %s/ && head -c 5000000 /dev/urandom >%s/file", dir, dir), 0);
	snprintf(script, sizeof(script),
		 "echo made >>%s/log; sleep 0.1; PATH=%s exec mkfs.erofs \"$@\"", base, saved_path);
	fake_mkfs(script);
	assert_int_equal(pipe(have), 0);
	assert_int_equal(pipe(keep), 0);
	for (size_t i = 0; i < ARRAY_SIZE(pids); i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			close(keep[1]);
			use_image(dir, have[1], keep[0]);
		}
	}
	close(have[1]);
	for (size_t i = 0; i < ARRAY_SIZE(pids); i++) {
		struct pollfd pfd = {.fd = have[0], .events = POLLIN};

		assert_int_equal(poll(&pfd, 1, 120000), 1);
		assert_int_equal(read(have[0], &byte, 1), 1);
	}
	close(keep[1]);
	for (size_t i = 0; i < ARRAY_SIZE(pids); i++) {
		int status;

		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		assert_int_equal(status, 0);
	}
	real_mkfs();
	assert_int_equal(sh("[ $(wc -l <%s/log) = 1 ]", base), 0);
	assert_int_equal(count(".tmp"), 0);
	assert_int_equal(count(".erofs"), 1);
}

static void test_trim(void **state)
{
	struct rootfs_image i[4];

	(void)state;
	for (int n = 0; n < 4; n++) {
		assert_int_equal(sh("mkdir %s/r%d && head -c 2000000 /dev/urandom >%s/r%d/file",
				    base, n, base, n),
				 0);
		i[n] = image(in_base((char[]){'r', (char)('0' + n), 0}));
	}
	assert_int_equal(count(".erofs"), 4);
	rootfs_image_done(&i[1]);
	rootfs_image_done(&i[2]);
	rootfs_image_done(&i[3]);
	i[1] = image(in_base("r1")); /* used again: now the youngest */
	assert_true(i[1].reused);
	rootfs_image_done(&i[1]);
	/* Room for three: the oldest is in use, so the next one goes. */
	assert_int_equal(rootfs_cache_trim(cache, 6500000, NULL), 0);
	assert_int_equal(count(".erofs"), 3);
	i[2] = image(in_base("r2"));
	assert_false(i[2].reused);
	i[1] = image(in_base("r1"));
	assert_true(i[1].reused);
	assert_int_equal(rootfs_cache_trim(cache, 1, NULL), 0);
	assert_int_equal(count(".erofs"), 3); /* r0, r1 and r2 are held */
	rootfs_image_done(&i[0]);
	rootfs_image_done(&i[1]);
	rootfs_image_done(&i[2]);
	assert_int_equal(rootfs_cache_trim(cache, 1, NULL), 0);
	assert_int_equal(count(".erofs"), 0);
}

static void test_mounts_below_stay_out(void **state)
{
	const char *dir = in_base("rootfs");
	char before[ROOTFS_KEY_SIZE], after[ROOTFS_KEY_SIZE];
	struct rootfs_image i;

	(void)state;
	assert_int_equal(sh("mkdir %s/data && echo own >%s/data/own", dir, dir), 0);
	key_of(dir, before);
	assert_int_equal(sh("mount -t tmpfs none %s/data && echo other >%s/data/other", dir, dir),
			 0);
	key_of(dir, after);
	assert_string_equal(before, after);
	i = image(dir);
	mount_image(&i, in_base("mnt"));
	assert_int_equal(sh("[ -e %s/mnt/data/own -a ! -e %s/mnt/data/other ]", base, base), 0);
	assert_int_equal(sh("umount %s/mnt; umount %s/data", base, dir), 0);
	rootfs_image_done(&i);
}

/* A container as an engine has it: <store>/<id>/{merged,diff,work}. */
static void add_container(const char *store, const char *id, const char *lower)
{
	assert_int_equal(
		sh("mkdir -p %s/%s/merged %s/%s/diff %s/%s/work && cd %s && "
		   "mount -t overlay overlay -o 'lowerdir=%s,upperdir=%s/diff,workdir=%s/work' "
		   "%s/merged",
		   store, id, store, id, store, id, store, lower, id, id, id),
		0);
}

static void add_layers(const char *store)
{
	assert_int_equal(
		sh("mkdir -p %s/l %s/%s/diff/etc %s/%s/diff/bin && cd %s && ln -s ../%s/diff l/A &&"
		   "ln -s ../%s/diff l/B && echo base >%s/diff/etc/base && echo b >%s/diff/bin/b",
		   store, store, LAYER_A, store, LAYER_B, store, LAYER_A, LAYER_B, LAYER_A,
		   LAYER_B),
		0);
}

static void test_containers_of_one_image(void **state)
{
	/* a space, a comma, a colon, a backslash: all that gets escaped on the way */
	static const char *const stores[] = {"store", "sto re"};
	struct rootfs_image i;
	char a[256], b[256];

	(void)state;
	for (size_t n = 0; n < ARRAY_SIZE(stores); n++) {
		char store[256];

		snprintf(store, sizeof(store), "'%s'", in_base(stores[n]));
		snprintf(a, sizeof(a), "%s/c1/merged", in_base(stores[n]));
		snprintf(b, sizeof(b), "%s/c2/merged", in_base(stores[n]));
		add_layers(store);
		add_container(store, "c1", "l/B:l/A");
		add_container(store, "c2", "l/B:l/A");
		assert_true(same_key(a, b));
		assert_int_equal(
			sh("for m in '%s' '%s'; do cd \"$m\" && mkdir run && echo same >run/f && "
			   "touch -d @1 run/f && ln -s /proc/mounts etc/mtab; sleep 0.02; done",
			   a, b),
			0);
		assert_true(same_key(a, b));
		i = image(a);
		mount_image(&i, in_base("mnt"));
		assert_int_equal(
			sh("cd %s/mnt && [ $(cat etc/base bin/b run/f | tr -d '\\n') = basebsame ]",
			   base),
			0);
		assert_int_equal(sh("umount %s/mnt", base), 0);
		rootfs_image_done(&i);
		i = image(b);
		assert_true(i.reused);
		rootfs_image_done(&i);
		assert_int_equal(sh("echo diff >'%s/run/f' && touch -d @1 '%s/run/f'", b, b), 0);
		assert_false(same_key(a, b));
		assert_int_equal(sh("rm -r '%s/run' '%s/run'", a, b), 0);
		assert_true(same_key(a, b));
		assert_int_equal(sh("rm '%s/etc/base'", a), 0); /* a whiteout */
		assert_false(same_key(a, b));
		assert_int_equal(sh("rm '%s/etc/base'", b), 0);
		assert_true(same_key(a, b));
		assert_int_equal(setxattr(a, "user.x", "1", 1, 0), 0);
		assert_false(same_key(a, b));
		assert_int_equal(sh("umount '%s' '%s'", a, b), 0);
	}
}

static void test_layers_in_another_order(void **state)
{
	const char *store = in_base("store");

	(void)state;
	add_layers(store);
	add_container(store, "c1", "l/B:l/A");
	add_container(store, "c2", "l/A:l/B");
	add_container(store, "c3", "l/A");
	assert_false(same_key(in_base("store/c1/merged"), in_base("store/c2/merged")));
	assert_false(same_key(in_base("store/c2/merged"), in_base("store/c3/merged")));
	assert_int_equal(sh("umount %s/c?/merged", store), 0);
}

/* Much in the upper directory: not read, but still told apart. */
static void test_large_upper(void **state)
{
	const char *store = in_base("store"), *merged = in_base("store/c1/merged");
	char x[ROOTFS_KEY_SIZE], y[ROOTFS_KEY_SIZE];

	(void)state;
	add_layers(store);
	add_container(store, "c1", "l/B:l/A");
	assert_int_equal(sh("truncate -s 40M %s/big", merged), 0);
	key_of(merged, x);
	key_of(merged, y);
	assert_string_equal(x, y);
	assert_int_equal(
		sh("touch -r %s/big %s/ref; printf x | dd of=%s/big conv=notrunc 2>/dev/null;"
		   "touch -r %s/ref %s/big",
		   merged, base, merged, base, merged),
		0);
	key_of(merged, y);
	assert_string_not_equal(x, y);
	assert_int_equal(sh("umount %s", merged), 0);
}

/* An overlay of somebody's own directories, which may change at any time, is walked whole. */
static void test_foreign_overlay(void **state)
{
	const char *store = in_base("store"), *merged = in_base("store/c1/merged");
	char before[ROOTFS_KEY_SIZE], after[ROOTFS_KEY_SIZE];

	(void)state;
	assert_int_equal(
		sh("mkdir -p '%s/lo:wer/deep' && echo 1 >'%s/lo:wer/deep/file'", store, store), 0);
	add_container(store, "c1", "lo\\:wer");
	key_of(merged, before);
	key_of(merged, after);
	assert_string_equal(before, after);
	assert_int_equal(sh("umount %s; sleep 0.01; echo 2 >'%s/lo:wer/deep/file'", merged, store),
			 0);
	add_container(store, "c1", "lo\\:wer");
	key_of(merged, after);
	assert_string_not_equal(before, after);
	assert_int_equal(sh("umount %s", merged), 0);
}

static void test_time(void **state)
{
	const char *store = in_base("store"), *merged = in_base("store/c1/merged");
	char key[ROOTFS_KEY_SIZE];
	struct rootfs_image i;
	double t[4];

	(void)state;
	add_layers(store);
	assert_int_equal(
		sh("cd %s/%s/diff && for d in $(seq 1 100); do mkdir d$d; done; for d in d*; do"
		   " seq 1 100 | split -l 1 -a 3 - $d/f; done",
		   store, LAYER_A),
		0);
	assert_int_equal(sh("cp -a %s/%s/diff/. %s/rootfs/", store, LAYER_A, base), 0);
	key_of(in_base("rootfs"), key);
	t[0] = now_ms();
	key_of(in_base("rootfs"), key);
	t[0] = now_ms() - t[0];
	add_container(store, "c1", "l/B:l/A");
	t[1] = now_ms();
	key_of(merged, key);
	t[1] = now_ms() - t[1];
	t[2] = now_ms();
	i = image(merged);
	t[2] = now_ms() - t[2];
	rootfs_image_done(&i);
	t[3] = now_ms();
	i = image(merged);
	t[3] = now_ms() - t[3];
	rootfs_image_done(&i);
	print_message(
		"10000 files: key %.1f ms; as overlay: key %.2f ms, make %.0f ms, reuse %.2f ms\n",
		t[0], t[1], t[2], t[3]);
	assert_int_equal(sh("umount %s", merged), 0);
}

static const char *isolate(void)
{
	if (geteuid() != 0)
		return "needs root";
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return "may not make a mount namespace";
	if (sh("command -v mkfs.erofs >/dev/null") != 0)
		return "mkfs.erofs is missing (package erofs-utils)";
	if (access("/dev/loop-control", R_OK | W_OK) < 0)
		return "there are no loop devices to look at images with";
	if (!mkdtemp(base) ||
	    sh("mkdir -p %s/u %s/w %s/m && mount -t overlay overlay -o lowerdir=/etc,"
	       "upperdir=%s/u,workdir=%s/w %s/m && umount %s/m",
	       base, base, base, base, base, base, base) != 0)
		return "cannot mount overlay file systems";
	return NULL;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_image_is_the_tree, setup),
		cmocka_unit_test_setup(test_same_tree_is_reused, setup),
		cmocka_unit_test_setup(test_empty_tree, setup),
		cmocka_unit_test_setup(test_refusals, setup),
		cmocka_unit_test_setup(test_deep_and_long, setup),
		cmocka_unit_test_setup(test_unreadable, setup),
		cmocka_unit_test_setup(test_cache_of_others, setup),
		cmocka_unit_test_setup(test_no_space, setup),
		cmocka_unit_test_setup(test_damaged_image_is_made_again, setup),
		cmocka_unit_test_setup(test_killed_maker, setup),
		cmocka_unit_test_setup(test_many_at_once_make_one, setup),
		cmocka_unit_test_setup(test_trim, setup),
		cmocka_unit_test_setup(test_mounts_below_stay_out, setup),
		cmocka_unit_test_setup(test_containers_of_one_image, setup),
		cmocka_unit_test_setup(test_layers_in_another_order, setup),
		cmocka_unit_test_setup(test_large_upper, setup),
		cmocka_unit_test_setup(test_foreign_overlay, setup),
		cmocka_unit_test_setup(test_time, setup),
	};
	const char *reason = isolate();
	int failed;

	if (reason) {
		sh("rm -rf %s", base);
		printf("SKIP: test_rootfs: %s\n", reason);
		return 77;
	}
	snprintf(cache, sizeof(cache), "%s/cache", base);
	snprintf(saved_path, sizeof(saved_path), "%s", getenv("PATH") ? getenv("PATH") : "");
	failed = cmocka_run_group_tests_name("rootfs", tests, NULL, NULL);
	real_mkfs();
	setup(NULL);
	sh("rm -rf %s", base);
	return failed;
}
