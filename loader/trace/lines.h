/* SPDX-License-Identifier: GPL-2.0 */
/* The events of a run that lives with its command. */
#ifndef WEIR_TRACE_LINES_H
#define WEIR_TRACE_LINES_H

#include "run.h"

struct trace_lines;

/* Returns 0, or what ends the reading. */
typedef int trace_event_fn(void *arg, const void *event, size_t size);

int trace_lines_open(struct trace_run *run, trace_event_fn *fn, void *arg,
		     struct trace_lines **lines);
/* All that have come: 0, < 0 with a fail() line, or what fn returned. */
int trace_lines_poll(struct trace_lines *lines);
void trace_lines_close(struct trace_lines *lines);

#endif
