// SPDX-License-Identifier: Apache-2.0
/*
 * runtime/network.c against the real kernel: namespaces of processes that this test starts, veth
 * pairs into the test's own (also new) namespace.  All of it vanishes with the processes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "runtime/network.h"

#define VNET_HDR 10	      /* struct virtio_net_hdr, the default size of a tap */
#define TEST_ETHERTYPE 0x88b5 /* IEEE 802 local experimental 1 */

static const char *skip_reason;

/* A namespace: a process that sits in it. */
struct ns {
	pid_t pid;
	char path[64];
};

__attribute__((format(printf, 1, 2))) static int sh(const char *fmt, ...)
{
	char command[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(command, sizeof(command), fmt, ap);
	va_end(ap);
	return system(command);
}

#define ns_sh(ns, fmt, ...) sh("nsenter --net=%s sh -c '" fmt "'", (ns)->path, ##__VA_ARGS__)

static struct ns ns_new(void)
{
	struct ns ns = {0};
	int ready[2];
	char c;

	assert_int_equal(pipe(ready), 0);
	ns.pid = fork();
	assert_true(ns.pid >= 0);
	if (ns.pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (unshare(CLONE_NEWNET) < 0 || write(ready[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &c, 1), 1);
	close(ready[0]);
	snprintf(ns.path, sizeof(ns.path), "/proc/%d/ns/net", ns.pid);
	return ns;
}

static void ns_free(struct ns *ns)
{
	kill(ns->pid, SIGKILL);
	waitpid(ns->pid, NULL, 0);
}

#define _cleanup_ns_ _cleanup_(ns_free)

/* Until the links' operational state, which follows a little later, is what it stays. */
static void settle(void)
{
	const struct timespec t = {.tv_nsec = 400000000};

	nanosleep(&t, NULL);
}

/* One veth pair: `name` in the namespace, peer_<name> here. */
static void add_veth(struct ns *ns, const char *name)
{
	/* That of the test before may be there still: namespaces go in the background. */
	sh("ip link del peer_%s 2>/dev/null", name);
	assert_int_equal(sh("ip link add peer_%s type veth peer name %s netns %d && "
			    "ip link set peer_%s up",
			    name, name, ns->pid, name),
			 0);
	assert_int_equal(ns_sh(ns,
			       "echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad;"
			       "echo 0 >/proc/sys/net/ipv6/conf/%s/accept_dad;"
			       "ip link set lo up; ip link set %s up",
			       name, name),
			 0);
}

/* The whole state of a namespace as text. */
static void state_of(struct ns *ns, char *text, size_t size)
{
	char command[512];
	_cleanup_(cleanup_fclose) FILE *f = NULL;
	size_t n;

	snprintf(command, sizeof(command),
		 "nsenter --net=%s sh -c 'ip -d link; ip -d address; ip route; ip -6 route; "
		 "ip neighbour; tc qdisc; for i in $(ls /proc/self/net/dev_snmp6); do "
		 "tc filter show dev $i ingress; done' | "
		 /* A neighbour gets stale by itself, with time. */
		 "sed -e 's/ state UP\\b//' -e 's/ REACHABLE / STALE /'",
		 ns->path);
	f = popen(command, "r");
	assert_non_null(f);
	n = fread(text, 1, size - 1, f);
	text[n] = 0;
	pclose(steal_ptr(&f));
}

static bool has_text(struct ns *ns, const char *what)
{
	char text[32768];

	state_of(ns, text, sizeof(text));
	return strstr(text, what);
}

static ino_t own_namespace(void)
{
	struct stat st;

	assert_int_equal(stat("/proc/self/ns/net", &st), 0);
	return st.st_ino;
}

static int take(struct ns *ns, struct msg_chunk **arena, struct network *n)
{
	struct error err = {0};
	ino_t before = own_namespace();
	int rc = network_take(ns->path, arena, n, &err);

	if (rc < 0)
		print_message("%s\n", err.text);
	assert_int_equal(own_namespace(), before);
	assert_int_equal(rc < 0, err.code != 0);
	return rc;
}

static void release(const char *path)
{
	struct error err = {0};
	ino_t before = own_namespace();
	int rc = network_release(path, &err);

	if (rc < 0)
		print_message("%s\n", err.text);
	assert_int_equal(rc, 0);
	assert_int_equal(own_namespace(), before);
}

/* An error that is a sentence with these words. */
static void take_fails(const char *path, int code, const char *words)
{
	struct msg_chunk *arena = NULL;
	struct error err = {0};
	struct network n;

	assert_int_equal(network_take(path, &arena, &n, &err), -code);
	if (!strstr(err.text, words))
		fail_msg("'%s' does not say '%s'", err.text, words);
	assert_non_null(strstr(err.text, path));
	assert_int_equal(n.n, 0);
	arena_done(&arena);
}

static bool is_addr(uint8_t family, const uint8_t *a, const char *text)
{
	uint8_t want[16] = {0};

	assert_int_equal(inet_pton(family, text, want), 1);
	return memcmp(a, want, 16) == 0;
}

static const struct spec_route *find_route(const struct spec_nic *nic, uint8_t family,
					   const char *dst, uint8_t prefix)
{
	for (uint32_t i = 0; i < nic->routes_n; i++)
		if (nic->routes[i].family == family && nic->routes[i].dst_prefix == prefix &&
		    is_addr(family, nic->routes[i].dst, dst))
			return &nic->routes[i];
	return NULL;
}

static const struct spec_address *find_address(const struct spec_nic *nic, uint8_t family,
					       const char *addr)
{
	for (uint32_t i = 0; i < nic->addresses_n; i++)
		if (nic->addresses[i].family == family &&
		    is_addr(family, nic->addresses[i].addr, addr))
			return &nic->addresses[i];
	return NULL;
}

static void prepare_eth0(struct ns *ns)
{
	add_veth(ns, "eth0");
	assert_int_equal(
		ns_sh(ns,
		      "set -e; ip link set eth0 address 02:00:00:00:00:07 mtu 1400;"
		      "ip address add 10.5.0.2/24 broadcast 10.5.0.255 dev eth0;"
		      "ip address add 10.5.0.3/24 dev eth0;"
		      "ip address add fd05::2/64 dev eth0 nodad;"
		      "ip address add fe80::1234/64 dev eth0 nodad;"
		      "ip route add default via 10.5.0.1 metric 100;"
		      "ip route add 10.7.0.0/16 via 192.0.2.1 dev eth0 onlink mtu 1300;"
		      "ip route add 10.6.0.0/16 dev eth0 src 10.5.0.3;"
		      "ip route add blackhole 10.8.0.0/16;"
		      "ip -6 route add default via fd05::1 metric 1024;"
		      "ip neighbour add 10.5.0.9 lladdr 02:00:00:00:00:09 nud permanent dev eth0;"
		      "ip neighbour add 10.5.0.8 lladdr 02:00:00:00:00:08 nud reachable dev eth0"),
		0);
}

static void check_eth0(const struct spec_nic *nic)
{
	const struct spec_address *a;
	const struct spec_route *r;

	assert_string_equal(nic->name, "eth0");
	assert_memory_equal(nic->mac, "\2\0\0\0\0\7", 6);
	assert_int_equal(nic->mtu, 1400);

	assert_int_equal(nic->addresses_n, 4);
	a = find_address(nic, AF_INET, "10.5.0.2");
	assert_true(a == &nic->addresses[0]); /* the primary one stays the first */
	assert_true(is_addr(AF_INET, a->broadcast, "10.5.0.255"));
	assert_int_equal(a->prefix, 24);
	assert_int_equal(a->flags, 0);
	assert_int_equal(a->scope, RT_SCOPE_UNIVERSE);
	assert_non_null(find_address(nic, AF_INET, "10.5.0.3"));
	a = find_address(nic, AF_INET6, "fd05::2");
	assert_non_null(a);
	assert_int_equal(a->prefix, 64);
	assert_int_equal(a->flags, IFA_F_NODAD);
	a = find_address(nic, AF_INET6, "fe80::1234"); /* somebody's, unlike the kernel's own */
	assert_non_null(a);
	assert_int_equal(a->scope, RT_SCOPE_LINK);

	assert_int_equal(nic->routes_n, 5);
	assert_null(find_route(nic, AF_INET, "10.5.0.0", 24)); /* comes with the address */
	for (uint32_t i = 1; i < nic->routes_n; i++)
		assert_false(nic->routes[i - 1].has_gateway && !nic->routes[i].has_gateway);
	r = find_route(nic, AF_INET, "0.0.0.0", 0);
	assert_true(r && r->has_gateway && is_addr(AF_INET, r->gateway, "10.5.0.1"));
	assert_int_equal(r->metric, 100);
	assert_int_equal(r->type, RTN_UNICAST);
	r = find_route(nic, AF_INET, "10.7.0.0", 16);
	assert_true(r && r->flags == RTNH_F_ONLINK && r->mtu == 1300 && r->has_gateway);
	r = find_route(nic, AF_INET, "10.6.0.0", 16);
	assert_true(r && !r->has_gateway && r->scope == RT_SCOPE_LINK && r->has_source);
	assert_true(is_addr(AF_INET, r->source, "10.5.0.3"));
	r = find_route(nic, AF_INET, "10.8.0.0", 16);
	assert_true(r && r->type == RTN_BLACKHOLE);
	r = find_route(nic, AF_INET6, "::", 0);
	assert_true(r && r->has_gateway && r->metric == 1024);

	assert_int_equal(nic->neighbours_n, 1);
	assert_true(is_addr(AF_INET, nic->neighbours[0].addr, "10.5.0.9"));
	assert_memory_equal(nic->neighbours[0].mac, "\2\0\0\0\0\11", 6);
}

static void test_takes_what_was_set(void **state)
{
	_cleanup_ns_ struct ns ns = ns_new();
	struct msg_chunk *arena = NULL;
	struct network n;

	(void)state;
	prepare_eth0(&ns);
	assert_int_equal(take(&ns, &arena, &n), 0);
	assert_int_equal(n.n, 1);
	check_eth0(&n.nics[0]);
	assert_true(has_text(&ns, "caisson0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1400"));
	network_done(&n);
	release(ns.path);
	arena_done(&arena);
}

/* The kernel would not make these routes by itself in the same way, so they are spelled out. */
static void test_takes_peers_and_metrics(void **state)
{
	_cleanup_ns_ struct ns ns = ns_new();
	const struct spec_address *a;
	const struct spec_route *r;
	struct msg_chunk *arena = NULL;
	struct network n;

	(void)state;
	add_veth(&ns, "eth0");
	assert_int_equal(ns_sh(&ns, "set -e; ip address add 10.5.0.2 peer 10.9.9.9/32 dev eth0;"
				    "ip address add 10.4.0.2/24 metric 77 dev eth0;"
				    "ip address add 10.3.0.2/24 noprefixroute dev eth0"),
			 0);
	assert_int_equal(take(&ns, &arena, &n), 0);
	assert_int_equal(n.n, 1);
	assert_int_equal(n.nics[0].addresses_n, 3);
	a = find_address(&n.nics[0], AF_INET, "10.5.0.2");
	assert_true(a && a->prefix == 32 && a->flags == IFA_F_NOPREFIXROUTE);
	a = find_address(&n.nics[0], AF_INET, "10.4.0.2");
	assert_true(a && a->prefix == 24 && a->flags == IFA_F_NOPREFIXROUTE);
	a = find_address(&n.nics[0], AF_INET, "10.3.0.2");
	assert_true(a && a->prefix == 24 && a->flags == IFA_F_NOPREFIXROUTE);
	assert_int_equal(n.nics[0].routes_n, 2);
	r = find_route(&n.nics[0], AF_INET, "10.9.9.9", 32);
	assert_true(r && r->scope == RT_SCOPE_LINK);
	r = find_route(&n.nics[0], AF_INET, "10.4.0.0", 24);
	assert_true(r && r->metric == 77);
	network_done(&n);
	release(ns.path);
	arena_done(&arena);
}

/* What caisson-cni leaves: an interface that stands for a function gets no tap, and is not changed;
 * one whose alias only looks like it is what it is without one. */
static void test_placeholders(void **state)
{
	static const char id[] = "0123456789abcdef0123456789abcdef";
	_cleanup_ns_ struct ns ns = ns_new();
	char before[32768], after[32768];
	struct msg_chunk *arena = NULL;
	struct network n;

	(void)state;
	assert_int_equal(
		ns_sh(&ns,
		      "set -e; for kind in dummy ifb; do ip link add dev eth0 mtu 1400 "
		      "address 02:00:00:00:09:00 type $kind 2>/dev/null && break; done;"
		      "ip link set eth0 up; ip link set eth0 alias \"" NETWORK_LEASE_ALIAS "%s\";"
		      "ip address add 10.6.0.2/24 dev eth0; ip route add default via 10.6.0.1",
		      id),
		0);
	state_of(&ns, before, sizeof(before));
	assert_int_equal(take(&ns, &arena, &n), 0);
	assert_int_equal(n.n, 1);
	assert_string_equal(n.nics[0].name, "eth0");
	assert_string_equal(n.leases[0], id);
	assert_int_equal(n.tap_fds[0], -1);
	assert_true(n.nics[0].late);
	assert_int_equal(n.nics[0].mtu, 1400);
	assert_memory_equal(n.nics[0].mac, "\x02\0\0\0\x09\0", 6);
	assert_non_null(find_address(&n.nics[0], AF_INET, "10.6.0.2"));
	assert_non_null(find_route(&n.nics[0], AF_INET, "0.0.0.0", 0));
	state_of(&ns, after, sizeof(after));
	assert_string_equal(before, after);
	network_done(&n);
	release(ns.path);
	state_of(&ns, after, sizeof(after));
	assert_string_equal(before, after);

	assert_int_equal(ns_sh(&ns, "ip link set eth0 alias \"" NETWORK_LEASE_ALIAS "%s0\"", id),
			 0);
	if (take(&ns, &arena, &n) == 0) { /* an ifb with addresses is refused */
		assert_int_equal(n.n, 1);
		assert_null(n.leases[0]);
		assert_false(n.nics[0].late);
		network_done(&n);
		release(ns.path);
	}
	arena_done(&arena);
}

static int packet_socket(const char *dev)
{
	struct sockaddr_ll to = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(TEST_ETHERTYPE),
		.sll_ifindex = (int)if_nametoindex(dev),
	};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(TEST_ETHERTYPE));

	assert_true(fd >= 0);
	assert_true(to.sll_ifindex > 0);
	assert_int_equal(bind(fd, (void *)&to, sizeof(to)), 0);
	return fd;
}

static void make_frame(uint8_t *f, size_t size, const char *to, uint8_t fill)
{
	memset(f, fill, size);
	memcpy(f, to, 6);
	memcpy(f + 6, "\2\0\0\0\0\x55", 6);
	f[12] = TEST_ETHERTYPE >> 8;
	f[13] = TEST_ETHERTYPE & 0xff;
}

/* Waits for our frame; others (neighbour discovery of the peer) pass by. */
static bool receive_frame(int fd, size_t skip, const uint8_t *want, size_t size)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	uint8_t got[2048];

	while (poll(&p, 1, 2000) == 1) {
		ssize_t n = read(fd, got, sizeof(got));

		if (n == (ssize_t)(skip + size) && memcmp(got + skip, want, size) == 0)
			return true;
		assert_true(n > 0);
	}
	return false;
}

