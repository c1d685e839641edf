// SPDX-License-Identifier: Apache-2.0
/*
 * runtime/cgroup.c on whatever cgroup hierarchies this machine has, below a cgroup of the test's
 * own, /caisson-test-<pid>.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "runtime/cgroup.h"
#include "runtime/scope.h"

static char parent[64], path[128];
static const struct config_host_resources none = {.cpu_quota_us = -1, .cpu_period_us = -1};

__attribute__((format(printf, 1, 2))) static int sh(const char *fmt, ...)
{
	char command[1024];
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

/* A process that waits, and `more` children of it. */
static pid_t sleeper(int more)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (more-- > 0 && fork() > 0)
			;
		for (;;)
			pause();
	}
	return pid;
}

static void ok(int rc, const struct error *err)
{
	if (rc < 0)
		fail_msg("%s", err->text);
}

static void create(const struct config_host_resources *r)
{
	struct error err = {0};

	ok(cgroup_create(path, r, &err), &err);
}

static void enter(pid_t pid)
{
	struct error err = {0};

	ok(cgroup_enter(path, pid, &err), &err);
}

static void end(void)
{
	struct error err = {0};

	ok(cgroup_kill(path, &err), &err);
	ok(cgroup_remove(path, &err), &err);
}

/* How many directories of this name there are in all hierarchies. */
static int places(const char *name)
{
	char command[256];
	_cleanup_fclose_ FILE *f = NULL;
	int n = -1;

	snprintf(command, sizeof(command), "find /sys/fs/cgroup -type d -path '*%s' | wc -l", name);
	f = popen(command, "r");
	assert_non_null(f);
	assert_int_equal(fscanf(f, "%d", &n), 1);
	pclose(steal_ptr(&f));
	return n;
}

static void test_life(void **state)
{
	struct error err = {0};
	double t[5];
	int status, n;
	pid_t pid;

	(void)state;
	t[0] = now_ms();
	create(&none);
	n = places(path);
	assert_true(n > 0);
	pid = sleeper(0);
	t[1] = now_ms();
	enter(pid);
	t[2] = now_ms();
	/* in every hierarchy */
	assert_int_equal(sh("[ $(grep -c ':%s$' /proc/%d/cgroup) = %d ]", path, pid, n), 0);
	assert_int_equal(cgroup_create(path, &none, &err), -EBUSY);
	assert_non_null(strstr(err.text, "it has processes already"));
	assert_int_equal(cgroup_remove(path, &err), -EBUSY);
	assert_int_equal(kill(pid, 0), 0);
	t[3] = now_ms();
	ok(cgroup_kill(path, &err), &err);
	t[4] = now_ms();
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	ok(cgroup_kill(path, &err), &err);
	ok(cgroup_remove(path, &err), &err);
	assert_int_equal(places(path), 0);
	ok(cgroup_remove(path, &err), &err);
	ok(cgroup_kill(path, &err), &err);
	print_message("%d hierarchies: enter %.2f ms, kill %.2f ms\n", n, t[2] - t[1], t[4] - t[3]);
}

