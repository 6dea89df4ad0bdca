/* SPDX-License-Identifier: GPL-2.0 */
/* Round trip times of TCP connections. */
#ifndef WEIR_TCP_RTT_H
#define WEIR_TCP_RTT_H

#include "loader/trace/run.h"
#include "trace/abi/rtt.h"

extern const struct tracer tracer_rtt;

/* The words that name what makes a row, and the fields of rows: "peer", "port"... */
extern const struct rtt_by {
	const char *word, *field;
	__u32 bit;
} rtt_by[];
extern const int rtt_by_count;

/* run->settings is a struct weir_rtt_settings, also that of the one that is pinned. */
int rtt_settings(const struct trace_run *run, struct weir_rtt_settings *settings);

/* {"by": [...], "rows": [{(what makes a row), "other", "samples", "mean_us", "p50_us", "p99_us", "rtt_min_us",
 * "histogram": [{"least_us", "most_us", "samples"}]}]}, the row with most samples first. */
json_t *rtt_summary(struct trace_run *run, double seconds);

#endif