static void test_frames_pass_both_ways(void **state)
{
	_cleanup_ns_ struct ns ns = ns_new();
	_cleanup_close_ int peer = -1;
	uint8_t frame[VNET_HDR + 600] = {0}, *f = frame + VNET_HDR;
	struct msg_chunk *arena = NULL;
	struct network n;

	(void)state;
	prepare_eth0(&ns);
	peer = packet_socket("peer_eth0");
	assert_int_equal(take(&ns, &arena, &n), 0);

	make_frame(f, 600, "\2\0\0\0\0\7", 0xaa); /* unicast, broadcast, and someone else's */
	assert_int_equal(write(peer, f, 600), 600);
	assert_true(receive_frame(n.tap_fds[0], VNET_HDR, f, 600));
	make_frame(f, 600, "\xff\xff\xff\xff\xff\xff", 0xab);
	assert_int_equal(write(peer, f, 600), 600);
	assert_true(receive_frame(n.tap_fds[0], VNET_HDR, f, 600));
	make_frame(f, 600, "\2\0\0\0\0\x33", 0xac);
	assert_int_equal(write(peer, f, 600), 600);
	assert_true(receive_frame(n.tap_fds[0], VNET_HDR, f, 600));

	make_frame(f, 600, "\2\0\0\0\0\x44", 0xba);
	assert_int_equal(write(n.tap_fds[0], frame, sizeof(frame)), sizeof(frame));
	assert_true(receive_frame(peer, 0, f, 600));
	network_done(&n);
	release(ns.path);
	arena_done(&arena);
}

