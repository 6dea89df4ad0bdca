/* SPDX-License-Identifier: GPL-2.0 */
/* tcp queue: what became of each SYN and of each last ACK of a handshake, per listener. */
#ifndef WEIR_TRACE_ABI_QUEUE_H
#define WEIR_TRACE_ABI_QUEUE_H

#include "trace.h"

#define WEIR_QUEUE_LISTENERS 2048
#define WEIR_QUEUE_WAITING   32768 /* clients; the longest silent gives way */
#define WEIR_QUEUE_SPACES    65536 /* network namespaces */
/* A client that is silent for so long, and for two and a half times the gap before, has given up: SYNs come
 * a second after the first at the latest, and the gaps between them at most double. */
#define WEIR_QUEUE_SILENT_NS 4000000000ull
#define WEIR_QUEUE_LINES     1000 /* at most, a second and CPU */

/* What became of a packet, and what else is counted of a listener. */
enum weir_queue_count {
	WEIR_Q_ADMITTED,    /* SYN: a request is in the SYN queue */
	WEIR_Q_COOKIE,	    /* SYN: answered by a cookie, not queued */
	WEIR_Q_SYN_ACCEPT,  /* SYN dropped: accept queue full */
	WEIR_Q_SYN_SYN,	    /* SYN dropped: SYN queue full, no cookies */
	WEIR_Q_SYN_RESERVE, /* SYN dropped: last quarter of tcp_max_syn_backlog, no cookies */
	WEIR_Q_SYN_OTHER,   /* SYN dropped although there was room */
	WEIR_Q_ACK,	    /* last ACK of a handshake dropped: accept queue full */
	WEIR_Q_COOKIE_ACK,  /* the same, of a handshake by cookie */
	WEIR_Q_PACKETS,

	WEIR_Q_AGAIN = WEIR_Q_PACKETS, /* SYN of a request that is in the SYN queue */
	WEIR_Q_REFUSED,	  /* SYN: a filter of the socket or its cgroup was against it */
	WEIR_Q_BOTH_FULL, /* of WEIR_Q_SYN_ACCEPT: there would have been a cookie */
	WEIR_Q_RESET,	  /* of WEIR_Q_ACK: answered by RST (tcp_abort_on_overflow) */
	WEIR_Q_SYNACKS,	  /* SYN-ACKs sent again */
	WEIR_Q_OWN_SYNS,  /* SYNs that sockets of the namespace sent again: of no listener */
	WEIR_Q_GAVE_UP,	  /* clients that were dropped and whose ends came again much later */
	WEIR_Q_COUNTS,

	WEIR_Q_CAME_IN = WEIR_Q_COUNTS, /* in lines only: a client that was dropped is in */
};

/* By what sockets are told apart: those of an SO_REUSEPORT group are one. As an iterator has it. All
 * zero but for the namespace: WEIR_Q_OWN_SYNS. */
struct weir_queue_listener {
	__be32 address[4];
	__u64 cookie; /* of the namespace: its inode may have been another's before */
	__u32 netns;
	__u16 port;
	__u8 family; /* of the socket */
	__u8 pad;
};

/* Nothing but counters, and from wait_most_ns on marks: the highest of all CPUs, and of a single socket
 * when there are several. */
struct weir_queue_counts {
	__u64 count[WEIR_Q_COUNTS];
	__u64 waited;			       /* clients that got in after a drop */
	__u64 waited_ns;		       /* all of them together */
	__u64 slot[WEIR_LOG2_SLOTS];	       /* log2 of microseconds */
	__u64 wait_most_ns, wait_least_not_ns; /* the latter with all bits turned over */
	__u64 accept_most, syn_most;	       /* depths, as SYNs found them */
	__u64 limit_most;
};

/* A client between its first dropped packet and the one that got it in; by its ends. */
struct weir_queue_waiting {
	__u64 first_ns, last_ns;
	__u64 gap_ns; /* between the last two */
	struct weir_queue_listener listener;
	__u64 drops;
};

/* The packet for a listener that a CPU is at, or was at last: when `open`, nothing has told what became
 * of it; a SYN that stays so was not admitted. */
struct weir_queue_slot {
	__u64 ns;
	__u64 skb;    /* address */
	__u64 socket; /* the listener's */
	struct weir_ends ends;
	struct weir_queue_listener listener;
	__u32 accept_queue, syn_queue, limit;
	__u32 drops;	/* sk_drops before */
	__u64 lines_ns; /* when the second began in which */
	__u32 lines;	/* so many were told */
	__u8 open;
	__u8 expected;	/* WEIR_Q_* by the depths */
	__u8 otherwise; /* what became of a SYN that is not admitted */
	__u8 both_full;
	__u8 reset;
	__u8 pad[3];
};

struct weir_queue_event {
	__u64 ns;
	struct weir_ends ends;
	struct weir_queue_listener listener;
	__u64 waited_ns;		      /* since its first drop */
	__u32 drops;			      /* of this client so far */
	__u32 accept_queue, syn_queue, limit; /* before the packet; of WEIR_Q_CAME_IN not known */
	__u8 what;			      /* WEIR_Q_* */
	__u8 reset;
	__u8 pad[6];
};

/* The kernel's counters that must agree with these. */
enum weir_queue_mib {
	WEIR_MIB_LISTEN_OVERFLOWS,
	WEIR_MIB_LISTEN_DROPS,
	WEIR_MIB_REQQ_DROP,
	WEIR_MIB_REQQ_COOKIES,
	WEIR_MIB_COOKIES_SENT,
	WEIR_MIB_SYN_RETRANS,
	WEIR_MIBS,
};

/* Of a namespace when the tracer began, by its cookie. One that came later has none. The tracer's own
 * sums were read before and after. */
struct weir_queue_space {
	__u64 kernel[WEIR_MIBS];
	__u64 before[WEIR_MIBS], after[WEIR_MIBS];
};

_Static_assert(sizeof(struct weir_queue_listener) == 32, "a key without holes");

#endif
