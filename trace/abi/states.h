/* SPDX-License-Identifier: GPL-2.0 */
/* tcp states: every change of state, and the time in the state before. */
#ifndef WEIR_TRACE_ABI_STATES_H
#define WEIR_TRACE_ABI_STATES_H

#include "trace.h"

#define WEIR_STATES	   16 /* TCP_ESTABLISHED is 1, TCP_NEW_SYN_RECV 12 */
#define WEIR_STATE_SOCKETS 262144

/* Of a socket that lives; by its address. */
struct weir_state {
	__u64 since_ns;
	struct weir_owner owner; /* who called connect() or closed first; pid 0: not known yet */
	__u32 pad;
};

struct weir_state_event {
	__u64 ns;
	__u64 socket;	 /* address: the same for all changes of one socket */
	__u64 lasted_ns; /* in the old state; 0: since before the tracer began */
	struct weir_ends ends;
	struct weir_owner owner;
	__u8 from, to; /* TCP_* */
	__u8 timewait; /* `to` is TCP_CLOSE, but a mini-socket lives on: FIN_WAIT2 or TIME_WAIT */
	__u8 error;    /* errno of the socket, when it closes */
};

/* The summary, by change. */
struct weir_state_change {
	__u8 from, to, timewait, family;
};

struct weir_state_counts {
	__u64 changes;
	__u64 timed;		     /* of them with a known time in the old state */
	__u64 total_ns;		     /* of these */
	__u64 slot[WEIR_LOG2_SLOTS]; /* log2 of microseconds */
};

#endif
