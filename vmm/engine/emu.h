/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The emu engine: QEMU's TCG as the machine, for hosts where nothing else runs.
 * QEMU is a supervised child in a jail (vmm/jail.h) with its own seccomp filter,
 * without monitor, display, disk names or network of its own.
 */
#ifndef CAISSON_ENGINE_EMU_H
#define CAISSON_ENGINE_EMU_H

struct engine_ops;

extern const struct engine_ops engine_emu;

#endif
