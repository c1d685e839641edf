/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files by path: small reads and writes, and paths inside a container's root.
 * A path "in" a root is resolved by the kernel as if that directory were "/"
 * (openat2, RESOLVE_IN_ROOT): symbolic links, ".." and magic links in an image
 * cannot lead out of it.
 */
#ifndef CAISSON_INIT_PATH_H
#define CAISSON_INIT_PATH_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "lib/error.h"

/* Reads a small file as a string without its last newline: its length, or -errno. */
ssize_t path_read(int dirfd, const char *path, char *buf, size_t size);
/* Writes in one write(2): 0 or -errno. */
int path_write(int dirfd, const char *path, const char *text);

/* Opens in the root: a descriptor (close-on-exec) or -errno. */
int path_open_in(int root, const char *path, int flags);
/*
 * An O_PATH descriptor of what path names in the root.  What is missing is made:
 * directories (0755), and as the last part a directory or an empty file.
 */
int path_create_in(int root, const char *path, bool directory, struct error *err);

#define PATH_FD_SIZE 32
/* "/proc/self/fd/N", for calls that take no descriptor. */
void path_of_fd(char out[static PATH_FD_SIZE], int fd);

#endif
