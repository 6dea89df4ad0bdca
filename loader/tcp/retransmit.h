/* SPDX-License-Identifier: GPL-2.0 */
/* What TCP sends again. */
#ifndef WEIR_TCP_RETRANSMIT_H
#define WEIR_TCP_RETRANSMIT_H

#include "loader/trace/run.h"

/* run->settings is a struct weir_by. */
extern const struct tracer tracer_retransmit;

json_t *retransmit_row(struct trace_run *run, const void *event, size_t size);
/* {"by": [...], "rows": [{(what makes a row), "other", "segments", "kinds": {"syn": ...}, "failed", "bytes_sent",
 * "bytes_retransmitted", "retransmitted_percent"}]}, the row with most segments first. */
json_t *retransmit_summary(struct trace_run *run, double seconds);

#endif
