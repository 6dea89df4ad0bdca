/* SPDX-License-Identifier: GPL-2.0 */
/* Who moves how many bytes over TCP. */
#ifndef WEIR_TCP_TOP_H
#define WEIR_TCP_TOP_H

#include "loader/trace/run.h"

enum top_by {
	TOP_BY_PROCESS,
	TOP_BY_CONNECTION,
	TOP_BY_PORT,
};

struct top_settings {
	enum top_by by;
};

extern const struct tracer tracer_top;

/* "process", "connection", "port": 0 or -EINVAL with a misuse() line. */
int top_by_parse(enum top_by *by, const char *text);
/* What was moved since the last call: {"by", "total", "rows"}, those with most bytes first. */
json_t *top_summary(struct trace_run *run, double seconds);
/* Between summaries, now and then: there is not room for all that end in a long interval. 0 or < 0 with a
 * fail() line. */
int top_meanwhile(struct trace_run *run);

#endif
