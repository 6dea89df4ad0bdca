/* SPDX-License-Identifier: GPL-2.0 */
/* What weir's own XDP programs drop, beside what the kernel drops. */
#ifndef WEIR_TCP_DROP_XDP_H
#define WEIR_TCP_DROP_XDP_H

#include <jansson.h>
#include <stddef.h>

#include "loader/trace/run.h"
#include "trace/abi/drop.h"

struct xdp_drops {
	struct xdp_device {
		char name[16];
		__u32 ifindex;
		struct weir_drop_device now;
	} * device;
	size_t count;
};

/* Of the devices of this instance; `locked`: the caller holds its lock. 0 or < 0 with a fail() line. */
int xdp_drops_read(struct xdp_drops *x, bool locked);
void xdp_drops_free(struct xdp_drops *x);

/* What each device had dropped when the tracer began, into and from its map. */
int xdp_drops_keep(struct trace_run *run);
struct weir_drop_device xdp_drops_at_start(struct trace_run *run, __u32 ifindex);

/* What of a reason was dropped since `before`. */
__u64 xdp_dropped(const struct weir_drop_device *now, const struct weir_drop_device *before,
		  unsigned int drop);
const struct weir_drop_device *xdp_drops_of(const struct xdp_drops *x, __u32 ifindex);

#endif
