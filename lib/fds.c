// SPDX-License-Identifier: Apache-2.0
#include "lib/fds.h"

#include <unistd.h>

void fds_close_but(int first, int *keep, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		for (unsigned int k = i + 1; k < n; k++)
			if (keep[k] < keep[i]) {
				int t = keep[i];

				keep[i] = keep[k];
				keep[k] = t;
			}
	for (unsigned int i = 0; i < n; i++) {
		if (keep[i] < first)
			continue;
		if (keep[i] > first)
			close_range((unsigned int)first, (unsigned int)keep[i] - 1, 0);
		first = keep[i] + 1;
	}
	close_range((unsigned int)first, ~0u, 0);
}
