/* SPDX-License-Identifier: GPL-2.0 */
/* What was counted, against what the kernel counted itself. */
#ifndef WEIR_TCP_QUEUE_KERNEL_H
#define WEIR_TCP_QUEUE_KERNEL_H

#include "queue_reading.h"

/* Adds what these counts of one listener make of the kernel's counters. */
void queue_expect(const __u64 count[WEIR_Q_COUNTS], __u64 mib[WEIR_MIBS]);

/* Notes where each namespace's counters stand when the tracer begins. 0 or < 0 with a fail() line. */
int queue_kernel_begin(struct trace_run *run, const struct queue_reading *r);

/* [{"netns_inode", "counters": [{"counter", "kernel", "weir", "unexplained"}]}] since the tracer began, of
 * all namespaces, or of those with a counter above 0. NULL with a fail() line. */
json_t *queue_kernel_json(struct trace_run *run, const struct queue_reading *r);

#endif
