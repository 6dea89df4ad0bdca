/* SPDX-License-Identifier: GPL-2.0 */
/* TCP connections when they end. */
#ifndef WEIR_TCP_LIFE_H
#define WEIR_TCP_LIFE_H

#include <netinet/tcp.h>

#include "loader/trace/run.h"
#include "trace/abi/sockets.h"

extern const struct tracer tracer_life;

json_t *life_row(struct trace_run *run, const void *event, size_t size);
/* No lines, but what there is to say meanwhile. */
json_t *life_rows(struct trace_run *run);
json_t *life_summary(struct trace_run *run, double seconds);

/* For tracers that are made of the same programs. */
extern const struct trace_hook life_hooks[];
#define LIFE_HOOKS 2
#define LIFE_STATES                                                        \
	(WEIR_STATE_BIT(TCP_ESTABLISHED) | WEIR_STATE_BIT(TCP_FIN_WAIT1) | \
	 WEIR_STATE_BIT(TCP_FIN_WAIT2) | WEIR_STATE_BIT(TCP_CLOSE_WAIT) |  \
	 WEIR_STATE_BIT(TCP_LAST_ACK) | WEIR_STATE_BIT(TCP_CLOSING))
const void *life_elf(size_t *size);
/* Makes known what is older than the tracer, with whose it is. */
int life_begun(struct trace_run *run);

/* Of enum weir_side: "active", "passive", or null. */
json_t *life_role(unsigned int role);
/* Of 100 segments how many were sent again, or null where none was sent. */
json_t *life_retransmitted_percent(__u64 retransmits, __u64 segments);

#endif
