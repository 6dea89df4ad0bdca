/* SPDX-License-Identifier: GPL-2.0 */
/* tcp retransmit: what is sent again, and why. */
#ifndef WEIR_TRACE_ABI_RETRANSMIT_H
#define WEIR_TRACE_ABI_RETRANSMIT_H

#include "by.h"

#define WEIR_RETRANSMIT_ROWS	16384 /* those that were not used for longest make room */
#define WEIR_RETRANSMIT_SOCKETS 65536

/* Why: as the kernel's own counters tell them apart. */
enum {
	WEIR_RETRANSMIT_SYN,
	WEIR_RETRANSMIT_SYNACK,
	WEIR_RETRANSMIT_RTO,	    /* the timer ran out */
	WEIR_RETRANSMIT_FAST,	    /* ACKs tell of a loss: TCPFastRetrans */
	WEIR_RETRANSMIT_SLOW_START, /* the rest of what was out at an RTO: TCPSlowStartRetrans */
	WEIR_RETRANSMIT_TLP,	    /* tail loss probe */
	WEIR_RETRANSMIT_OTHER,
	WEIR_RETRANSMIT_KINDS,
};

struct weir_retransmit_event {
	__u64 ns;
	__u64 socket; /* address; of a SYN-ACK the listener's */
	struct weir_ends ends;
	__u64 bytes_sent, bytes_retrans; /* of the connection, so far */
	__u32 inode;			 /* of the socket's file; 0: no process has it */
	__u32 sequence;
	__u32 bytes;	/* sent again */
	__u32 segments; /* the same */
	__u32 rto;	/* ticks */
	__u32 srtt_us;	/* 0: not measured yet */
	__s32 error;	/* of the attempt, 0: it was sent */
	__u8 kind;
	__u8 state;	 /* TCP_* */
	__u8 congestion; /* TCP_CA_* */
	__u8 row;	 /* how many timeouts in a row: 1 is the first; 0: it was none */
};

struct weir_retransmit_counts {
	__u64 segments[WEIR_RETRANSMIT_KINDS];
	__u64 failed; /* attempts that were not sent */
	__u64 bytes_sent,
		bytes_retrans; /* by the connections that sent something again, over their lives */
	__u64 born_ns;	       /* no counter: the row has counted since then */
};

/* Of a connection that sent something again; by its address. */
struct weir_retransmit_socket {
	struct weir_by_key key;
	__u64 bytes_sent, bytes_retrans; /* that are in its row */
	__u32 first_sequence;		 /* its own: no later socket at this address has the same */
	__u32 pad;
};

_Static_assert(sizeof(struct weir_retransmit_event) == 16 + sizeof(struct weir_ends) + 16 + 28 + 4,
	       "no holes");
_Static_assert(sizeof(struct weir_retransmit_socket) == 56, "no holes");

#endif
