// SPDX-License-Identifier: Apache-2.0
#include "daemon/function.h"

#include <errno.h>

int function_return(const struct lease_function *f, uint32_t timeout_ms, struct error *err)
{
	(void)timeout_ms;
	return error_set(err, ENOSYS, "function %s: not yet", f->address);
}

int function_open(const struct lease_function *f, struct parts *p, struct error *err)
{
	(void)p;
	return error_set(err, ENOSYS, "function %s: not yet", f->address);
}

int function_map(struct parts *p, struct error *err)
{
	(void)p;
	return error_set(err, ENOSYS, "not yet");
}

int function_unmap(struct parts *p, struct error *err)
{
	(void)p;
	return error_set(err, ENOSYS, "not yet");
}
