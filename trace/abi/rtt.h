/* SPDX-License-Identifier: GPL-2.0 */
/* tcp rtt: the smoothed round trip time at each segment received. */
#ifndef WEIR_TRACE_ABI_RTT_H
#define WEIR_TRACE_ABI_RTT_H

#include "by.h"

#define WEIR_RTT_ROWS 8192 /* each by struct weir_by_key */

struct weir_rtt_counts {
	__u64 slot[WEIR_LOG2_SLOTS]; /* log2 of microseconds */
	__u64 total_us;		     /* of all samples */
	__u64 least; /* high-water mark: UINT32_MAX less the lowest RTT that any connection knew */
};

#define WEIR_RTT_MARKS (WEIR_LOG2_SLOTS + 1) /* from this counter on */

#endif
