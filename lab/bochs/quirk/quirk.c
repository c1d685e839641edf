// SPDX-License-Identifier: GPL-2.0-only
/*
 * Corrects what the kernel takes the second CPU model for: the model has the capabilities register,
 * but not the bit in it by which a CPU of its kind says that it does not have the iTLB multihit
 * bug, so the kernel believes that it has.  For the lab only.
 */
#include <linux/bitops.h>
#include <linux/module.h>
#include <asm/cpufeature.h>
#include <asm/processor.h>

static int __init quirk_init(void)
{
	clear_bit(X86_BUG_ITLB_MULTIHIT, (unsigned long *)boot_cpu_data.x86_capability);
	return 0;
}

static void __exit quirk_exit(void)
{
}

module_init(quirk_init);
module_exit(quirk_exit);
MODULE_DESCRIPTION("the lab's second CPU model does not have the iTLB multihit bug");
MODULE_LICENSE("GPL");
