/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's kernel log: the only place where the agent can say what it cannot
 * say on the channel.  A bounded number of lines, one each.
 */
#ifndef CAISSON_INIT_KMSG_H
#define CAISSON_INIT_KMSG_H

void kmsg_line(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
