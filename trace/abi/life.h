/* SPDX-License-Identifier: GPL-2.0 */
/* tcp life, tcp top: what a connection was when it ends. */
#ifndef WEIR_TRACE_ABI_LIFE_H
#define WEIR_TRACE_ABI_LIFE_H

#include "trace.h"

#define WEIR_LIFE_SOCKETS 131072
#define WEIR_LIFE_KEYS	  1024

/* Of a connection that lives; by its address. */
struct weir_life {
	__u64 since_ns; /* ESTABLISHED; 0: before the tracer began */
	struct weir_owner owner;
	__u8 role; /* enum weir_side */
	__u8 pad[3];
};

enum weir_end {
	WEIR_END_FIN,	   /* closed by both, or by us and left to a mini-socket */
	WEIR_END_RST_SENT, /* closed with something unread, SO_LINGER 0, no memory... */
	WEIR_END_RST_RECEIVED,
	WEIR_END_RST, /* closed here, then one came, or data that the kernel answered by one */
	WEIR_END_TIMEOUT,
	WEIR_END_ERROR, /* another errno */
	WEIR_ENDS,
};

enum weir_closer {
	WEIR_CLOSER_UNKNOWN,
	WEIR_CLOSER_LOCAL,
	WEIR_CLOSER_PEER,
	WEIR_CLOSERS,
};

struct weir_life_event {
	__u64 ns;
	__u64 since_ns; /* as in struct weir_life */
	__u64 socket;
	__u64 sent, received; /* bytes of the applications; sent: acknowledged by the peer */
	struct weir_ends ends;
	struct weir_owner owner;
	__u32 segs_out, data_segs_out;
	__u32 retransmits;
	__u32 srtt_us, rtt_min_us; /* 0: never measured */
	__u8 role;
	__u8 end;    /* enum weir_end */
	__u8 closer; /* who closed first: enum weir_closer */
	__u8 error;  /* errno */
	__u32 pad;
};

_Static_assert(sizeof(struct weir_life) == 32, "no holes");
_Static_assert(sizeof(struct weir_life_event) == 144, "no holes");

/* The summary. */
struct weir_life_key {
	__u16 port; /* the server's; 0: not known, or of those for which the map had no room */
	__u8 role;
	__u8 pad;
};

struct weir_life_counts {
	__u64 ended;
	__u64 sent, received;
	__u64 segs_out, data_segs_out, retransmits;
	__u64 end[WEIR_ENDS];
	__u64 closer[WEIR_CLOSERS];
	__u64 timed; /* of them with a known duration */
	__u64 total_ns;
	__u64 slot[WEIR_LOG2_SLOTS]; /* log2 of microseconds */
};

#endif
