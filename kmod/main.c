// SPDX-License-Identifier: GPL-2.0-only
/* caisson.ko: guest kernels in ring 1.  Loading and unloading; the story is docs/cki.md. */
#include <linux/miscdevice.h>
#include <linux/module.h>

#include "monitor.h"

struct caisson_host caisson_host;

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "caisson",
	.fops = &caisson_sandbox_fops,
	.mode = 0600,
};

static int __init caisson_init(void)
{
	int error = caisson_host_check();

	if (error)
		return error;
	error = caisson_host_survey(&caisson_host);
	if (error)
		return error;
	error = caisson_area_init(&caisson_host);
	if (error)
		goto err_host;
	error = misc_register(&device);
	if (error)
		goto err_area;
	caisson_counters_init();
	return 0;

err_area:
	caisson_area_done();
err_host:
	caisson_host_done(&caisson_host);
	return error;
}

static void __exit caisson_exit(void)
{
	caisson_counters_done();
	misc_deregister(&device);
	caisson_area_done();
	caisson_host_done(&caisson_host);
}

module_init(caisson_init);
module_exit(caisson_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Guest kernels in ring 1");
