/* SPDX-License-Identifier: GPL-2.0 */
/* What makes a row of a summary, where the user chooses it. */
#ifndef WEIR_TRACE_ABI_BY_H
#define WEIR_TRACE_ABI_BY_H

#include "trace.h"

enum {
	WEIR_BY_PEER = 1 << 0,
	WEIR_BY_PORT = 1 << 1, /* local */
	WEIR_BY_PEER_PORT = 1 << 2,
	WEIR_BY_NETNS = 1 << 3,
};

/* Behind struct weir_trace_config. */
struct weir_by {
	__u32 what; /* WEIR_BY_*; 0: one row */
	__u32 pad;
};

/* What does not make a row is zero. */
struct weir_by_key {
	__be32 peer[4]; /* IPv4 as ::ffff:a.b.c.d */
	__u16 port;
	__u16 peer_port;
	__u32 netns; /* inode */
	__u64 netns_cookie;
};

_Static_assert(sizeof(struct weir_by_key) == 32, "no holes");

#endif
