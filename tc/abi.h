/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the TC program and the loader share: handshakes in flight and what was learnt of them.
 *
 * A change of any layout in this file must raise WEIR_TC_SCHEMA: the loader refuses pinned maps
 * of another schema. All maps here exist once per device:
 *
 *   handshakes      ARRAY of one struct weir_handshakes: the program's .bss
 *   endpoints       ARRAY of one struct weir_endpoints
 *   endpoint_stats  ARRAY of struct weir_endpoint_stats, by endpoint slot
 *   tc_counters     PERCPU_ARRAY of one struct weir_tc_counters
 *   watchers        ARRAY of one struct weir_watch
 *   events          RINGBUF of struct weir_handshake_event
 */
#ifndef WEIR_TC_ABI_H
#define WEIR_TC_ABI_H

#include <linux/types.h>

#define WEIR_TC_SCHEMA 1u

/* ---- switches: set by the loader before load, constants to the verifier ---- */

struct weir_tc_config {
	__u32 ifindex;
	__u32 netns;	       /* inode of the device's network namespace */
	__u8 ethernet;	       /* 1: packets begin with an Ethernet header; 0: with an IP header */
	__u8 handshakes;       /* 1: observe handshakes */
	__u8 redirects;	       /* 1: obey struct weir_meta left by XDP (ingress only) */
	__u8 synq_full_at_max; /* 1: kernels before 6.14: SYN queue is full at max, not above */
};

/* ---- endpoints: the service side of a handshake, seen from this host ---- */

/* Who this host was: the SYN came in (server) or went out (client). The port is the service's,
 * that is the SYN's destination port, in both roles: client ports are ephemeral. A forwarded
 * handshake has the server role on the device it enters by, the client role where it leaves. */
enum weir_role {
	WEIR_SERVER,
	WEIR_CLIENT,
	WEIR_ROLES,
};

/*
 * Open addressing in two regions. A SYN may claim a slot below WEIR_ENDPOINTS_ANSWERED, the
 * slots from there on are only for endpoints that answered, so a port scan cannot fill them.
 * Slot 0 gathers the handshakes that found no slot of their own.
 */
#define WEIR_ENDPOINTS		256
#define WEIR_ENDPOINTS_ANSWERED 128
#define WEIR_ENDPOINT_PROBES	8
/* A key is WEIR_ENDPOINT_USED | role << WEIR_ENDPOINT_ROLE_SHIFT | port; 0 is a free slot. */
#define WEIR_ENDPOINT_USED	 0x80000000u
#define WEIR_ENDPOINT_ROLE_SHIFT 16

/* Histogram of microseconds, four buckets to the octave: value v < 4 has bucket v, others
 * (log2(v) - 1) * 4 + the two bits behind the leading one. The last bucket holds the rest. */
#define WEIR_LATENCY_BUCKETS 96

struct weir_latency {
	__u64 us_sum;
	__u64 us_max;
	__u64 bucket[WEIR_LATENCY_BUCKETS];
};

/*
 * Shared by all CPUs. Every SYN that is counted has one end or is in flight:
 *   syn = established + refused + reset + unanswered + unfinished + untracked + in flight
 */
struct weir_endpoint_stats {
	__u64 syn;	       /* first SYNs, retransmits not counted */
	__u64 syn_retransmits; /* same tuple and sequence number as a SYN in flight */
	__u64 synack;	       /* first SYN-ACKs */
	__u64 synack_retransmits;
	__u64 established;	 /* third packet seen */
	__u64 refused;		 /* RST answered the SYN */
	__u64 reset;		 /* RST after the SYN-ACK, before the handshake was complete */
	__u64 unanswered;	 /* gave up: no SYN-ACK, no RST within WEIR_HANDSHAKE_TIMEOUT */
	__u64 unfinished;	 /* gave up: SYN-ACK sent, third packet never seen */
	__u64 untracked;	 /* lost its place in the table to a newer one */
	__u64 accept_queue_full; /* SYNs that the local listener drops: accept queue */
	__u64 syn_queue_full;	 /* SYNs that the local listener drops: SYN queue */
	__u64 syn_cookies;	 /* SYNs answered by a cookie: SYN queue full, or always wanted */
	struct weir_latency synack_latency; /* SYN -> SYN-ACK */
	struct weir_latency ack_latency;    /* SYN-ACK -> third packet */
};

struct weir_endpoint { /* shared by all CPUs */
	__u32 key;
	__s32 half_open; /* in flight; the table itself is the exact figure, this one makes the peak */
	__s32 half_open_peak;
	__u32 accept_queue; /* of the local listener at its last SYN */
	__u32 accept_queue_peak;
	__u32 syn_queue;
	__u32 syn_queue_peak;
	__u32 queue_max; /* limit of both queues: min(backlog of listen(2), somaxconn) */
};

struct weir_endpoints {
	struct weir_endpoint slot[WEIR_ENDPOINTS];
};

/* ---- handshakes in flight ---- */