static void test_many_and_nested(void **state)
{
	pid_t pid, inner;

	(void)state;
	create(&none);
	create(&none); /* there, but empty: taken */
	pid = sleeper(0);
	enter(pid);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	pid = fork();
	if (pid == 0) {
		struct error err;

		if (cgroup_enter(path, getpid(), &err) < 0)
			_exit(1);
		for (int i = 0; i < 50; i++)
			if (fork() == 0)
				break;
		for (;;)
			pause();
	}
	inner = sleeper(0);
	assert_int_equal(
		sh("for d in $(find /sys/fs/cgroup -type d -path '*%s'); do mkdir $d/a $d/a/b;"
		   "done; for d in $(find /sys/fs/cgroup -path '*%s/a/b' ! -path '*cpuset*'); do "
		   "echo %d >$d/cgroup.procs; done",
		   path, path, inner),
		0);
	usleep(50000);
	end();
	assert_int_equal(places(path), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(waitpid(inner, NULL, 0), inner);
}

static void test_spares_the_caller(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	create(&none);
	pid = fork();
	if (pid == 0) {
		struct error err;
		pid_t child = fork();

		if (child == 0)
			for (;;)
				pause();
		if (cgroup_enter(path, getpid(), &err) < 0 || cgroup_enter(path, child, &err) < 0 ||
		    cgroup_kill(path, &err) < 0)
			_exit(1);
		_exit(waitpid(child, NULL, 0) == child ? 0 : 2);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	end();
}

static void test_paths(void **state)
{
	static const char *const bad[] = {"/../x", "/a/../../x", "..",	 "a/..", "",
					  "/",	   "///",	 "/./.", "."};
	char relative[64], text[5000];
	struct error err = {0};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(cgroup_create(bad[i], &none, &err), -EINVAL);
		assert_non_null(strstr(err.text, "cgroup path '"));
		assert_int_equal(cgroup_enter(bad[i], getpid(), &err), -EINVAL);
		assert_int_equal(cgroup_kill(bad[i], &err), -EINVAL);
		assert_int_equal(cgroup_remove(bad[i], &err), -EINVAL);
	}
	memset(text, 'x', sizeof(text) - 1);
	text[0] = '/';
	text[sizeof(text) - 1] = 0;
	assert_int_equal(cgroup_create(text, &none, &err), -ENAMETOOLONG);

	snprintf(relative, sizeof(relative), "caisson-test-%d-relative/./x", getpid());
	ok(cgroup_create(relative, &none, &err), &err);
	snprintf(text, sizeof(text), "/caisson/caisson-test-%d-relative/x", getpid());
	assert_true(places(text) > 0);
	ok(cgroup_remove(relative, &err), &err);
	assert_int_equal(places(text), 0);
	snprintf(text, sizeof(text), "/caisson/caisson-test-%d-relative", getpid());
	ok(cgroup_remove(text, &err), &err);
	sh("find /sys/fs/cgroup -maxdepth 2 -type d -name caisson -empty -exec rmdir {} + "
	   "2>/dev/null;"
	   "find /sys/fs/cgroup -maxdepth 2 -type d -name caisson -exec rmdir {} + 2>/dev/null");
}

/* Where systemd is not running, nothing is asked of it; where it is, only of names it knows. */
static void test_scope_names(void **state)
{
	static const char *const bad[] = {"/a/path", "machine.slice:x", "nonsense:libpod:x",
					  "machine.slice:libpod:", "a.slice:b:c:d"};
	bool systemd = access("/run/systemd/system", F_OK) == 0;
	struct error err = {0};
	struct scope s;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(scope_parse(bad[i], &s, &err), systemd ? -EINVAL : -EOPNOTSUPP);
		assert_non_null(strstr(err.text, systemd ? bad[i] : "--systemd-cgroup"));
	}
	assert_int_equal(scope_parse("machine.slice:libpod:x", &s, &err),
			 systemd ? 0 : -EOPNOTSUPP);
	if (systemd)
		assert_string_equal(s.unit, "libpod-x.scope");
}

static bool has_value(const char *v1, const char *v2, const char *v1_value, const char *v2_value)
{
	return sh("for f in $(find /sys/fs/cgroup -path '*%s/%s' -o -path '*%s/%s'); do "
		  "grep -qxF -e '%s' -e '%s' $f && exit 0; done; exit 1",
		  path, v1, path, v2, v1_value, v2_value) == 0;
}

static void test_resources(void **state)
{
	struct config_host_resources r = {
		.cpu_quota_us = 50000,
		.cpu_period_us = 200000,
		.cpu_shares = 512,
		.cpuset_cpus = (char *)"0",
		.cpuset_mems = (char *)"0",
	};
	struct error err = {0};
	pid_t pid;

	(void)state;
	if (cgroup_create(path, &r, &err) == -EOPNOTSUPP) {
		print_message("skip: %s\n", err.text);
		return;
	}
	assert_int_equal(err.code, 0);
	assert_true(has_value("cpu.cfs_quota_us", "cpu.max", "50000", "50000 200000"));
	assert_true(has_value("cpu.cfs_period_us", "cpu.max", "200000", "50000 200000"));
	assert_true(has_value("cpu.shares", "cpu.weight", "512", "20"));
	assert_true(has_value("cpuset.cpus", "cpuset.cpus", "0", "0"));
	pid = sleeper(0);
	enter(pid);
	end();
	waitpid(pid, NULL, 0);

	r.cpuset_cpus = (char *)"4000";
	assert_true(cgroup_create(path, &r, &err) < 0);
	assert_non_null(strstr(err.text, "write '4000' to 'cpuset.cpus'"));
	print_message("  %s\n", err.text);
	assert_int_equal(places(path), 0);
}

static void test_enter_fails(void **state)
{
	struct error err = {0};

	(void)state;
	assert_int_equal(cgroup_enter(path, getpid(), &err), -ENOENT);
	create(&none);
	assert_int_equal(cgroup_enter(path, 0x7ffffff0, &err), -ESRCH);
	print_message("  %s\n", err.text);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_life),
		cmocka_unit_test(test_many_and_nested),
		cmocka_unit_test(test_spares_the_caller),
		cmocka_unit_test(test_scope_names),
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_resources),
		cmocka_unit_test(test_enter_fails),
	};
	struct error err = {0};
	int failed;

	snprintf(parent, sizeof(parent), "/caisson-test-%d", getpid());
	snprintf(path, sizeof(path), "%s/inner", parent);
	if (cgroup_create(path, &none, &err) < 0) {
		printf("SKIP: test_cgroup: %s\n", err.text);
		return 77;
	}
	failed = cmocka_run_group_tests_name("cgroup", tests, NULL, NULL);
	cgroup_kill(parent, &err);
	if (cgroup_remove(parent, &err) < 0)
		fprintf(stderr, "%s\n", err.text);
	return failed;
}
