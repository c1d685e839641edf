// SPDX-License-Identifier: Apache-2.0
/* File system: with a real virtiofsd where there is one, and with back ends that lie. */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/fuse.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "tests/unit/virtio_driver.h"
#include "vmm/fileserver.h"

enum { HIGH_PRIORITY, REQUESTS };

#define UID 0x70000001u

struct share {
	struct guest g;
	char dir[64]; /* with jail/, rw/ (share 0) and ro/ (share 1) */
	struct fileserver server;
	uint64_t in, out, unique;
	uint32_t uid, gid; /* who asks */
};

static const char *in_dir(const struct share *s, const char *name)
{
	static char path[256];

	snprintf(path, sizeof(path), "%s/%s", s->dir, name);
	return path;
}

static void put_file(const char *path, const char *text)
{
	_cleanup_close_ int fd = open(path, O_CREAT | O_WRONLY, 0644);

	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static void start_server(struct share *s)
{
	struct machine_share shares[2] = {{.is_dir = true}, {.is_dir = true, .readonly = true}};
	struct machine m = {.shares = shares, .shares_n = 2};
	struct error err = {0};

	strcpy(s->dir, "/tmp/caisson-fs-XXXXXX");
	assert_non_null(mkdtemp(s->dir));
	chmod(s->dir, 0755);
	mkdir(in_dir(s, "jail"), 0700);
	mkdir(in_dir(s, "rw"), 0777);
	chmod(in_dir(s, "rw"), 0777);
	mkdir(in_dir(s, "ro"), 0777);
	put_file(in_dir(s, "rw/hello"), "from the host");
	put_file(in_dir(s, "ro/hello"), "do not touch!");
	m.jail_dir = strdup(in_dir(s, "jail"));
	shares[0].source = strdup(in_dir(s, "rw"));
	shares[1].source = strdup(in_dir(s, "ro"));
	if (fileserver_start(&m, UID, &s->server, &err) < 0)
		fail_msg("%s", err.text);
	free(m.jail_dir);
	free(shares[0].source);
	free(shares[1].source);
}

static void open_share(struct share *s)
{
	struct virtio_device *dev;
	struct error err = {0};

	*s = (struct share){.unique = 1};
	start_server(s);
	guest_open(&s->g);
	if (virtio_fs_new(&s->g.env, s->server.fd, "caisson", &dev, &err) < 0) {
		fileserver_explain(&s->server, &err);
		fail_msg("%s", err.text);
	}
	guest_plug(&s->g, dev);
}

static void close_share(struct share *s)
{
	static const char *const files[] = {"rw/hello", "rw/new", "ro/hello"};
	static const char *const dirs[] = {"rw", "ro", "jail", ""};

	fileserver_kill(&s->server);
	guest_close(&s->g);
	fileserver_done(&s->server);
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		unlink(in_dir(s, files[i]));
	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++)
		assert_int_equal(rmdir(in_dir(s, dirs[i])), 0);
}

/* One FUSE request; the answer's body is at s->out behind the header.  Returns its error. */
static int fuse(struct share *s, uint32_t opcode, uint64_t node, const void *body, uint32_t size,
		uint32_t out_size)
{
	struct fuse_in_header *in = guest_at(&s->g, s->in, 4096);
	struct fuse_out_header *out = guest_at(&s->g, s->out, 8192);

	*in = (struct fuse_in_header){
		.len = (uint32_t)sizeof(*in) + size,
		.opcode = opcode,
		.unique = s->unique++,
		.nodeid = node,
		.uid = s->uid,
		.gid = s->gid,
	};
	memcpy(in + 1, body, size);
	drv_do(&s->g, REQUESTS,
	       (struct drv_buf[]){
		       {s->in, sizeof(*in), false},
		       {s->in + sizeof(*in), size, false},
		       {s->out, sizeof(*out), true},
		       {s->out + sizeof(*out), out_size, true},
	       },
	       4);
	assert_int_equal(out->unique, s->unique - 1);
	return out->error;
}

static void *answer(struct share *s)
{
	return guest_at(&s->g, s->out + sizeof(struct fuse_out_header), 4096);
}

static int lookup(struct share *s, uint64_t node, const char *name, struct fuse_entry_out *ret)
{
	int rc = fuse(s, FUSE_LOOKUP, node, name, (uint32_t)strlen(name) + 1, sizeof(*ret));

	memcpy(ret, answer(s), sizeof(*ret));
	return rc;
}

/* The node of a share's directory. */
static uint64_t share_node(struct share *s, const char *number)
{
	struct fuse_entry_out e;

	assert_int_equal(lookup(s, 1, number, &e), 0);
	return e.nodeid;
}

