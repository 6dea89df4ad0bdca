/* SPDX-License-Identifier: GPL-2.0 */
/* Connections of local services, and local ports in use by destination. */
#ifndef WEIR_TCP_PORT_H
#define WEIR_TCP_PORT_H

#include "loader/trace/run.h"

extern const struct tracer tracer_port;

/* {"services": [...], "destinations": [...], "walked_seconds_ago"}: what there is now; counters of the
 * interval, or for 0 seconds since the tracer began. NULL with a fail() line, or out of memory. */
json_t *port_summary(struct trace_run *run, double seconds);

/* Looks at every socket: what was missed is counted, and TIME_WAIT is exact. 0 or < 0 with a fail() line. */
int port_walk(struct trace_run *run);
/* The same, where the last was a minute ago and, of what is pinned, something was lost since. */
int port_walk_if_due(struct trace_run *run);

#endif
