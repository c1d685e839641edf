/* SPDX-License-Identifier: GPL-2.0-only */
/* What kernels have named otherwise since 6.12; the code has the newer names. */
#ifndef KMOD_COMPAT_H
#define KMOD_COMPAT_H

#include <linux/hrtimer.h>
#include <linux/thread_info.h>
#include <linux/version.h>
#include <asm/cpufeature.h>
#include <asm/fpu/api.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 16, 0)
#include <asm/cpuid.h>
#else
#include <asm/cpuid/api.h>
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 13, 0)
static inline void hrtimer_setup(struct hrtimer *t, enum hrtimer_restart (*f)(struct hrtimer *),
				 clockid_t clock, enum hrtimer_mode mode)
{
	hrtimer_init(t, clock, mode);
	t->function = f;
}
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 16, 0)
#define rdmsrq rdmsrl
#define wrmsrq wrmsrl
#define rdmsrq_safe rdmsrl_safe
#endif

/* Whether VERW clears what the CPU's buffers hold: of MDS and its like, of TSA. */
static inline bool compat_verw_clears(void)
{
#ifdef X86_FEATURE_VERW_CLEAR
	if (boot_cpu_has(X86_FEATURE_VERW_CLEAR))
		return true;
#endif
	return boot_cpu_has(X86_FEATURE_MD_CLEAR);
}

/*
 * Loads the thread's FPU registers.  False: only the way to user space does; switch_fpu_return() is
 * exported to KVM alone.
 */
static inline bool compat_fpu_load(void)
{
	if (!test_thread_flag(TIF_NEED_FPU_LOAD))
		return true;
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 18, 0)
	switch_fpu_return();
	return true;
#else
	return false;
#endif
}

#endif
