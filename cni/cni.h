/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all of caisson-cni shares: the CNI specification's commands, versions and error codes.
 *
 * In this folder the code of a struct error is a CNI error code, not an errno value: functions
 * return -code with err set.  What comes from elsewhere is given one where it comes in
 * (cni_recode()).
 *
 * Source: the specification's SPEC.md, 1.1.0 (github.com/containernetworking/cni).
 */
#ifndef CAISSON_CNI_CNI_H
#define CAISSON_CNI_CNI_H

#include "lib/error.h"

enum cni_code {
	CNI_VERSION_INCOMPATIBLE = 1,
	CNI_FIELD_UNSUPPORTED = 2,
	CNI_CONTAINER_UNKNOWN = 3, /* nothing has to be cleaned up */
	CNI_ENVIRONMENT = 4,
	CNI_IO = 5,
	CNI_DECODE = 6,
	CNI_CONFIG = 7,
	CNI_TRY_AGAIN = 11,
	CNI_UNAVAILABLE = 50, /* STATUS: no ADD would work */
	/* ours */
	CNI_EXISTS = 100,  /* ADD: the attachment, or an interface of its name */
	CNI_DIFFERS = 101, /* CHECK: something is not as ADD left it */
};

/* In order: what one introduced, later ones have. */
enum cni_version { CNI_0_3_1, CNI_0_4_0, CNI_1_0_0, CNI_1_1_0, CNI_VERSIONS };

extern const char *const cni_versions[CNI_VERSIONS];

enum cni_command { CNI_ADD, CNI_DEL, CNI_CHECK, CNI_GC, CNI_STATUS, CNI_VERSION, CNI_COMMANDS };

extern const char *const cni_commands[CNI_COMMANDS];

/* The longest text that is read: a configuration, or what an IPAM plugin says. */
#define CNI_TEXT_MAX (1u << 20)

/* Makes the code of an error from elsewhere one of CNI's.  Returns -code. */
static inline int cni_recode(struct error *err, enum cni_code code)
{
	err->code = code;
	return -(int)code;
}

#endif
