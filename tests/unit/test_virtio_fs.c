// SPDX-License-Identifier: Apache-2.0
/* File system: with a real virtiofsd where there is one, and with back ends that lie. */
#include <errno.h>
#include <fcntl.h>
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
#include <sys/un.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "tests/unit/virtio_driver.h"

enum { HIGH_PRIORITY, REQUESTS };

static const char *const servers[] = {"/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd"};

struct share {
	struct guest g;
	char dir[64];
	pid_t pid;
	int fd;
	uint64_t in, out, unique;
};

static const char *server_path(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(servers); i++)
		if (access(servers[i], X_OK) == 0)
			return servers[i];
	return NULL;
}

/* Connects first, so that the server finds us waiting. */
static int listen_and_connect(const char *dir, int *ret_client)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%s.sock", dir);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(fd, 1), 0);
	*ret_client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(*ret_client, (struct sockaddr *)&a, sizeof(a)), 0);
	unlink(a.sun_path);
	return fd;
}

static void start_server(struct share *s)
{
	char fd_arg[32], source_arg[128], path[128];
	_cleanup_close_ int listening = -1, file = -1;

	strcpy(s->dir, "/tmp/caisson-fs-XXXXXX");
	assert_non_null(mkdtemp(s->dir));
	snprintf(path, sizeof(path), "%s/hello", s->dir);
	file = open(path, O_CREAT | O_WRONLY, 0644);
	assert_int_equal(write(file, "from the host", 13), 13);
	listening = listen_and_connect(s->dir, &s->fd);
	snprintf(fd_arg, sizeof(fd_arg), "--fd=%d", listening);
	snprintf(source_arg, sizeof(source_arg), "source=%s", s->dir);
	s->pid = fork();
	if (s->pid == 0) {
		dup2(open("/dev/null", O_WRONLY), 2);
		execl(server_path(), "virtiofsd", fd_arg, "-f", "-o", source_arg, "-o",
		      "sandbox=chroot", NULL);
		_exit(127);
	}
}

static void open_share(struct share *s)
{
	struct virtio_device *dev;
	struct error err = {0};

	*s = (struct share){.unique = 1};
	start_server(s);
	guest_open(&s->g);
	if (virtio_fs_new(&s->g.env, s->fd, "caisson", &dev, &err) < 0)
		fail_msg("%s", err.text);
	guest_plug(&s->g, dev);
}

static void close_share(struct share *s)
{
	char path[128];

	guest_close(&s->g);
	close(s->fd);
	waitpid(s->pid, NULL, 0);
	snprintf(path, sizeof(path), "%s/hello", s->dir);
	unlink(path);
	rmdir(s->dir);
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

static void mount_and_read(struct share *s)
{
	struct fuse_init_in init = {.major = 7, .minor = 31, .max_readahead = 4096};
	struct fuse_open_in open_in = {.flags = O_RDONLY};
	struct fuse_read_in read_in = {.size = 4096};
	uint64_t node;
	void *answer;

	s->g.top = 0x10000;
	drv_start(&s->g, 0);
	s->in = guest_alloc(&s->g, 4096, 4096);
	s->out = guest_alloc(&s->g, 8192, 4096);
	answer = guest_at(&s->g, s->out + sizeof(struct fuse_out_header), 4096);
	assert_int_equal(fuse(s, FUSE_INIT, 0, &init, sizeof(init), sizeof(struct fuse_init_out)),
			 0);
	assert_int_equal(fuse(s, FUSE_LOOKUP, 1, "nothing", 8, sizeof(struct fuse_entry_out)),
			 -ENOENT);
	assert_int_equal(fuse(s, FUSE_LOOKUP, 1, "hello", 6, sizeof(struct fuse_entry_out)), 0);
	node = ((struct fuse_entry_out *)answer)->nodeid;
	assert_int_equal(((struct fuse_entry_out *)answer)->attr.size, 13);
	assert_int_equal(fuse(s, FUSE_OPEN, node, &open_in, sizeof(open_in),
			      sizeof(struct fuse_open_out)),
			 0);
	read_in.fh = ((struct fuse_open_out *)answer)->fh;
	assert_int_equal(fuse(s, FUSE_READ, node, &read_in, sizeof(read_in), 4096), 0);
	assert_memory_equal(answer, "from the host", 13);
}

static bool have_server(void)
{
	if (server_path())
		return true;
	print_message("skip: virtiofsd is not installed\n");
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
	kill(s.pid, SIGKILL);
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
		cmocka_unit_test(test_read_file),
		cmocka_unit_test(test_reset),
		cmocka_unit_test(test_server_dies),
		cmocka_unit_test(test_lies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
