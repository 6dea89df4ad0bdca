/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What all tracing programs and the loader share. Each tracer is one BPF object, trace/tcp_*.bpf.c, that
 * either lives as long as the command that loaded it, or is pinned below <instance>/tcp/<tracer>/.
 */
#ifndef WEIR_TRACE_ABI_H
#define WEIR_TRACE_ABI_H

#include <linux/types.h>

/* Raise when a map, a key or a value of any tracer changes: pins of another number are refused. */
#define WEIR_TRACE_SCHEMA 2

#define WEIR_TRACE_RANGES  16 /* of ports in a filter */
#define WEIR_CGROUP_LEVELS 16 /* from the root on, as far as filters look */
#define WEIR_COMM	   16 /* TASK_COMM_LEN */
#define WEIR_ERRNO_MAX	   4095
#define WEIR_LOG2_SLOTS	   32 /* slot n counts values from 2^n to 2^(n+1) - 1, slot 0 also 0 */

struct weir_trace_ports {
	__u16 from, to; /* both included, host order */
};

/* What a user wants to see. Zero means: everything. */
struct weir_trace_filter {
	__u32 netns;	  /* inode */
	__u32 pid;	  /* process (tgid) in the first PID namespace */
	__u64 cgroup;	  /* id; what is below it belongs to it */
	__u8 family;	  /* 4, 6: of the packets; IPv4 through an IPv6 socket is 4 */
	__u8 port_ranges; /* local */
	__u8 peer_ranges; /* remote ports */
	__u8 peer_bits;	  /* of the 128 that must be as in `peer` */
	__u32 pad;
	__be32 peer[4]; /* IPv4 as ::ffff:a.b.c.d */
	__u64 min_ns;	/* what took less is not shown; each tracer says of what */
	struct weir_trace_ports port[WEIR_TRACE_RANGES];
	struct weir_trace_ports peer_port[WEIR_TRACE_RANGES];
};

struct weir_trace_config {
	struct weir_trace_filter filter;
	__u8 lines;   /* events go to the ring buffer */
	__u8 counted; /* aggregates are kept in maps */
	__u8 pad[6];
};

/* The two ends of a connection as a socket of this host sees them. */
struct weir_ends {
	__be32 local[4]; /* IPv4 as ::ffff:a.b.c.d */
	__be32 remote[4];
	__u16 local_port; /* host order; 0: not chosen yet, or given back */
	__u16 remote_port;
	__u32 netns; /* inode, which another namespace may get */
	__u8 family; /* 4 or 6, of the packets */
	__u8 pad[7];
	__u64 netns_cookie; /* which none has again: what is kept goes by it */
};

enum weir_side {
	WEIR_ROLE_UNKNOWN,
	WEIR_ACTIVE,  /* called connect() */
	WEIR_PASSIVE, /* was accepted */
};

/* Whose a socket is. */
struct weir_owner {
	__u32 pid; /* as in the filter; 0: not known */
	char comm[WEIR_COMM];
};

/* What a tracer could not do, per CPU. */
struct weir_trace_tally {
	__u64 events_lost;  /* the ring buffer was full */
	__u64 records_full; /* a map had no room: not followed, or not counted by its key */
	__u64 unknown;	    /* of sockets older than the tracer, so that something is not known */
};

/* Written before the first program is attached, and complete when a pinned tracer is. */
struct weir_trace_about {
	__u32 schema;
	__u32 programs;	  /* how many are attached when it is complete */
	__u64 started_ns; /* CLOCK_MONOTONIC */
	struct weir_trace_config config;
};

_Static_assert(sizeof(struct weir_trace_filter) == 176, "a layout that is pinned");
_Static_assert(sizeof(struct weir_trace_config) == 184, "a layout that is pinned");
_Static_assert(sizeof(struct weir_trace_about) == 200, "a layout that is pinned");
_Static_assert(sizeof(struct weir_ends) == 56, "a layout that is pinned");

#endif
