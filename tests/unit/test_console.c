// SPDX-License-Identifier: Apache-2.0
/* vmm/console.c: why a guest ended, by what its kernel said. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "vmm/console.h"

static void assert_reason(const char *said, const char *reason)
{
	struct console c = {0};
	size_t at = 0, n = strlen(said);
	char buf[512];
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	c.fd = fds[0];
	for (ssize_t sent; at < n; at += (size_t)sent) {
		sent = send(fds[1], said + at, n - at < 4096 ? n - at : 4096, 0);
		assert_true(sent > 0);
		console_read_all(&c);
	}
	close(fds[1]);
	console_read_all(&c);
	console_reason(&c, buf, sizeof(buf));
	assert_string_equal(buf, reason);
	close(fds[0]);
}

static void test_last_line(void **state)
{
	(void)state;
	assert_reason("", "");
	assert_reason("one\ntwo\n\n", "two");
	assert_reason("one\x1b[31mred\r\n", "one [31mred");
}

static void test_panic(void **state)
{
	(void)state;
	assert_reason("[ 0.1] Kernel panic - not syncing: No working init\n[ 0.2] CPU: 0\nlast\n",
		      "Kernel panic - not syncing: No working init");
}

static void test_fault(void **state)
{
	(void)state;
	assert_reason("[ 0.1] BUG: unable to handle page fault for address: 8\n"
		      "[ 0.1] Oops: Oops: 0000 [#1] SMP\n"
		      "[ 0.2] Kernel panic - not syncing: Fatal exception\n[ 0.3] Oops: later\n",
		      "BUG: unable to handle page fault for address: 8; "
		      "Kernel panic - not syncing: Fatal exception");
	assert_reason("Oops: general protection fault\nKernel panic - not syncing: x\n",
		      "Oops: general protection fault; Kernel panic - not syncing: x");
	/* A fault without a panic is not why it ended. */
	assert_reason("BUG: a\nreboot: Power down\n", "reboot: Power down");
}

/* Of endless words the last are kept; of endless lines, what there is room for. */
static void test_endless(void **state)
{
	static char said[4 * CONSOLE_SIZE];
	char reason[512];

	(void)state;
	memset(said, 'x', sizeof(said) - 1);
	memset(reason, 'x', sizeof(reason) - 1);
	reason[sizeof(reason) - 1] = 0;
	assert_reason(said, reason);
	memcpy(said + sizeof(said) - 6, "\nlast", 5);
	assert_reason(said, "last");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_last_line),
		cmocka_unit_test(test_panic),
		cmocka_unit_test(test_fault),
		cmocka_unit_test(test_endless),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
