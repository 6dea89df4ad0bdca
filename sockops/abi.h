/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the socket programs and the loader share: connections between two sockets of this host.
 *
 * A change of any layout in this file must raise WEIR_SOCK_SCHEMA: the loader refuses pinned maps
 * of another schema. All maps exist once per instance:
 *
 *   sockets   SK_STORAGE of struct weir_sock: what is known of a socket
 *   births    LRU_HASH of struct weir_birth by struct weir_key: connections that were begun here
 *   ends      SOCKHASH by socket cookie: the sockets whose sends are looked at
 *   pairs     ARRAY of struct weir_pair: the two ends of a connection that may be short-cut
 *   local     LPM_TRIE of __u8 by struct weir_local_key: where connections of a scope must lead
 *   control   ARRAY of one struct weir_sock_control
 *   lives     ARRAY of struct weir_lives by port, folded: how long connections live
 *   totals    HASH of struct weir_sock_totals by struct weir_sock_port: written by the tender only
 */
#ifndef WEIR_SOCK_ABI_H
#define WEIR_SOCK_ABI_H

#include <linux/types.h>

#define WEIR_SOCK_SCHEMA 2u

/* ---- scopes: a cgroup that is attached, with its settings ---- */

#define WEIR_PORT_RANGES 16

struct weir_port_range {
	__u16 from, to; /* host byte order, both included */
};

/* Set before load, constants to the verifier: each cgroup has its own copy of the programs. */
struct weir_sock_config {
	__u64 cgroup; /* id of the cgroup */
	__u32 limit;  /* bytes that may be queued at a reader by short-cut; see weir_pair.limit */
	__u8 port_ranges; /* 0: every port */
	__u8 local;	  /* 1: connections lead to prefixes that `local` has for this scope */
	__u16 pad;
	struct weir_port_range port[WEIR_PORT_RANGES]; /* of the accepting end */
};

struct weir_local_key {
	__u32 bits; /* 64 of the cgroup + 128 of the address at most */
	__u32 cgroup[2];
	__be32 address[4]; /* IPv4 as ::ffff:a.b.c.d */
} __attribute__((packed));

#define WEIR_LOCAL_MAX 4096 /* prefixes of all scopes */

/* ---- birth: the two ends of a connection find each other ---- */

enum weir_end {
	WEIR_CONNECTED, /* active open */
	WEIR_ACCEPTED,	/* passive open */
	WEIR_ENDS,
};

/*
 * The two initial sequence numbers + 1, as both ends know them without a look at any address: they
 * pass through NAT, veth and IPv4-mapped addresses and tell apart connections of equal addresses in
 * different namespaces. They are random (RFC 6528), 2^-64 to meet by accident.
 */
struct weir_key {
	__u32 connected;
	__u32 accepted;
};

struct weir_birth {
	__u64 ns;	/* CLOCK_MONOTONIC */
	__u64 accepted; /* cookie of the end that accepted; 0: not seen yet */
	__u32 twice;	/* a second socket claimed one of the ends: nobody gets it */
	__u32 pad;
};

#define WEIR_BIRTHS 16384

/* What a connection began with, as either end tells at any later time: its sequence numbers less the
 * bytes that were acknowledged and received since. The SYN counts as such a byte where one connects. */
struct weir_origin {
	__u32 sent;
	__u32 received;
};

#define WEIR_SCOPES_MAX	 1024
#define WEIR_ORIGINS_MAX 65536

/*
 * Connections that soon end are not worth what remembering them costs. Counted where they begin, by
 * the port they lead to. The tender says up to where a port's were seen to last: WEIR_BURST more are
 * remembered until it has looked again, then one in WEIR_SAMPLE, so that a change is seen.
 */
struct weir_lives {
	__u32 born;   /* remembered */
	__u32 lasted; /* of them, until they were observed */
	__u32 skipped;
	__u32 good; /* `born` up to which they lasted */
};

#define WEIR_LIVES  4096 /* ports of equal lower bits share one */
#define WEIR_BURST  1024
#define WEIR_SAMPLE 64

/* ---- what is known of a socket ---- */

enum weir_sock_state {
	WEIR_SOCK_BORN,	    /* known, not judged */
	WEIR_SOCK_OBSERVED, /* evidence is gathered */
	WEIR_SOCK_REFUSED,  /* stays on TCP for `reason`; observed anew from again_ns on */
	WEIR_SOCK_JOINED,   /* in `ends`, pair and end are valid */
};

/* What was seen in the calls on a socket: each keeps it on TCP. */
#define WEIR_SAW_BLOCKING 0x01 /* a read that may sleep in recvmsg */
#define WEIR_SAW_WAITALL  0x02 /* MSG_WAITALL */
#define WEIR_SAW_OOB	  0x04 /* MSG_OOB, sent or asked for */
#define WEIR_SAW_TRUNC	  0x08 /* MSG_TRUNC */
#define WEIR_SAW_ZEROCOPY 0x10 /* MSG_ZEROCOPY */

#define WEIR_NEVER (~0ull)

