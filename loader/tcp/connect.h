/* SPDX-License-Identifier: GPL-2.0 */
/* How long TCP connections take to be made, and why some are not. */
#ifndef WEIR_TCP_CONNECT_H
#define WEIR_TCP_CONNECT_H

#include "loader/trace/run.h"
#include "trace/abi/connect.h"

extern const struct tracer tracer_connect; /* settings: struct weir_connect_settings */

json_t *connect_row(struct trace_run *run, const void *event, size_t size);
json_t *connect_summary(struct trace_run *run, double seconds);

#endif