/* The tap is silent by itself: the namespace's kernel has no business with the guest. */
static void test_tap_is_quiet(void **state)
{
	_cleanup_ns_ struct ns ns = ns_new();
	struct msg_chunk *arena = NULL;
	struct pollfd p = {.events = POLLIN};
	uint8_t got[2048];
	struct network n;

	(void)state;
	add_veth(&ns, "eth0");
	assert_int_equal(sh("ip link set peer_eth0 down"), 0);
	assert_int_equal(take(&ns, &arena, &n), 0);
	p.fd = n.tap_fds[0];
	if (poll(&p, 1, 1500) != 0)
		fail_msg("the tap sent %zd bytes", read(p.fd, got, sizeof(got)));
	network_done(&n);
	arena_done(&arena);
}

static void test_release_restores(void **state)
{
	_cleanup_ns_ struct ns ns = ns_new();
	char before[32768], after[32768];
	struct msg_chunk *arena = NULL;
	struct network n;

	(void)state;
	prepare_eth0(&ns);
	add_veth(&ns, "net1");
	settle();
	state_of(&ns, before, sizeof(before));
	assert_int_equal(take(&ns, &arena, &n), 0);
	assert_int_equal(n.n, 2);
	assert_string_equal(n.nics[0].name, "eth0");
	assert_string_equal(n.nics[1].name, "net1");
	assert_true(has_text(&ns, "ingress"));
	assert_true(has_text(&ns, "mirred"));
	release(ns.path); /* with the taps still held */
	state_of(&ns, after, sizeof(after));
	assert_string_equal(before, after);
	release(ns.path);
	network_done(&n);
	release(ns.path);
	/* and it can be taken again */
	assert_int_equal(take(&ns, &arena, &n), 0);
	network_done(&n); /* the monitor died: its taps are gone, the filters are not */
	assert_false(has_text(&ns, "caisson0:"));
	assert_true(has_text(&ns, "mirred"));
	release(ns.path);
	state_of(&ns, after, sizeof(after));
	assert_string_equal(before, after);
	arena_done(&arena);
}

