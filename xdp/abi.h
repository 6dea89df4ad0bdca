/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the XDP program and the loader share: counters, the program's switches and the rule table.
 *
 * Everything here is host byte order unless its type says otherwise. A change of any layout
 * in this file must raise WEIR_XDP_SCHEMA: the loader refuses pinned maps of another schema.
 */
#ifndef WEIR_XDP_ABI_H
#define WEIR_XDP_ABI_H

#include <linux/types.h>

#define WEIR_XDP_SCHEMA 2u

/* ---- counters: one struct weir_device_counters per device and CPU ---- */

enum weir_verdict {
	WEIR_PASS,
	WEIR_DROP,
	WEIR_TX,
	WEIR_REDIRECT,
	WEIR_ABORTED,
	WEIR_VERDICTS,
};

/* Every frame belongs to exactly one class. "Fragment" is a non-first fragment: it has no ports.
 * IPv6 has the same as IPv4, in the same order. */
enum weir_class {
	WEIR_TCP4,
	WEIR_UDP4,
	WEIR_ICMP4,
	WEIR_OTHER4,
	WEIR_FRAGMENT4,
	WEIR_TCP6,
	WEIR_UDP6,
	WEIR_ICMP6,
	WEIR_OTHER6,
	WEIR_FRAGMENT6,
	WEIR_ARP,
	WEIR_NON_IP,
	WEIR_MALFORMED, /* a header that contradicts itself or the frame's length */
	WEIR_UNDECIDED, /* more VLAN tags or IPv6 extension headers than the parser follows */
	WEIR_CLASSES,
};

/* Why a frame was dropped (or sent to the stack instead of where a rule wanted it). */
enum weir_reason {
	WEIR_BY_RULE,	   /* a drop rule matched */
	WEIR_BY_LIMIT,	   /* over the rate of a limit rule */
	WEIR_BY_MALFORMED, /* rules are loaded and the headers are malformed */
	WEIR_BY_UNDECIDED, /* rules are loaded and the headers go deeper than the parser */
	WEIR_BY_REDIRECT,  /* a redirect rule matched and the frame could not be handed over */
	WEIR_BY_LOST,	   /* redirected, and then not taken by the target: bytes are not known */
	/* The balancer's. Those marked (*) are answered: the verdict is WEIR_TX. */
	WEIR_BY_NO_BACKEND,  /* the service has no backend that is alive */
	WEIR_BY_NO_ROUTE,    /* no route to the backend, or no neighbour there */
	WEIR_BY_TOO_BIG,     /* does not fit the way to the backend (*) */
	WEIR_BY_TTL,	     /* its time to live ends here (*) */
	WEIR_BY_FRAGMENT,    /* a later fragment whose first one has not been seen */
	WEIR_BY_NAT_FULL,    /* a new NAT flow, but there is no room or no port for it */
	WEIR_BY_NAT_UNKNOWN, /* belongs to no NAT flow */
	WEIR_BY_MARTIAN,     /* source and destination are the same, or cannot be answered */
	WEIR_BY_CHECKSUM,    /* its checksum is unfinished and cannot be finished here */
	WEIR_BY_HEADROOM,    /* the driver left no room for another header */
	WEIR_BY_BAD_TUNNEL,  /* --decap: no packet inside, or none that may come so */
	WEIR_REASONS,
};

struct weir_counter {
	__u64 packets;
	__u64 bytes; /* of the frame, link-layer header included, FCS not */
};

struct weir_device_counters {
	struct weir_counter cell[WEIR_VERDICTS][WEIR_CLASSES];
	struct weir_counter reason[WEIR_REASONS];
	struct weir_counter decapsulated; /* --decap: frames that were unpacked, as they came in */
	__u64 limit_evictions; /* a source's bucket was given to another while it still counted */
};

/* ---- switches: set by the loader before load, constants to the verifier ---- */

/* The fields a rule can constrain. The program looks at a field only if some rule does. */
enum weir_field {
	WEIR_F_SRC,
	WEIR_F_DST,
	WEIR_F_PROTO,
	WEIR_F_SPORT,
	WEIR_F_DPORT,
	WEIR_F_DEV,
	WEIR_FIELDS,
};