static void mount_and_read(struct share *s)
{
	struct fuse_init_in init = {.major = 7, .minor = 31, .max_readahead = 4096};
	struct fuse_open_in open_in = {.flags = O_RDONLY};
	struct fuse_read_in read_in = {.size = 4096};
	struct fuse_entry_out e;

	s->g.top = 0x10000;
	drv_start(&s->g, 0);
	s->in = guest_alloc(&s->g, 4096, 4096);
	s->out = guest_alloc(&s->g, 8192, 4096);
	assert_int_equal(fuse(s, FUSE_INIT, 0, &init, sizeof(init), sizeof(struct fuse_init_out)),
			 0);
	assert_int_equal(lookup(s, 1, "nothing", &e), -ENOENT);
	assert_int_equal(lookup(s, share_node(s, "0"), "hello", &e), 0);
	assert_int_equal(e.attr.size, 13);
	assert_int_equal(fuse(s, FUSE_OPEN, e.nodeid, &open_in, sizeof(open_in),
			      sizeof(struct fuse_open_out)),
			 0);
	read_in.fh = ((struct fuse_open_out *)answer(s))->fh;
	assert_int_equal(fuse(s, FUSE_READ, e.nodeid, &read_in, sizeof(read_in), 4096), 0);
	assert_memory_equal(answer(s), "from the host", 13);
}

static bool have_server(void)
{
	struct error err = {0};

	if (geteuid() != 0)
		print_message("skip: not root\n");
	else if (fileserver_probe(&err) < 0)
		print_message("skip: %s\n", err.text);
	else
		return true;
	return false;
}

static void test_read_file(void **state)
{
	struct share s;
	char tag[36] = {0};

	(void)state;
	if (!have_server())
		skip();
	open_share(&s);
	assert_int_equal(reg_get(&s.g, VIRTIO_MMIO_DEVICE_ID), 26);
	for (uint32_t i = 0; i < 36; i++)
		virtio_mmio_read(&s.g.mmio, VIRTIO_MMIO_CONFIG + i, tag + i, 1);
	assert_string_equal(tag, "caisson");
	assert_int_equal(reg_get(&s.g, VIRTIO_MMIO_CONFIG + 36), 1);
	mount_and_read(&s);
	/* The interrupt is the server's to write; our register cannot know. */
	assert_int_equal(reg_get(&s.g, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
	close_share(&s);
}

/* A number from the server's /proc/PID/status. */
static uint64_t status_of(pid_t pid, const char *key, int base)
{
	_cleanup_fclose_ FILE *f = NULL;
	char path[64], line[256];

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, key, strlen(key)) == 0)
			return strtoull(line + strlen(key), NULL, base);
	fail_msg("no %s", key);
	return 0;
}

static void test_jail(void **state)
{
	const uint64_t caps = 1ull << CAP_CHOWN | 1ull << CAP_DAC_OVERRIDE | 1ull << CAP_FOWNER |
			      1ull << CAP_FSETID | 1ull << CAP_SETUID | 1ull << CAP_SETGID;
	struct share s;
	char root[64], path[64];

	(void)state;
	if (!have_server())
		skip();
	open_share(&s);
	mount_and_read(&s); /* by then it has locked itself up */
	assert_int_equal(status_of(s.server.pid, "Uid:", 10), UID);
	assert_int_equal(status_of(s.server.pid, "CapPrm:", 16), caps);
	assert_int_equal(status_of(s.server.pid, "CapEff:", 16), caps);
	assert_int_equal(status_of(s.server.pid, "CapBnd:", 16) & ~caps, 0);
	assert_int_equal(status_of(s.server.pid, "NoNewPrivs:", 10), 1);
	assert_int_equal(status_of(s.server.pid, "Seccomp:", 10), 2);
	snprintf(path, sizeof(path), "/proc/%d/root", s.server.pid);
	root[readlink(path, root, sizeof(root) - 1)] = 0;
	/* Either way it is a root of the jail's; the newer program does not change it. */
	assert_string_equal(root, access("/usr/libexec/virtiofsd", X_OK) == 0 ? "/" : "/shares");
	close_share(&s);
}

