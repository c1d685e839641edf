/* SPDX-License-Identifier: Apache-2.0 */
/* How programs that attack the module from the host say what is not so; they end there. */
#ifndef CAISSON_TESTS_CKI_CHECK_H
#define CAISSON_TESTS_CKI_CHECK_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define check(condition)                                                                           \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			printf("line %d: not so: %s (%s)\n", __LINE__, #condition,                 \
			       strerror(errno));                                                   \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)
#define refused(call, error) check((call) < 0 && errno == (error))

#endif
