/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the TC program and the loader share: handshakes in flight and what was learnt of them.
 *
 * A change of any layout in this file must raise WEIR_TC_SCHEMA: the loader refuses pinned maps
 * of another schema. All maps here exist once per device.
 */
#ifndef WEIR_TC_ABI_H
#define WEIR_TC_ABI_H

#include <linux/types.h>

#define WEIR_TC_SCHEMA 1u

/* ---- switches: set by the loader before load, constants to the verifier ---- */

struct weir_tc_config {
	__u32 ifindex;
	__u8 ethernet;	      /* 1: packets begin with an Ethernet header; 0: with an IP header */
	__u8 handshakes;      /* 1: observe handshakes */
	__u8 redirects;	      /* 1: obey struct weir_meta left by XDP (ingress only) */
	__u8 events;	      /* 1: a ring buffer record for every handshake that ends */
	__u8 synq_full_at_max; /* 1: kernels before 6.14: SYN queue is full at max, not above */
	__u8 pad[3];
};

/* ---- endpoints: the service side of a handshake, seen from this host ---- */

/* Who this host was: the SYN came in (server) or went out (client). The port is the service's,
 * that is the SYN's destination port, in both roles: client ports are ephemeral. */
enum weir_role {
	WEIR_SERVER,
	WEIR_CLIENT,
	WEIR_ROLES,
};

#define WEIR_ENDPOINTS	      256 /* slot 0 gathers those that found no slot of their own */
#define WEIR_ENDPOINT_PROBES  8
#define WEIR_ENDPOINT_USED    0x80000000u
#define WEIR_ENDPOINT_CLIENT  0x00010000u
/* A key is WEIR_ENDPOINT_USED | role ? WEIR_ENDPOINT_CLIENT : 0 | port; 0 is a free slot. */

/* Histogram of microseconds, four buckets to the octave: value v < 4 has bucket v, others
 * (log2(v) - 1) * 4 + the two bits behind the leading one. The last bucket holds the rest. */
#define WEIR_LATENCY_BUCKETS 96

struct weir_endpoint_stats { /* per CPU */
	__u64 syn;		 /* first SYNs, retransmits not counted */
	__u64 syn_retransmits;	 /* same tuple and sequence number as a SYN in flight */
	__u64 synack;		 /* first SYN-ACKs */
	__u64 synack_retransmits;
	__u64 established;	 /* third packet seen */
	__u64 refused;		 /* RST answered the SYN */
	__u64 reset;		 /* RST after the SYN-ACK, before the handshake was complete */
	__u64 unanswered;	 /* gave up: no SYN-ACK, no RST within WEIR_HANDSHAKE_TIMEOUT */
	__u64 unfinished;	 /* gave up: SYN-ACK sent, third packet never seen */
	__u64 untracked;	 /* SYN that found its set full of younger ones */
	__u64 accept_queue_full; /* SYNs that the local listener is going to drop: accept queue */
	__u64 syn_queue_full;	 /* SYNs that the local listener is going to drop: SYN queue */
	__u64 syn_cookies;	 /* SYN queue full, answered by a cookie instead */
	__u64 no_listener;	 /* SYN to an address of this host where nothing listens */
	__u64 synack_us_sum;	 /* SYN -> SYN-ACK, sum over its histogram */
	__u64 ack_us_sum;	 /* SYN-ACK -> ACK */
	__u64 synack_us[WEIR_LATENCY_BUCKETS];
	__u64 ack_us[WEIR_LATENCY_BUCKETS];
};

struct weir_endpoint { /* shared by all CPUs */
	__u32 key;
	__s32 half_open;      /* begun, neither complete nor given up; approximate under eviction */
	__s32 half_open_peak;
	__u32 accept_queue;   /* of the local listener at its last SYN */
	__u32 accept_queue_peak;
	__u32 syn_queue;
	__u32 syn_queue_peak;
	__u32 queue_max;      /* limit of both queues: min(backlog of listen(2), somaxconn) */
};

/* ---- handshakes in flight ---- */

#define WEIR_HANDSHAKE_TIMEOUT 60000000000ull /* ns; tcp_synack_retries 5 end after 63 s */

enum weir_handshake_state {
	WEIR_SYN_SEEN = 1,
	WEIR_SYNACK_SEEN,
};

struct weir_handshake {
	__u64 who;	  /* fingerprint of the tuple, client first; 0: free */
	__u64 syn_ns;	  /* CLOCK_MONOTONIC of the first SYN */
	__u32 client_isn; /* sequence number of the SYN */
	__u32 server_isn;
	__u32 synack_us;  /* from syn_ns to the first SYN-ACK */
	__u16 endpoint;	  /* slot */
	__u8 state;	  /* enum weir_handshake_state */
	__u8 retransmits; /* of SYN and SYN-ACK, saturating */
};

#define WEIR_HANDSHAKE_WAYS 4
#define WEIR_HANDSHAKE_SETS 8192

struct weir_handshake_set {
	struct weir_handshake way[WEIR_HANDSHAKE_WAYS];
};

/* ---- events: one record for each handshake that ends or meets a full queue ---- */

enum weir_handshake_end {
	WEIR_END_ESTABLISHED,
	WEIR_END_REFUSED,
	WEIR_END_RESET,
	WEIR_END_ACCEPT_QUEUE_FULL,
	WEIR_END_SYN_QUEUE_FULL,
	WEIR_END_SYN_COOKIE,
	WEIR_ENDS,
};

struct weir_handshake_event {
	__u64 ns;	   /* CLOCK_MONOTONIC */
	__u8 client[16];   /* IPv4 as ::ffff:a.b.c.d */
	__u8 server[16];
	__be16 client_port;
	__be16 server_port;
	__u32 ifindex;
	__u32 synack_us;   /* 0 when there was none */
	__u32 ack_us;
	__u32 accept_queue; /* queue events only */
	__u32 syn_queue;
	__u32 queue_max;
	__u8 role;	   /* enum weir_role */
	__u8 end;	   /* enum weir_handshake_end */
	__u8 retransmits;
	__u8 family;	   /* 4 or 6 */
};

#define WEIR_EVENT_RING_BYTES (256 * 1024)

/* Counters of the program itself, per CPU. */
enum weir_tc_counter {
	WEIR_TC_EVENTS_LOST, /* ring buffer full */
	WEIR_TC_EVICTED,     /* a young handshake gave its place to a newer one */
	WEIR_TC_NO_ENDPOINT, /* SYN counted under slot 0 because the endpoint table is full */
	WEIR_TC_REDIRECTED,  /* packets transmitted on behalf of XDP */
	WEIR_TC_REDIRECT_FAILED,
	WEIR_TC_COUNTERS,
};

_Static_assert(sizeof(struct weir_tc_config) == 12, "config");
_Static_assert(sizeof(struct weir_handshake) == 32, "handshake");
_Static_assert(sizeof(struct weir_handshake_set) == 128, "two cache lines");
_Static_assert(sizeof(struct weir_endpoint) == 32, "endpoint");
_Static_assert(sizeof(struct weir_handshake_event) == 72, "event");

#endif