/* A file made by a user of the guest belongs to that user; a read-only share stays as it is. */
static void test_write(void **state)
{
	struct {
		struct fuse_create_in in;
		char name[8];
	} create = {{.flags = O_RDWR | O_CREAT, .mode = S_IFREG | 0640}, "new"};
	struct {
		struct fuse_mknod_in in;
		char name[8];
	} mknod = {{.mode = S_IFCHR | 0666, .rdev = 0x103}, "null"};
	const uint32_t answer_size = sizeof(struct fuse_entry_out) + sizeof(struct fuse_open_out);
	struct fuse_open_in open_in = {.flags = O_WRONLY};
	struct fuse_entry_out e;
	struct share s;
	struct stat st;

	(void)state;
	if (!have_server())
		skip();
	open_share(&s);
	mount_and_read(&s);
	s.uid = 1234;
	s.gid = 5678;
	assert_int_equal(fuse(&s, FUSE_CREATE, share_node(&s, "0"), &create, sizeof(create.in) + 4,
			      answer_size),
			 0);
	assert_int_equal(stat(in_dir(&s, "rw/new"), &st), 0);
	assert_int_equal(st.st_uid, 1234);
	assert_int_equal(st.st_gid, 5678);
	s.uid = s.gid = 0;
	assert_int_equal(fuse(&s, FUSE_CREATE, share_node(&s, "1"), &create, sizeof(create.in) + 4,
			      answer_size),
			 -EROFS);
	assert_int_equal(lookup(&s, share_node(&s, "1"), "hello", &e), 0);
	assert_int_equal(fuse(&s, FUSE_OPEN, e.nodeid, &open_in, sizeof(open_in),
			      sizeof(struct fuse_open_out)),
			 -EROFS);
	assert_int_equal(fuse(&s, FUSE_MKNOD, share_node(&s, "0"), &mknod, sizeof(mknod.in) + 5,
			      sizeof(struct fuse_entry_out)),
			 -EPERM);
	close_share(&s);
}

/* After a reset the server leaves the queues alone, and serves the next driver. */
static void test_reset(void **state)
{
	struct share s;
	uint64_t before;

	(void)state;
	if (!have_server())
		skip();
	open_share(&s);
	for (int i = 0; i < 5; i++) {
		mount_and_read(&s);
		before = q_used(&s.g, REQUESTS)->idx;
		reg_set(&s.g, VIRTIO_MMIO_STATUS, 0);
		assert_int_equal(reg_get(&s.g, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
		drv_add_one(&s.g, REQUESTS, s.in, 40, false);
		drv_kick(&s.g, REQUESTS);
		poll(NULL, 0, 20);
		assert_int_equal(q_used(&s.g, REQUESTS)->idx, before);
	}
	close_share(&s);
}

static void test_server_dies(void **state)
{
	struct share s;
	char line[256] = "";

	(void)state;
	if (!have_server())
		skip();
	open_share(&s);
	mount_and_read(&s);
	kill(s.server.pid, SIGKILL);
	while (!(reg_get(&s.g, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET))
		poll(NULL, 0, 1);
	assert_int_equal(s.g.dev->faults, 0); /* not the guest's */
	assert_true(read(s.g.log[0], line, sizeof(line) - 1) > 0);
	assert_string_equal(line, "virtio-fs: the file server is gone\n");
	drv_negotiate(&s.g, drv_features(&s.g));
	drv_ok(&s.g); /* it does not come back */
	assert_true(reg_get(&s.g, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
	close_share(&s);
}

/* --- Back ends that lie ------------------------------------------------------------------------*/

static void lying_server(int fd, const uint32_t *answers, size_t n)
{
	char buf[4096];

	for (size_t i = 0; i < n; i++) {
		uint32_t m[5] = {answers[3 * i], answers[3 * i + 1], answers[3 * i + 2], 0x40000000,
				 1 /* PROTOCOL_FEATURES, VERSION_1 */};

		if (read(fd, buf, sizeof(buf)) <= 0 || write(fd, m, sizeof(m)) < 0)
			break;
	}
	_exit(0);
}

static int try_server(const uint32_t *answers, size_t n)
{
	struct virtio_device *dev;
	struct error err = {0};
	struct guest g;
	int sv[2], rc;
	pid_t pid;

	guest_open(&g);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	pid = fork();
	if (pid == 0) {
		close(sv[0]);
		lying_server(sv[1], answers, n);
	}
	close(sv[1]);
	rc = virtio_fs_new(&g.env, sv[0], "caisson", &dev, &err);
	assert_non_null(strstr(err.text, "file sharing: vhost-user: "));
	close(sv[0]);
	waitpid(pid, NULL, 0);
	io_done(&g.io);
	mem_done(&g.mem);
	close(g.log[0]);
	close(g.log[1]);
	return rc;
}

static void test_lies(void **state)
{
	static const uint32_t wrong_request[] = {2, 5, 8};
	static const uint32_t no_reply[] = {1, 1, 8};
	static const uint32_t wrong_size[] = {1, 5, 0xffffffff};
	static const uint32_t short_size[] = {1, 5, 4};
	int rc = try_server(NULL, 0);

	(void)state;
	assert_true(rc == -EPIPE || rc == -ECONNRESET);
	assert_int_equal(try_server(wrong_request, 1), -EPROTO);
	assert_int_equal(try_server(no_reply, 1), -EPROTO);
	assert_int_equal(try_server(wrong_size, 1), -EPROTO);
	assert_int_equal(try_server(short_size, 1), -EPROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read_file),   cmocka_unit_test(test_jail),
		cmocka_unit_test(test_write),	    cmocka_unit_test(test_reset),
		cmocka_unit_test(test_server_dies), cmocka_unit_test(test_lies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
