/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What micro guests and their runner agree on: two ports, as QEMU has them too
 * (-device isa-debugcon,iobase=0xe9 and -device isa-debug-exit,iobase=0xf4).
 */
#ifndef CAISSON_TESTS_GUEST_OUTCOME_H
#define CAISSON_TESTS_GUEST_OUTCOME_H

#define GUEST_PORT_TEXT 0xe9 /* a byte written is a character said */
#define GUEST_PORT_END 0xf4  /* a byte written is the outcome, and the end */

#define GUEST_DISK_BYTE 0xc5 /* what the disk that the runner gives is filled with */

#define GUEST_PASS 0
#define GUEST_FAIL 1
#define GUEST_SKIP 2

#endif
