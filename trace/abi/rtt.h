/* SPDX-License-Identifier: GPL-2.0 */
/* tcp rtt: the smoothed round trip time at each segment received. */
#ifndef WEIR_TRACE_ABI_RTT_H
#define WEIR_TRACE_ABI_RTT_H

#include "trace.h"

#define WEIR_RTT_ROWS 8192

/* What makes a row. */
enum {
	WEIR_RTT_PEER = 1 << 0,
	WEIR_RTT_PORT = 1 << 1, /* local */
	WEIR_RTT_PEER_PORT = 1 << 2,
	WEIR_RTT_NETNS = 1 << 3,
};

/* Behind struct weir_trace_config. */
struct weir_rtt_settings {
	__u32 by; /* WEIR_RTT_*; 0: one row */
	__u32 pad;
};

/* What does not make a row is zero. */
struct weir_rtt_key {
	__be32 peer[4]; /* IPv4 as ::ffff:a.b.c.d */
	__u16 port;
	__u16 peer_port;
	__u32 netns;
};

struct weir_rtt_counts {
	__u64 slot[WEIR_LOG2_SLOTS]; /* log2 of microseconds */
	__u64 total_us;		     /* of all samples */
	__u64 least; /* high-water mark: UINT32_MAX less the lowest RTT that any connection knew */
};

#define WEIR_RTT_MARKS (WEIR_LOG2_SLOTS + 1) /* from this counter on */

_Static_assert(sizeof(struct weir_rtt_key) == 24, "no holes");

#endif