struct weir_xdp_config {
	__u32 ifindex;	     /* of the device this copy of the program is for */
	__u32 fields;	     /* bit per enum weir_field; 0: no rules, count only */
	__u32 table_bytes;   /* value size of a rule table, a power of two */
	__u32 netns;	     /* inode of the device's network namespace */
	__u32 service_bytes; /* value size of a service table, a power of two */
	__u8 ethernet;	     /* 1: frames begin with an Ethernet header; 0: with an IP header */
	__u8 limits;	     /* 1: some rule limits a rate */
	__u8 redirects;	     /* 1: some rule redirects: the program is weir_redirect */
	__u8 via_tc;	     /* 1: XDP cannot transmit for this device: hand every redirect to TC */
	__u8 partial_sums;   /* 1: veth: L4 checksums may be unfinished (CHECKSUM_PARTIAL) */
	__u8 frags;	     /* 1: loaded as xdp.frags: the frame may go on behind data_end */
	__u8 modes;	     /* bit per enum weir_mode of the services; 0: no services */
	__u8 decap;	     /* 1: unpack what comes in IPIP tunnels to this host */
	__u8 explain;	     /* 1: tell what is decided and change nothing, see weir_explanation */
	__u8 tick_shift;     /* a tick is 2^n jiffies: about a second */
	__u8 no_tx;  /* 1: XDP_TX may get stuck in this driver: redirect to the device itself */
	__u8 common; /* 1: DSR alone looks at packets: see balance/common.h */
};

/* --decap: an address of this host, as in struct packet: tunnels end here, and what was in them. */
struct weir_local_address {
	__u64 high;
	__u64 low;
	__u32 family; /* 4 or 6 */
	__u32 pad;
};

#define WEIR_LOCAL_ADDRESSES 16384

/* Of the program that counts redirected frames which got lost. */
struct weir_lost_config {
	__u32 ifindex;
	__u32 netns; /* inode: the ifindex means nothing in another namespace */
};

/* ---- the rule table: one value of one array map, swapped whole ----
 *
 * A table is a sequence of 8-byte words; all offsets below count words from its start, but for
 * trie entries, which are 4 bytes and counted as such. It begins with struct weir_table_head.
 *
 * Each field of a packet is looked up in a trie that yields a *class*: the set of rules which
 * that value of that field satisfies. A class is a row of words: a bitmap with one bit per rule, in
 * order of the rules; if that takes several words, they stand behind a summary with one bit for
 * each that is not 0. The AND of the rows of all fields is the set of rules that match; its lowest
 * bit is the first.
 */
#define WEIR_MAX_RULES	  4096
#define WEIR_BITMAP_WORDS (WEIR_MAX_RULES / 64)

enum weir_trie {
	WEIR_T_SRC4,
	WEIR_T_DST4,
	WEIR_T_SRC6,
	WEIR_T_DST6,
	WEIR_T_PROTO, /* key: 16 bits, IP protocol number or WEIR_PROTO_ARP */
	WEIR_T_SPORT,
	WEIR_T_DPORT,
	WEIR_T_DEV, /* key: 32 bits, ifindex */
	WEIR_TRIES,
};

#define WEIR_PROTO_ARP 256 /* the protocol of an ARP packet, so that rules can name it */

/*
 * A trie entry: 5 bits of kind, 27 bits of place. Keys are consumed from the most significant
 * bit of a 64-bit word; IPv6 addresses are two such words.
 *
 *   WEIR_E_LEAF     place = the class: its row is at word table.rows + place
 *   1..WEIR_E_WIDEST  branch: 2^kind entries at word `place`, indexed by the next `kind` key bits
 *   WEIR_E_SKIP     two words at `place`: the expected key bits, left-aligned; and
 *                   how many they are less 1 (6 bits), the class if they differ (26 bits), the
 *                   entry if they are equal (32 bits), from the lowest bit on
 *   WEIR_E_BUCKET   a word and items behind it, at `place`: a few prefixes of one class. The word is like
 *                   a skip's, with the number of items less 1 and two classes; an item is the
 *                   next 27 key bits and, in 5 bits, how many of them do not count
 *   WEIR_E_LOW      the key's second word begins; its entry is at word `place`
 */
