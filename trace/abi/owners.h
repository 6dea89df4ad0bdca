/* SPDX-License-Identifier: GPL-2.0 */
/* A socket that a process has open, as an iterator over files tells it. */
#ifndef WEIR_TRACE_ABI_OWNERS_H
#define WEIR_TRACE_ABI_OWNERS_H

#include "trace.h"

struct weir_owned {
	__u64 socket; /* address, as tracepoints know it */
	struct weir_owner owner;
	__u32 inode; /* of the file: no later socket at this address has the same */
};

_Static_assert(sizeof(struct weir_owned) == 32, "no holes");

#endif