struct weir_evidence {	/* since the socket is observed; by the calls on it, in process context */
	__u64 received; /* bytes that recvmsg() gave out, MSG_PEEK not counted */
	__u64 sent;	/* bytes that sendmsg(), sendfile()... took */
	__u32 recvs;	/* calls that gave out something */
	__u32 sends;
	__u32 empty;	/* recvmsg() said EAGAIN */
	__u32 turns;	/* receives that came after a send */
	__u32 answered; /* sends at the last turn */
	__u32 copied;	/* copied_seq when it began */
	__u32 saw;	/* WEIR_SAW_* */
	__u32 odd; /* recvmsg() ended and more or less was gone than it and those before gave out */
	__u64 began_ns;
};

struct weir_sock {
	__u64 cookie;
	__u64 cgroup; /* the scope */
	__u64 born_ns;
	struct weir_key key;
	__u32 limit;
	__u32 pair;	/* index */
	__u16 port;	/* the service's as this end knows it: own of the accepting end, the peer's
			 * of the connecting one; host byte order */
	__u8 end;	/* enum weir_end */
	__u8 state;	/* enum weir_sock_state */
	__u8 confirmed; /* the other end was seen */
	__u8 error;	/* errno of the last try to join */
	__u8 reason;	/* enum weir_refusal of the last refusal */
	__u8 refusals;	/* in a row, releases too */
	__u32 refused;	/* bits of all reasons so far */
	__u32 segs;	/* with data, in and out, when it was refused */
	__u64 again_ns; /* CLOCK_MONOTONIC; WEIR_NEVER */
	__u64 joined_ns;
	struct weir_evidence evidence;
};

/* ---- pairs ---- */

enum weir_pair_state {
	WEIR_PAIR_FREE,
	WEIR_PAIR_JOINING, /* its sockets are being put into `ends`; all sends go by TCP */
	WEIR_PAIR_ON,	   /* sends are short-cut */
	WEIR_PAIR_LEAVING, /* sends go by TCP until both sockets can be taken out of `ends` */
};

/*
 * One direction, by the end that sends; written under that socket's lock. Messages are what
 * sendmsg() was called with, in parts of the size the kernel cuts it to (MAX_SKB_FRAGS pages).
 */
struct weir_way {
	__u64 messages; /* short-cut */
	__u64 bytes;
	__u64 tcp_bytes; /* sent by TCP, for one of the reasons below */
	__u64 gated;	 /* messages: bytes sent by TCP before were not read yet */
	__u64 spilled;	/* messages: the reader had enough unread, or could not take them at once */
	__u64 streamed; /* messages: many small ones without a word from the other side */
	__u32 run;	/* small messages since the other side said something */
	__u32 heard;	/* messages of the other side at that time */
	__u32 queued;	/* messages since the reader's queue was last seen empty */
	__u32 missed;	/* messages: the other socket was gone, or its connection over */
};

struct weir_pair {
	__u64 cookie[WEIR_ENDS];
	__u64 sock[WEIR_ENDS]; /* address of struct sock; good while its cookie is ours */
	__u64 cgroup;	       /* the accepting end's scope */
	__u64 since_ns;	       /* ON; 0: never was */
	__u32 state;	       /* enum weir_pair_state */
	__u32 limit;	       /* bytes queued unread at a reader, above which TCP takes over */
	__u16 port;	       /* the accepting end's */
	__u8 quiet[WEIR_ENDS]; /* 1: while leaving, this end was seen outside of any send */
	__u32 pad;
	struct weir_way way[WEIR_ENDS]; /* from this end */
};

#define WEIR_PAIRS_DEFAULT 4096
#define WEIR_PAIRS_MAX	   65536

#define WEIR_QUEUED_MAX 512 /* messages queued at a reader: each takes 712 bytes */
#define WEIR_RUN_MAX	64  /* small messages in a row: TCP does it better */
#define WEIR_LARGE \
	(32 * 1024) /* bytes of a message for which the short cut pays in a stream as well */
#define WEIR_LIMIT_DEFAULT (1024 * 1024) /* bytes */
#define WEIR_LIMIT_MIN	   (64 * 1024)
#define WEIR_LIMIT_MAX	   (64 * 1024 * 1024)

struct weir_sock_control {
	__u32 schema;
	__u32 on;	  /* 0: every send goes by TCP */
	__u64 births;	  /* connections of which both ends were seen */
	__u64 generation; /* raised by who wants the tender to end */
	__u64 started_ns; /* CLOCK_MONOTONIC of the first attach */
	__u64 attached;	  /* times a cgroup was attached: connections from before are looked for */
	__u32 tender;	  /* process id */
	__u32 books;	  /* odd while what a pair did goes over to `totals` */
};

/* ---- totals of what is gone, by the accepting end's scope and port ---- */

