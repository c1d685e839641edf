/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kvm engine: the host's hardware virtualization, with a machine of our own in
 * the monitor's process: guest memory, devices, one thread per vCPU.
 */
#ifndef CAISSON_ENGINE_KVM_H
#define CAISSON_ENGINE_KVM_H

struct engine_ops;

extern const struct engine_ops engine_kvm;

#endif