#define WEIR_E_LEAF		  0u
#define WEIR_E_WIDEST		  20u
#define WEIR_E_BUCKET		  29u
#define WEIR_E_SKIP		  30u
#define WEIR_E_LOW		  31u
#define WEIR_E_KIND_SHIFT	  27
#define WEIR_E_PLACE_MASK	  0x7ffffffu
#define WEIR_E_ENTRY(kind, place) ((kind) << WEIR_E_KIND_SHIFT | (place))

#define WEIR_BUCKET_ITEMS     14
#define WEIR_BUCKET_BITS      27
#define WEIR_BUCKET_ITEM_BITS 5

/* No walk takes more steps: 128 bits, at least 4 a branch, a skip of at least 4 between two. */
#define WEIR_TRIE_STEPS 40

#define WEIR_SKIP_MISS_MASK	   0x3ffffffu /* no table has more words of rows */
#define WEIR_SKIP(bits, miss, hit) (((__u64)(bits)-1) | (__u64)(miss) << 6 | (__u64)(hit) << 32)
#define WEIR_SKIP_BITS(word)	   (((word)&63) + 1)
#define WEIR_SKIP_MISS(word)	   ((word) >> 6 & WEIR_SKIP_MISS_MASK)
#define WEIR_SKIP_HIT(word)	   ((word) >> 32)

enum weir_action {
	WEIR_A_DROP,
	WEIR_A_PASS,
	WEIR_A_LIMIT,
	WEIR_A_REDIRECT,
};

#define WEIR_R_VIA_TC 0x1 /* the target takes no XDP frames: TC transmits instead */

struct weir_table_rule {
	__u32 slot;	/* index in the rule counters, stable while the rule lives */
	__u8 action;	/* enum weir_action */
	__u8 flags;	/* WEIR_R_* */
	__u16 exists;	/* 1 */
	__u64 target;	/* redirect: ifindex */
	__u64 interval; /* limit: ns between packets at the rate */
	__u64 burst;	/* limit: ns of credit, (burst - 1) * interval */
};

struct weir_table_head {
	__u32 schema;
	__u32 rules;	    /* number of rules */
	__u32 bitmap_words; /* 1..WEIR_BITMAP_WORDS */
	__u32 rows;	    /* word offset of the classes' rows */
	__u32 table_rules;  /* word offset of struct weir_table_rule[rules] */
	__u32 source;	    /* word offset of the rules as the user gave them */
	__u32 source_bytes;
	__u32 fields;		   /* bit per enum weir_field that some rule constrains */
	__u32 root[WEIR_TRIES];	   /* entries */
	__u32 absent[WEIR_FIELDS]; /* class of a packet that has no such field, as in a leaf */
	__u32 next_id;		   /* of a rule; ids are not used twice while there are rules */
	__u32 actions;		   /* bit per enum weir_action that some rule takes */
	__u64 seed;		   /* of the buckets' hash: random, kept while there are rules */
};

/* Token bucket of one source under one rule, as the generic cell rate algorithm (ITU-T I.371):
 * `due` is the theoretical arrival time; in the past it says nothing and the way is free. */
struct weir_bucket {
	__u64 who; /* hash of (rule slot, source address); 0: never used */
	__u64 due; /* CLOCK_MONOTONIC ns */
};

#define WEIR_BUCKET_WAYS 4
#define WEIR_BUCKET_SETS 16384

struct weir_bucket_set {
	struct weir_bucket way[WEIR_BUCKET_WAYS];
};

/* What XDP leaves in front of the frame for TC on the same device: transmit this packet there. The
 * mark stays with the packet for ever, as writing to it would cost it whenever the packet is
 * shared; so it tells whose it is, and on every other device it means nothing. */
#define WEIR_META_MAGIC 0x77656972u

struct weir_meta {
	__u32 magic;
	__u32 netns;   /* inode */
	__u32 ifindex; /* of the device that marked it */
	__u32 target;  /* ifindex */
};

_Static_assert(sizeof(struct weir_table_head) == 104, "table head");
_Static_assert(sizeof(struct weir_table_rule) == 32, "table rule");
_Static_assert(sizeof(struct weir_xdp_config) == 32, "config");
_Static_assert(sizeof(struct weir_bucket_set) == 64, "one cache line");

#endif
