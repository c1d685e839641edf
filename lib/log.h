/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the command's one sentence goes: standard error, and the file of --log as
 * podman's conmon and containerd's shim read it (runc's two formats).
 */
#ifndef CAISSON_LOG_H
#define CAISSON_LOG_H

/* level: "error", "warning", "debug".  path NULL: standard error only; format "text" or "json". */
void log_to(const char *path, const char *format);
void log_line(const char *level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