/* ns. SYN-ACKs are repeated until 31 s, and SYNs of kernels before 6.5 too but for the last one. */
#define WEIR_HANDSHAKE_TIMEOUT 60000000000ull

enum weir_handshake_state {
	WEIR_SYN_SEEN = 1,
	WEIR_SYNACK_SEEN,
};

#define WEIR_H_CLIENT	    0x1 /* this host is the client */
#define WEIR_H_CROSSED	    0x2 /* simultaneous open: the other side sent a SYN too */
#define WEIR_H_CLIENT_ACKED 0x4 /* simultaneous open: our SYN-ACK went before theirs came */

struct weir_handshake {
	__u64 syn_ns;	  /* CLOCK_MONOTONIC of the first SYN */
	__u32 who;	  /* low half of the fingerprint; set and tag hold most of the other */
	__u32 client_isn; /* sequence number of the SYN */
	__u32 server_isn;
	__u32 synack_us;  /* from syn_ns to the first SYN-ACK */
	__u16 syn_data;	  /* bytes of payload in the SYN (TCP Fast Open) */
	__u8 endpoint;	  /* slot */
	__u8 state;	  /* enum weir_handshake_state */
	__u8 flags;	  /* WEIR_H_* */
	__u8 retransmits; /* of SYN and SYN-ACK, saturating */
	__u16 pad;
};

/*
 * The table is set-associative. A handshake's key is (local end, remote end), local being the
 * destination at ingress and the source at egress, so that all its packets have the same key,
 * and a device that sees them twice (loopback, hairpin routing) has one entry for either role.
 *
 * The tags of a set's four ways share one word: one load tells an ordinary packet that it is not
 * a handshake's third. The word is also the lock: a way is claimed and freed by compare-and-swap.
 * All sets' first ways lie together, because without a flood no others are used: less to cache.
 */
#define WEIR_HANDSHAKE_WAYS	4
#define WEIR_HANDSHAKE_SET_BITS 13
#define WEIR_HANDSHAKE_SETS	(1 << WEIR_HANDSHAKE_SET_BITS)

struct weir_handshakes {
	__u64 seed; /* of the fingerprint, drawn at the first SYN */
	__u64 pad[7];
	__u64 swept; /* sets inspected for timeouts, in all; as fast as the clock below */
	__u64 pad2[7];
	__u64 tags[WEIR_HANDSHAKE_SETS]; /* way i: bits 16 * i .. 16 * i + 15, odd; 0: free */
	struct weir_handshake way[WEIR_HANDSHAKE_WAYS][WEIR_HANDSHAKE_SETS];
};

#define WEIR_SWEEP_SHIFT 20 /* a set falls due every 2^20 ns: all of them within 8.6 s */
#define WEIR_SWEEP_BATCH 32 /* sets at most for one SYN */

/* ---- events: while somebody watches, one record for what happens to a handshake ---- */

struct weir_watch {
	__u64 until_ns; /* CLOCK_MONOTONIC; a watcher renews it, and may be killed */
	__u32 holder;	/* the watcher's process id */
	__u32 pad;
};

enum weir_event {
	WEIR_EVENT_ESTABLISHED,
	WEIR_EVENT_REFUSED,
	WEIR_EVENT_RESET,
	WEIR_EVENT_SYN_REPEATED,
	WEIR_EVENT_SYNACK_REPEATED,
	WEIR_EVENT_ACCEPT_QUEUE_FULL,
	WEIR_EVENT_SYN_QUEUE_FULL,
	WEIR_EVENT_SYN_COOKIE,
	WEIR_EVENTS,
};

struct weir_handshake_event {
	__u64 ns;	  /* CLOCK_MONOTONIC */
	__be32 client[4]; /* IPv4 as ::ffff:a.b.c.d */
	__be32 server[4];
	__be16 client_port;
	__be16 server_port;
	__u32 ifindex;
	__u32 synack_us; /* 0 when there was none */
	__u32 ack_us;
	__u32 accept_queue; /* queue events only */
	__u32 syn_queue;
	__u32 queue_max;
	__u8 role; /* enum weir_role */
	__u8 kind; /* enum weir_event */
	__u8 retransmits;
	__u8 family; /* 4 or 6 */
};

#define WEIR_EVENT_RING_BYTES (256 * 1024)

/* Of the program itself, per CPU. */
struct weir_tc_counters {
	__u64 events_lost; /* ring buffer full */
	__u64 no_endpoint; /* SYNs counted under slot 0 because the endpoint table is full */
	__u64 redirected;  /* packets transmitted on behalf of XDP */
};

_Static_assert(sizeof(struct weir_tc_config) == 12, "config");
_Static_assert(sizeof(struct weir_handshake) == 32, "handshake");
_Static_assert(sizeof(struct weir_handshakes) % 64 == 0, "whole cache lines");
_Static_assert(sizeof(struct weir_endpoint) == 32, "endpoint");
_Static_assert(sizeof(struct weir_handshake_event) == 72, "event");
_Static_assert(WEIR_ENDPOINTS <= 256, "struct weir_handshake has a byte for the slot");

#endif
