/* SPDX-License-Identifier: GPL-2.0 */
/* Round trip times of TCP connections. */
#ifndef WEIR_TCP_RTT_H
#define WEIR_TCP_RTT_H

#include "loader/trace/run.h"

/* run->settings is a struct weir_by. */
extern const struct tracer tracer_rtt;

/* {"by": [...], "rows": [{(what makes a row), "other", "samples", "mean_us", "p50_us", "p99_us", "rtt_min_us",
 * "histogram": [{"least_us", "most_us", "samples"}]}]}, the row with most samples first. */
json_t *rtt_summary(struct trace_run *run, double seconds);

#endif
