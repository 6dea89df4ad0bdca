/* SPDX-License-Identifier: GPL-2.0 */
/* Sockets as an iterator finds them: mini-sockets too, which no tracepoint tells of. */
#ifndef WEIR_TRACE_ABI_SOCKETS_H
#define WEIR_TRACE_ABI_SOCKETS_H

#include "trace.h"

/* TCP_ESTABLISHED is 1: bit n of a mask is state n. */
#define WEIR_STATE_BIT(state) (1u << (state))

struct weir_socket {
	struct weir_ends ends;
	__u64 address; /* of the socket, as tracepoints know it; of mini-sockets their own */
	__u64 cgroup;  /* id; 0: a mini-socket */
	__u64 bytes_acked, bytes_received; /* of the applications: without SYN and FIN */
	__u64 bytes_sent, bytes_retrans;   /* bytes_retrans is a part of bytes_sent */
	__u32 segs_out, data_segs_out;
	__u32 retransmits; /* in all */
	__u32 srtt_us;	   /* not multiplied */
	__u32 rtt_min_us;
	__u32 accept_queue, accept_max; /* of a listener */
	__u32 syn_queue, syn_young;
	__u32 drops; /* sk_drops; of a listener */
	__u32 uid;
	__u8 state; /* of TIME_WAIT mini-sockets the one they stand in for: FIN_WAIT2 or TIME_WAIT */
	__u8 mini;  /* TIME_WAIT or half-open: no whole socket */
	__u8 owned; /* a file has it: it is not waiting in an accept queue, nor orphaned */
	__u8 role;  /* enum weir_side, of a connection */
};

_Static_assert(sizeof(struct weir_socket) == sizeof(struct weir_ends) + 48 + 4 * 11 + 4,
	       "no holes");

#endif
