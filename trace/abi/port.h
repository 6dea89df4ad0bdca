/* SPDX-License-Identifier: GPL-2.0 */
/* tcp port: sockets of each local service, and local ports in use towards each destination. */
#ifndef WEIR_TRACE_ABI_PORT_H
#define WEIR_TRACE_ABI_PORT_H

#include "trace.h"

#define WEIR_PORT_SOCKETS      262144
#define WEIR_PORT_SERVICES     16384
#define WEIR_PORT_DESTINATIONS 16384
/* TIME_WAITs by the time they began: slots of 2^32 ns, 4.3 s, of which TIME_WAIT lasts 14. */
#define WEIR_PORT_TICK_SHIFT 32
#define WEIR_PORT_TICKS	     16

struct weir_port_service {
	__u64 netns_cookie;
	__u32 netns;
	__u16 port;
	__u16 pad;
};

struct weir_port_service_counts {
	__u64 listeners;
	__u64 established, peak;
	__u64 connections; /* that were established, since the tracer began */
};

/* What a local port is taken for: the kernel may use one port for many of these at once. */
struct weir_port_destination {
	__be32 local[4];
	__be32 remote[4];
	__u32 netns;
	__u16 port; /* remote */
	__u8 family;
	__u8 pad;
	__u64 netns_cookie;
};

struct weir_port_destination_counts {
	__u64 in_use, peak; /* sockets with a port that the kernel chose, from SYN_SENT to CLOSE */
	__u64 bound;	    /* the same, with a port that bind() named */
	__u64 established;  /* of both */
	/* Since the tracer began. */
	__u64 attempts;	   /* in_use, ever */
	__u64 connections; /* of these and the bound ones: established */
	__u64 failed;	   /* no port was free */
	/* From SYN_SENT to a chosen port. */
	__u64 searches, search_ns, search_max_ns;
	__u64 search_slot[WEIR_LOG2_SLOTS]; /* log2 of microseconds */
	/* Mini-sockets in TIME_WAIT and FIN_WAIT2, which hold ports as well. Each pair counts as of
	 * one walk: of another, it is 0. */
	__u64 time_wait_walk, time_wait;
	__u64 time_wait_new_walk, time_wait_new; /* since that walk began */
	__u64 time_wait_tick[WEIR_PORT_TICKS];	 /* tick in the upper half, count in the lower */
};

enum weir_port_kind {
	WEIR_PORT_LISTENS,
	WEIR_PORT_CAME, /* from a listener; known only while it is established */
	WEIR_PORT_WENT, /* by connect() */
};

/* Of a socket that is counted; by its address. */
struct weir_port_socket {
	struct weir_port_destination
		to;	/* of others than WEIR_PORT_WENT: only netns, and local port */
	__u64 since_ns; /* SYN_SENT; 0: not known */
	__u64 walk;	/* the last that found it */
	__u16 old_port; /* local, of an earlier connect() */
	__u8 kind;	/* enum weir_port_kind */
	__u8 established;
	__u8 bound;
	__u8 chosen; /* it has a port */
	__u8 early;  /* which it had before connect(): there was no search */
	__u8 pad;
};

struct weir_port_walk {
	__u64 number; /* of the one that was begun last */
	__u64 began_ns;
	__u64 lost;		     /* how much had been lost when it ended */
	__u32 netns;		     /* where it is */
	__u16 least_port, most_port; /* that connect() chooses there; 0: not known */
	__u32 sweep;		     /* what it does not find is gone */
	__u32 pad;
};

/* Entries of the maps. */
struct weir_port_room {
	__u64 services, destinations;
};

_Static_assert(sizeof(struct weir_port_service) == 16, "a layout that is pinned");
_Static_assert(sizeof(struct weir_port_destination) == 48, "a layout that is pinned");
_Static_assert(sizeof(struct weir_port_socket) == 72, "a layout that is pinned");
_Static_assert(sizeof(struct weir_port_walk) == 40, "a layout that is pinned");

#endif
