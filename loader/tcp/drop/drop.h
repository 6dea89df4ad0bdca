/* SPDX-License-Identifier: GPL-2.0 */
/* Packets that the kernel drops, and those that weir's own programs drop. */
#ifndef WEIR_TCP_DROP_H
#define WEIR_TCP_DROP_H

#include "loader/trace/run.h"

struct drop_settings {
	bool all;   /* benign ones in lines, and packets of other protocols */
	bool stack; /* of the kernel */
};

extern const struct tracer tracer_drop;

json_t *drop_row(struct trace_run *run, const void *event, size_t size);
/* What weir's own programs dropped since the last call. */
json_t *drop_rows(struct trace_run *run);
json_t *drop_summary(struct trace_run *run, double seconds);

#endif
