/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CAISSON_FDS_H
#define CAISSON_FDS_H

/* Closes every descriptor from `first` up but the n given, which it sorts.  Safe after fork(2). */
void fds_close_but(int first, int *keep, unsigned int n);

#endif
