/* SPDX-License-Identifier: GPL-2.0 */
/* tcp states: every change of state, and the time in the state before. */
#ifndef WEIR_TRACE_ABI_STATES_H
#define WEIR_TRACE_ABI_STATES_H

#include "trace.h"

#define WEIR_STATE_SOCKETS     131072 /* older than the tracer */
#define WEIR_STATE_SLOTS_SHIFT 18
#define WEIR_STATE_SLOTS       (1 << WEIR_STATE_SLOTS_SHIFT)

/* Of a socket that lives. */
struct weir_state {
	__u64 socket; /* its address; 0: free */
	__u64 since_ns;
	struct weir_owner owner;
	__u8 state;
	__u8 untold; /* that it was born */
	__u8 pad[2];
};

struct weir_state_event {
	__u64 ns;
	__u64 socket;	 /* address: the same for all changes of one socket */
	__u64 lasted_ns; /* in the old state; 0: not known */
	__u64 mini;	 /* address of the mini-socket that takes its place, or 0 */
	struct weir_ends ends;
	struct weir_owner owner;
	__u8 from, to; /* TCP_*; `to`, where a mini-socket takes over: the state it stands in for */
	__u8 error;    /* errno of the socket, when it closes */
	__u8 pad;
};

/* The summary, by change: from 1 to 11, TCP_ESTABLISHED to TCP_CLOSING; to the same, and FIN_WAIT2 and
 * TIME_WAIT of mini-sockets behind them; IPv4, IPv6. */
#define WEIR_STATE_FROM			     11
#define WEIR_STATE_TO			     13
#define WEIR_STATE_MINI_FIN_WAIT2	     12
#define WEIR_STATE_MINI_TIME_WAIT	     13
#define WEIR_STATE_CHANGES		     (WEIR_STATE_FROM * WEIR_STATE_TO * 2)
#define WEIR_STATE_CHANGE(from, to, is_ipv6) ((((from)-1) * WEIR_STATE_TO + (to)-1) * 2 + (is_ipv6))

struct weir_state_counts {
	__u64 changes;
	__u64 timed;		     /* of them with a known time in the old state */
	__u64 total_ns;		     /* of these */
	__u64 slot[WEIR_LOG2_SLOTS]; /* log2 of microseconds */
};

_Static_assert(sizeof(struct weir_state) == 40, "a layout that is pinned");
_Static_assert(sizeof(struct weir_state_event) == 32 + sizeof(struct weir_ends) + 20 + 4,
	       "no holes");

#endif
