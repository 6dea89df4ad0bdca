/* SPDX-License-Identifier: GPL-2.0 */
/* What each socket has moved from one look to the next: those that live as the iterator finds them, and
 * those that ended in between as their last event told. */
#ifndef WEIR_TCP_TOP_SOCKETS_H
#define WEIR_TCP_TOP_SOCKETS_H

#include "loader/trace/run.h"
#include "trace/abi/life.h"
#include "trace/abi/sockets.h"

/* Of a socket since the last look. */
struct top_use {
	struct weir_ends ends;
	struct weir_owner owner;
	__u32 srtt_us; /* 0: never measured */
	__u64 socket;
	__u64 sent, received;
	__u64 segs_out, retransmits;
	__u8 role;
	bool ended;
};

struct top_sockets;

/* From now on. 0 or < 0 with a fail() line. */
int top_sockets_open(struct top_sockets **sockets, struct trace_run *run);
void top_sockets_close(struct top_sockets *sockets);
/* What was used since the last look, in an array that the caller may reorder and that stays valid until the
 * next; their count, or < 0 with a fail() line. */
long top_sockets_look(struct top_sockets *sockets, struct top_use **uses);
/* Takes the events of those that ended, for the next look. 0 or < 0 with a fail() line. */
int top_sockets_take_ended(struct top_sockets *sockets);

#endif
