/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies a directory's content: directories, files, symbolic links, devices; with
 * owner, mode and modification time.  Bounded by the file system it goes to.
 */
#ifndef CAISSON_INIT_COPY_H
#define CAISSON_INIT_COPY_H

#include "lib/error.h"

int copy_tree(int from_dir, int to_dir, struct error *err);

#endif