static void test_killed_at_any_moment(void **state)
{
	_cleanup_ns_ struct ns ns = ns_new();
	char before[32768], after[32768];
	struct timespec t0, t1, t = {0};
	struct msg_chunk *arena = NULL;
	struct network n;
	long took_ns;
	int dirty = 0;

	(void)state;
	prepare_eth0(&ns);
	add_veth(&ns, "net1");
	settle();
	state_of(&ns, before, sizeof(before));
	clock_gettime(CLOCK_MONOTONIC, &t0);
	assert_int_equal(take(&ns, &arena, &n), 0);
	clock_gettime(CLOCK_MONOTONIC, &t1);
	network_done(&n);
	release(ns.path);
	took_ns = (t1.tv_sec - t0.tv_sec) * 1000000000 + t1.tv_nsec - t0.tv_nsec;
	print_message("network_take of two interfaces: %ld us\n", took_ns / 1000);
	for (int i = 0; i < 40; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			network_take(ns.path, &arena, &n, NULL);
			pause();
		}
		t.tv_nsec = took_ns * 3 / 2 * i / 40;
		nanosleep(&t, NULL);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		dirty += has_text(&ns, "mirred");
		release(ns.path);
		state_of(&ns, after, sizeof(after));
		assert_string_equal(before, after);
	}
	print_message("40 kills, %d of them left filters to release\n", dirty);
	arena_done(&arena);
}

