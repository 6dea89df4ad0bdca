/* SPDX-License-Identifier: GPL-2.0 */
/* tcp drop: where the kernel drops packets, and why. */
#ifndef WEIR_TRACE_ABI_DROP_H
#define WEIR_TRACE_ABI_DROP_H

#include "../../xdp/abi.h"
#include "trace.h"

#define WEIR_DROP_KINDS	   1024 /* reasons and places, on each CPU; a power of two */
#define WEIR_DROP_TRIES	   8	/* places where one of them may be */
#define WEIR_DROP_STACKS   512
#define WEIR_DROP_FRAMES   32
#define WEIR_DROP_STACK_NS 100000000ull /* between two stacks of one kind, on each CPU */
#define WEIR_DROP_DEVICES  4096

/* What the socket adds to the kernel's reason. */
enum weir_drop_cause {
	WEIR_DROP_NO_CAUSE,
	WEIR_DROP_ACCEPT_QUEUE_FULL,
	WEIR_DROP_TIME_WAIT, /* of a mini-socket, which has no use for the packet */
	WEIR_DROP_ACK_USED,  /* nothing but an ACK, which has had its effect */
};

enum weir_drop_direction {
	WEIR_DROP_UNKNOWN, /* no trace of where it came from: local is its destination */
	WEIR_DROP_IN,	   /* or forwarded: local is its destination */
	WEIR_DROP_OUT,	   /* local is its source */
};

/* The second constant of the object, right behind struct weir_trace_config. */
struct weir_drop_settings {
	__u64 benign[4]; /* a bit for each of the core's reasons that are no loss */
	__u32 no_socket, not_specified, listen_overflow; /* reasons; ~0: this kernel has none */
	__u8 socket; /* the tracepoint tells the receiving socket: 6.11 and newer */
	__u8 all;    /* benign ones in lines, and packets of other protocols */
	__u8 stack;
	__u8 pad;
};

struct weir_drop_kind {
	__u64 location;
	union {
		struct {
			__u32 reason;
			__u16 cause;
			__u16 other; /* not TCP */
		};
		__u64 why; /* all of it */
	};
};

/* A table of one's own, with linear probing, costs a quarter of a hash of the kernel's. */
struct weir_drop_slot {
	__u64 packets;		    /* read first and written last: none before the kind is whole */
	struct weir_drop_kind kind; /* location 0: free */
};

struct weir_drop_table {
	struct weir_drop_slot slot[WEIR_DROP_KINDS];
};

/* Of a kind, on one CPU. The next stack goes where the last one is not, and comes 0.1 s later at the
 * earliest: no reader is that slow. */
struct weir_drop_stack {
	__u64 last_ns;
	__u64 taken, skipped;
	__u32 bytes[2]; /* taken & 1 is the next */
	__u64 frame[2][WEIR_DROP_FRAMES];
};

struct weir_drop_event {
	__u64 ns;
	struct weir_drop_kind kind;
	struct weir_ends ends; /* netns 0: not known; ports 0: of a fragment, or cut off */
	__u32 ifindex;	       /* 0: not known */
	__u32 accept_queue, accept_max, syn_queue; /* state is TCP_LISTEN */
	__u32 stack_bytes;			   /* 0: none was taken */
	__u8 state;				   /* of the socket that it was for; 0: not known */
	__u8 flags;				   /* of TCP */
	__u8 direction;
	__u8 protocol; /* of IP; 0: not IP */
};

struct weir_drop_stack_event {
	struct weir_drop_event event;
	__u64 frame[WEIR_DROP_FRAMES];
};

/* What a device's XDP program had dropped when the tracer began; by ifindex. */
struct weir_drop_device {
	__u64 since_ns;			 /* of its attachment: another one counts from 0 */
	__u64 packets[WEIR_REASONS + 1]; /* the last: the program itself failed */
};

_Static_assert(sizeof(struct weir_drop_settings) == 48, "no holes");
_Static_assert(sizeof(struct weir_drop_kind) == 16, "no holes");
_Static_assert(sizeof(struct weir_drop_table) <= 32768,
	       "the most that a value of each CPU may have");
_Static_assert(sizeof(struct weir_drop_event) == 104, "no holes");

#endif