enum weir_refusal {
	WEIR_R_IDLE,	    /* hardly any traffic */
	WEIR_R_ONE_WAY,	    /* small messages one way */
	WEIR_R_BLOCKING,    /* a reader that sleeps in recvmsg() */
	WEIR_R_OTHER_READS, /* bytes read by splice(), a zero-copy receive... */
	WEIR_R_SPINNING,    /* a reader that asks all the time */
	WEIR_R_CALLS,	    /* MSG_WAITALL, MSG_OOB, MSG_TRUNC */
	WEIR_R_ZEROCOPY,    /* SO_ZEROCOPY */
	WEIR_R_ULP,	    /* kernel TLS, MPTCP... */
	WEIR_R_LOWAT,	    /* SO_RCVLOWAT */
	WEIR_R_BUSY_POLL,   /* SO_BUSY_POLL */
	WEIR_R_OPTIONS,	    /* what only packets can do: timestamps, pacing, a socket filter... */
	WEIR_R_SETTINGS,    /* its cgroup's --port or --local leave it out */
	WEIR_R_URGENT_PORT, /* a protocol of urgent data: ftp, telnet, rlogin, rsh */
	WEIR_R_OTHER_MAP,   /* another program's sockmap has it */
	WEIR_R_FULL,	    /* no room in `pairs` */
	WEIR_R_TWICE,	    /* more than two sockets claim to be its ends */
	WEIR_R_UNREADY,	    /* never was all of it read when it was to join */
	WEIR_REFUSALS,
};

struct weir_sock_port {
	__u64 cgroup;
	__u32 port; /* 0: all for which there was no room */
	__u32 pad;
};

#define WEIR_SOCK_PORTS 1024

struct weir_sock_totals {
	__u64 pairs;	/* that were short-cut and are not any more */
	__u64 released; /* of them, given back to TCP while open */
	struct weir_way way[WEIR_ENDS];
	__u64 refused[WEIR_REFUSALS]; /* connections, each counted once a reason */
};

/* ---- one line of the walk over all known sockets ---- */

#define WEIR_SOCK_NONBLOCK 0x01 /* O_NONBLOCK */
#define WEIR_SOCK_ZEROCOPY 0x02 /* SO_ZEROCOPY */
#define WEIR_SOCK_ULP	   0x04
#define WEIR_SOCK_LOWAT	   0x08	 /* SO_RCVLOWAT above 1 */
#define WEIR_SOCK_BUSY	   0x10	 /* SO_BUSY_POLL */
#define WEIR_SOCK_URGENT   0x20	 /* urgent data is there */
#define WEIR_SOCK_UNREAD   0x40	 /* bytes of TCP wait in the receive queue */
#define WEIR_SOCK_OPTIONS  0x100 /* see sockops/walk.h */
#define WEIR_SOCK_TWICE	   0x80	 /* weir_birth.twice */
#define WEIR_SOCK_DETACHED 0x200 /* its cgroup is not attached any more */

struct weir_sock_record {
	struct weir_sock sock;
	__u64 ns;	 /* CLOCK_MONOTONIC */
	__u64 netns;	 /* inode */
	__be32 local[4]; /* IPv4 as ::ffff:a.b.c.d */
	__be32 remote[4];
	__u16 local_port; /* host byte order, both */
	__u16 remote_port;
	__u16 family;
	__u8 tcp_state;
	__u8 pad;
	__u32 flags; /* WEIR_SOCK_* */
	__u32 copied_seq;
	__u32 write_seq;
	__u32 rcv_nxt;
	__u32 snd_una;
	__u32 queued;	  /* sk_rmem_alloc: bytes unread, with what the kernel needs around them */
	__u64 bytes_sent; /* by TCP */
	__u64 bytes_received;
	__u32 data_segs_in;
	__u32 data_segs_out;
};

/* What to do in a walk. */
struct weir_walk {
	__u64 observe_ns; /* sockets that old and with traffic are observed from now on; 0: none */
	__u64 forget_ns; /* those whose other end was not seen for so long are forgotten; 0: none */
	__u32 all;	 /* 1: tell of those that nothing is known of yet as well */
	__u32 obey;	 /* 1: do to the sockets what `orders` says */
	__u32 anew;	 /* 1: begin all observations again */
	__u32 pad;
};

enum weir_order_kind {
	WEIR_ORDER_JOIN,
	WEIR_ORDER_REFUSE,
};

struct weir_order { /* by socket cookie */
	__u32 kind;
	__u32 pair; /* index */
	__u32 end;
	__u32 reason;
	__u64 again_ns;
};

#define WEIR_OBSERVE_SEGS 4		   /* with data, in and out: less is not worth a look */
#define WEIR_AGAIN_SEGS	  8		   /* since it was refused */
#define WEIR_REST	  1000000000ull	   /* ns on TCP after a release, for each refusal so far */
#define WEIR_WENT_WELL	  (10 * WEIR_REST) /* in `ends`: what was refused before is forgotten */

_Static_assert(sizeof(struct weir_local_key) == 28, "key");
_Static_assert(sizeof(struct weir_evidence) == 56, "evidence");
_Static_assert(sizeof(struct weir_way) == 64, "a cache line");
_Static_assert(sizeof(struct weir_pair) == 192, "three cache lines");
_Static_assert(sizeof(struct weir_sock_config) == 80, "config");

#endif
