/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cki engine: a guest kernel in ring 1, by the host's module caisson.ko, without hardware
 * virtualization (docs/cki.md).
 */
#ifndef CAISSON_ENGINE_CKI_H
#define CAISSON_ENGINE_CKI_H

struct engine_ops;

extern const struct engine_ops engine_cki;

#endif
