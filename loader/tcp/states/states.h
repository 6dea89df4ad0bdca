/* SPDX-License-Identifier: GPL-2.0 */
/* Changes of state of TCP sockets. */
#ifndef WEIR_TCP_STATES_H
#define WEIR_TCP_STATES_H

#include "loader/trace/run.h"

extern const struct tracer tracer_states;

/* Of TCP_* as `ss` and bcc's tools write it: "ESTABLISHED"... */
const char *tcp_state_name(unsigned int state);

json_t *states_row(struct trace_run *run, const void *event, size_t size);
/* Of mini-sockets, which no event tells of. */
json_t *states_rows(struct trace_run *run);
json_t *states_summary(struct trace_run *run, double seconds);

#endif
