/* SPDX-License-Identifier: GPL-2.0 */
/* The queues of listeners. */
#ifndef WEIR_TCP_QUEUE_H
#define WEIR_TCP_QUEUE_H

#include "loader/trace/run.h"

extern const struct tracer tracer_queue;

json_t *queue_row(struct trace_run *run, const void *event, size_t size);
json_t *queue_summary(struct trace_run *run, double seconds);

#endif