static void test_foreign_qdisc_is_respected(void **state)
{
	static const char *const kinds[] = {"ingress", "clsact"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		_cleanup_ns_ struct ns ns = ns_new();
		char before[32768], after[32768];

		add_veth(&ns, "eth0");
		assert_int_equal(ns_sh(&ns, "tc qdisc add dev eth0 %s", kinds[i]), 0);
		settle();
		state_of(&ns, before, sizeof(before));
		take_fails(ns.path, EEXIST, "interface 'eth0' has an ingress qdisc already");
		release(ns.path);
		state_of(&ns, after, sizeof(after));
		assert_string_equal(before, after);
	}
}

static void test_foreign_filter_survives(void **state)
{
	_cleanup_ns_ struct ns ns = ns_new();
	struct msg_chunk *arena = NULL;
	struct network n;

	(void)state;
	add_veth(&ns, "eth0");
	assert_int_equal(take(&ns, &arena, &n), 0);
	assert_int_equal(ns_sh(&ns, "tc filter add dev eth0 ingress prio 7 protocol ip u32 "
				    "match u32 0 0 flowid 1:1"),
			 0);
	network_done(&n);
	release(ns.path);
	assert_false(has_text(&ns, "mirred"));
	assert_true(has_text(&ns, "pref 7"));
	release(ns.path);
	assert_true(has_text(&ns, "pref 7"));
	arena_done(&arena);
}

