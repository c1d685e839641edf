// SPDX-License-Identifier: Apache-2.0
/* The init of the bare machine that a start is compared with: it exits, and the machine with it. */
#include <sys/reboot.h>

int main(void)
{
	return reboot(RB_AUTOBOOT);
}
