// SPDX-License-Identifier: Apache-2.0
#include "vmm/machine.h"

void machine_codec(struct msg *m, struct machine *x)
{
	msg_str(m, &x->id);
	msg_str(m, &x->engine);
	msg_str(m, &x->kernel);
	msg_str(m, &x->initrd);
	msg_str(m, &x->cmdline);
	msg_u32(m, &x->vcpus);
	msg_u64(m, &x->memory);
	msg_bool(m, &x->hugepages);
	msg_i32(m, &x->memory_fd);
	msg_u64(m, &x->memory_max);
	msg_i32(m, &x->growth_fd);
	msg_list(m, &x->functions, &x->functions_n, sizeof(*x->functions));
	for (uint32_t i = 0; i < x->functions_n; i++) {
		msg_str(m, &x->functions[i].name);
		msg_i32(m, &x->functions[i].device_fd);
		msg_bytes(m, x->functions[i].mac, sizeof(x->functions[i].mac));
		if (!x->functions[i].name)
			m->broken = true;
	}
	msg_list(m, &x->disks, &x->disks_n, sizeof(*x->disks));
	for (uint32_t i = 0; i < x->disks_n; i++) {
		msg_str(m, &x->disks[i].serial);
		msg_i32(m, &x->disks[i].fd);
		msg_bool(m, &x->disks[i].readonly);
	}
	msg_list(m, &x->nics, &x->nics_n, sizeof(*x->nics));
	for (uint32_t i = 0; i < x->nics_n; i++) {
		msg_i32(m, &x->nics[i].tap_fd);
		msg_bytes(m, x->nics[i].mac, sizeof(x->nics[i].mac));
		msg_u32(m, &x->nics[i].mtu);
	}
	msg_list(m, &x->shares, &x->shares_n, sizeof(*x->shares));
	for (uint32_t i = 0; i < x->shares_n; i++) {
		msg_str(m, &x->shares[i].source);
		msg_bool(m, &x->shares[i].readonly);
		msg_bool(m, &x->shares[i].is_dir);
		msg_bool(m, &x->shares[i].recursive);
	}
	msg_bool(m, &x->serve_shares);
	msg_str(m, &x->jail_dir);
	msg_i32(m, &x->listen_fd);
	msg_i32(m, &x->status_fd);
	msg_i32(m, &x->lifeline_fd);
	msg_i32(m, &x->log_fd);
	msg_i32(m, &x->timeline_fd);
	msg_u32(m, &x->boot_timeout_ms);
	spec_sandbox_codec(m, &x->sandbox);
	if (!x->id || !x->engine || !x->kernel || !x->initrd || !x->cmdline || !x->jail_dir)
		m->broken = true;
}