static void test_taken_already(void **state)
{
	_cleanup_ns_ struct ns ns = ns_new();
	_cleanup_close_ int peer = -1;
	struct msg_chunk *arena = NULL;
	uint8_t f[100];
	struct network n;

	(void)state;
	prepare_eth0(&ns);
	peer = packet_socket("peer_eth0");
	assert_int_equal(take(&ns, &arena, &n), 0);
	take_fails(ns.path, EBUSY, "a sandbox has it already (interface 'caisson0')");
	make_frame(f, sizeof(f), "\2\0\0\0\0\7", 0x11);
	assert_int_equal(write(peer, f, sizeof(f)), sizeof(f));
	assert_true(receive_frame(n.tap_fds[0], VNET_HDR, f, sizeof(f)));
	network_done(&n);
	release(ns.path);
	arena_done(&arena);
}

/* The second interface fails because of a name: the first is given back. */
static void test_failure_undoes(void **state)
{
	_cleanup_ns_ struct ns ns = ns_new();
	char before[32768], after[32768];

	(void)state;
	add_veth(&ns, "eth0");
	add_veth(&ns, "net1");
	add_veth(&ns, "caisson1");
	settle();
	state_of(&ns, before, sizeof(before));
	take_fails(ns.path, EBUSY, "interface 'net1': create tap 'caisson1'");
	state_of(&ns, after, sizeof(after));
	assert_string_equal(before, after);
}

static void test_other_interfaces(void **state)
{
	_cleanup_ns_ struct ns ns = ns_new();
	struct msg_chunk *arena = NULL;
	struct network n;

	(void)state;
	assert_int_equal(take(&ns, &arena, &n), 0); /* only lo */
	assert_int_equal(n.n, 0);
	assert_int_equal(ns_sh(&ns, "ip tuntap add mode tun tun0 && ip link set tun0 up"), 0);
	add_veth(&ns, "eth0");
	assert_int_equal(take(&ns, &arena, &n), 0);
	assert_int_equal(n.n, 1);
	assert_string_equal(n.nics[0].name, "eth0");
	network_done(&n);
	release(ns.path);
	assert_true(has_text(&ns, "tun0")); /* kind tun, but not ours */
	assert_int_equal(ns_sh(&ns, "ip address add 10.1.1.1/24 dev tun0"), 0);
	take_fails(ns.path, EOPNOTSUPP, "'tun0' has addresses but is no Ethernet interface");
	arena_done(&arena);
}

static void test_stacked_interfaces(void **state)
{
	_cleanup_ns_ struct ns ns = ns_new();
	struct msg_chunk *arena = NULL;
	struct network n;

	(void)state;
	add_veth(&ns, "eth0");
	assert_int_equal(ns_sh(&ns, "ip link add br0 type bridge && ip link set eth0 master br0 &&"
				    "ip link set br0 up && ip address add 10.5.0.2/24 dev br0"),
			 0);
	assert_int_equal(take(&ns, &arena, &n), 0);
	assert_int_equal(n.n, 1);
	assert_string_equal(n.nics[0].name, "br0");
	network_done(&n);
	release(ns.path);
	assert_int_equal(ns_sh(&ns, "ip address add 10.6.0.2/24 dev eth0"), 0);
	take_fails(ns.path, EOPNOTSUPP, "'eth0' has addresses and carries another interface");
	arena_done(&arena);
}

