/* SPDX-License-Identifier: GPL-2.0 */
/* tcp connect: how long connections take to be made, phase by phase, and why some are not. */
#ifndef WEIR_TRACE_ABI_CONNECT_H
#define WEIR_TRACE_ABI_CONNECT_H

#include "trace.h"

#define WEIR_CONNECT_SOCKETS   32768 /* on their way: none stays here once it is made */
#define WEIR_CONNECT_ATTEMPTS  1024  /* threads, before the first SYN */
#define WEIR_CONNECT_ENDPOINTS 4096

enum {
	WEIR_CONNECT_ACTIVE = 1,
	WEIR_CONNECT_PASSIVE,
};

/* Behind struct weir_trace_config. */
struct weir_connect_settings {
	__u32 role; /* WEIR_CONNECT_*; 0: both */
	__u32 pad;
};

enum weir_connect_result {
	WEIR_CONNECT_MADE, /* established, or accepted */
	WEIR_CONNECT_REFUSED,
	WEIR_CONNECT_TIMED_OUT,
	WEIR_CONNECT_UNREACHABLE,
	WEIR_CONNECT_FORBIDDEN,
	WEIR_CONNECT_NO_PORT,  /* all local ports are taken for this destination */
	WEIR_CONNECT_IN_USE,   /* the port that the socket is bound to is, for this destination */
	WEIR_CONNECT_CLOSED,   /* by who called connect() */
	WEIR_CONNECT_RESET,    /* before it was accepted */
	WEIR_CONNECT_LISTENER, /* was closed before it was accepted */
	WEIR_CONNECT_FAILED,   /* anything else: the error tells */
	WEIR_CONNECT_RESULTS,
};

enum weir_connect_phase {
	WEIR_CONNECT_PORT_SEARCH,
	WEIR_CONNECT_HANDSHAKE,
	WEIR_CONNECT_ACCEPT_WAIT,
	WEIR_CONNECT_PHASES,
};

/* What has been told so far of a socket on its way; by its address. */
struct weir_connect {
	__u64 began_ns; /* connect(), or the end of the handshake */
	__u64 port_ns;	/* a local port was found */
	__u64 handshake_ns;
	struct weir_ends ends;
	struct weir_owner owner;
	__u16 retransmits; /* of SYNs, or of SYN-ACKs */
	__u8 role;
	__u8 handshake; /* is known */
	__u8 bound;	/* there is no port to be searched for */
	__u8 early;	/* accepted before the handshake ended: Fast Open */
	__u8 pad[6];
};

/* A thread in connect(), before the first SYN; by thread and process. */
struct weir_connect_attempt {
	__u64 began_ns;
	__u64 socket;  /* struct socket */
	__u64 address; /* of the process: struct sockaddr */
};

struct weir_connect_event {
	__u64 ns;
	__u64 total_ns;
	__u64 phase_ns[WEIR_CONNECT_PHASES];
	struct weir_ends ends;
	struct weir_owner owner;
	__u16 error; /* errno */
	__u16 retransmits;
	__u8 role;
	__u8 result;
	__u8 known;   /* 1 << phase */
	__u8 at_most; /* the wait in the accept queue ended before, nobody knows when */
	__u32 pad;
};

/* The summary, by the server's port. */
struct weir_connect_endpoint {
	__u64 netns_cookie;
	__u32 netns;
	__u16 port;
	__u8 role;
	__u8 pad;
};

struct weir_connect_times {
	__u64 total_us;
	__u64 slot[WEIR_LOG2_SLOTS]; /* log2 of microseconds */
};

struct weir_connect_counts {
	__u64 results[WEIR_CONNECT_RESULTS];
	__u64 retransmitted; /* of those that were made */
	struct weir_connect_times phase[WEIR_CONNECT_PHASES];
};

_Static_assert(sizeof(struct weir_connect) == 112, "a layout that is pinned");
_Static_assert(sizeof(struct weir_connect_attempt) == 24, "a layout that is pinned");
_Static_assert(sizeof(struct weir_connect_event) == 128, "no holes");

#endif