static void test_routes_that_cannot_be_taken(void **state)
{
	_cleanup_ns_ struct ns ns = ns_new();

	(void)state;
	add_veth(&ns, "eth0");
	assert_int_equal(ns_sh(&ns, "ip address add 10.5.0.2/24 dev eth0"), 0);
	if (ns_sh(&ns, "ip route add 10.9.0.0/16 nexthop via 10.5.0.1 nexthop via 10.5.0.9 2>&1")) {
		print_message("skip: this kernel has no multipath routes\n");
		return;
	}
	take_fails(ns.path, EOPNOTSUPP, "route to 10.9.0.0/16: a route with several next hops");
}

static void test_hostile_paths(void **state)
{
	char dir[] = "/tmp/caisson-test-XXXXXX", path[128];
	_cleanup_ns_ struct ns ns = ns_new();

	(void)state;
	assert_non_null(mkdtemp(dir));
	take_fails("/nonexistent/ns", ENOENT, "No such file");
	take_fails("", ENOENT, "No such file");
	take_fails(dir, EINVAL, "is not a network namespace");
	take_fails("/dev/null", EINVAL, "is not a network namespace");
	take_fails("/proc/self/ns/mnt", EINVAL, "is not a network namespace");
	take_fails("/proc/self/ns/net", EPERM, "is the host's own");

	snprintf(path, sizeof(path), "%s/file", dir);
	close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	take_fails(path, EINVAL, "is not a network namespace");
	release(path); /* what an unmounted namespace leaves */
	unlink(path);
	release(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	take_fails(path, EINVAL, "is not a network namespace");
	unlink(path);
	assert_int_equal(symlink(ns.path, path), 0);
	take_fails(path, EINVAL, "is a symbolic link");
	unlink(path);
	rmdir(dir);
}

/* As IPAM does it: a file under /run/netns that the namespace is mounted on. */
static void test_mounted_namespace(void **state)
{
	char file[] = "/tmp/caisson-test-XXXXXX";
	_cleanup_ns_ struct ns ns = ns_new();
	struct msg_chunk *arena = NULL;
	struct network n;
	struct error err;

	(void)state;
	add_veth(&ns, "eth0");
	close(mkstemp(file));
	assert_int_equal(mount(ns.path, file, NULL, MS_BIND, NULL), 0);
	assert_int_equal(network_take(file, &arena, &n, &err), 0);
	assert_int_equal(n.n, 1);
	network_done(&n);
	release(file);
	assert_false(has_text(&ns, "mirred"));
	umount2(file, MNT_DETACH);
	release(file);
	unlink(file);
	release(file);
	arena_done(&arena);
}

/* Own namespaces, so that nothing on the machine is touched; NULL when that is allowed. */
static const char *isolate(void)
{
	if (geteuid() != 0)
		return "needs root";
	if (unshare(CLONE_NEWNET | CLONE_NEWNS) < 0)
		return "may not make namespaces";
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return "may not change mounts";
	if (access("/dev/net/tun", R_OK | W_OK) < 0)
		return "there is no /dev/net/tun";
	if (system("command -v ip tc nsenter >/dev/null") != 0)
		return "ip, tc or nsenter is missing";
	return NULL;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_takes_what_was_set),
		cmocka_unit_test(test_takes_peers_and_metrics),
		cmocka_unit_test(test_placeholders),
		cmocka_unit_test(test_frames_pass_both_ways),
		cmocka_unit_test(test_tap_is_quiet),
		cmocka_unit_test(test_release_restores),
		cmocka_unit_test(test_killed_at_any_moment),
		cmocka_unit_test(test_foreign_qdisc_is_respected),
		cmocka_unit_test(test_foreign_filter_survives),
		cmocka_unit_test(test_taken_already),
		cmocka_unit_test(test_failure_undoes),
		cmocka_unit_test(test_other_interfaces),
		cmocka_unit_test(test_stacked_interfaces),
		cmocka_unit_test(test_routes_that_cannot_be_taken),
		cmocka_unit_test(test_hostile_paths),
		cmocka_unit_test(test_mounted_namespace),
	};

	skip_reason = isolate();
	if (skip_reason) {
		printf("SKIP: test_network: %s\n", skip_reason);
		return 77;
	}
	return cmocka_run_group_tests_name("network", tests, NULL, NULL);
}
