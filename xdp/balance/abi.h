/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the balancer in the XDP program and the loader share. A change of any layout here must raise
 * WEIR_BALANCE_SCHEMA.
 *
 *   services          the service table: one value, swapped whole; says what a packet's service is
 *   slots             per service a range of words: which backend a hash belongs to, now and before
 *   backends          one line each: how to get there; the index is the backend's for its life
 *   backend_counters  per CPU, by the index of the backend
 *   service_counters  per CPU, by the index of the service
 *   flows             per service a range of buckets: DSR flows whose slot is moving, nothing else
 *   nat_flows         per service a range of buckets: every NAT flow
 *   nat_ports         finds the NAT flow of a reply
 *   fragments         datagrams that come in pieces
 *   egress_devs       devices of backends, by ifindex, that take XDP frames
 *
 * Index 0 of services and backends is none. Addresses of IPv4 stand in the first word of four.
 *
 * Time is counted in ticks of about a second: jiffies >> config.tick_shift. They wrap: compare
 * differences only.
 */
#ifndef WEIR_BALANCE_ABI_H
#define WEIR_BALANCE_ABI_H

#include <linux/types.h>

#define WEIR_BALANCE_SCHEMA 1u

#define WEIR_EGRESS_DEVS  256
#define WEIR_MAX_SERVICES 16384u    /* in the table, with index 0 */
#define WEIR_MAX_BACKENDS 1000u	    /* of one service */
#define WEIR_MAX_INDEX	  0xffffffu /* of a backend: 24 bits */
#define WEIR_MAX_WEIGHT	  1000u
#define WEIR_MIN_SLOTS	  1024u /* of one service, powers of two */
#define WEIR_MAX_SLOTS	  (1u << 20)

enum weir_mode {
	WEIR_NAT,
	WEIR_DSR_L2,
	WEIR_DSR_IPIP,
	WEIR_MODES,
};

/* ---- the service table ----
 *
 * As with rules, offsets count 8-byte words from the start. The three hash tables have 2^n entries
 * of a word (addresses4, ports) or three (addresses6); an entry is at most head.probes - 1 places
 * behind the one its key hashes to, so a look takes no more steps than that; the tables are longer by
 * as many entries.
 */
#define WEIR_PROBES 4

struct weir_service_head {
	__u32 schema;
	__u32 services;	  /* number of services */
	__u32 addresses4; /* word offset; entry: WEIR_ADDRESS4() */
	__u32 mask4;	  /* entries - 1 */
	__u32 addresses6; /* entry: struct weir_address6 */
	__u32 mask6;
	__u32 ports; /* entry: WEIR_PORT() */
	__u32 ports_mask;
	__u32 vips;	   /* struct weir_vip[], by the address's number */
	__u32 records;	   /* struct weir_service[], by index; 0 is none */
	__u32 records_end; /* word offset behind the last record */
	__u32 probes;	   /* 1..WEIR_PROBES */
	__u32 source;	   /* the configuration as the user gave it */
	__u32 source_bytes;
	__u32 modes;	     /* bit per enum weir_mode that some service has */
	__u32 nat_port_mask; /* buckets of nat_ports - 1 */
	__u64 seed;	     /* odd: of the hash of the three tables */
	__u64 generation;    /* counts changes; slots[0] says which one the slots are brought to */
	__u64 flow_seed;     /* random, and the same as long as there are services */
	__u32 nat_backends; /* word offset: sorted keys (nat_backend_key()) of NAT's backends of TCP */
	__u32 nat_backend_count;
};

/* An address entry: what it is (WEIR_A_*), the number of its vip, from 1, and the address. */
#define WEIR_IS_VIP	   0x1u /* services are at this address */
#define WEIR_IS_NAT_SOURCE 0x2u /* NAT flows leave from this address, so replies come to it */
#define WEIR_ADDRESS_FLAGS 8
#define WEIR_VIP_BITS	   24
#define WEIR_ADDRESS4(address, vip, flags) \
	((__u64)(address) << 32 | (__u64)(vip) << WEIR_ADDRESS_FLAGS | (flags))

/* The first word in the same form without an address; addresses as in struct packet. */
struct weir_address6 {
	__u64 vip_flags; /* 0: no entry */
	__u64 high;
	__u64 low;
};

/* A port entry: the upper bits are the key. Port 0 is any port. */
#define WEIR_PORT_SERVICE_BITS	      24
#define WEIR_PORT_KEY(vip, udp, port) ((__u64)(vip) << 17 | (__u64)(udp) << 16 | (__u64)(port))
#define WEIR_PORT(key, service)	      ((__u64)(key) << WEIR_PORT_SERVICE_BITS | (service))

/* Place of a key in a table of `mask` + 1 entries. */
#define WEIR_PLACE(key, seed, mask) ((((__u64)(key) * (seed)) >> 32) & (mask))
/* Key of an IPv6 address. */
#define WEIR_MIX6(high, low) ((high) ^ ((low)*0x9e3779b97f4a7c15ull))
#define WEIR_KEY6(high, low) (WEIR_MIX6(high, low) ^ WEIR_MIX6(high, low) >> 29)

/* What an address has, for packets that show no ports. */
#define WEIR_SEVERAL 0xffffffffu

struct weir_vip {
	__u32 only_tcp; /* the one service of TCP here; 0: none, or WEIR_SEVERAL */
	__u32 only_udp;
};

#define WEIR_S_BY_SOURCE 0x1 /* affinity: the source address alone chooses the slot */
#define WEIR_S_FREE	 0x2 /* UDP: flows follow their slot at once */

struct weir_service {
	__u32 slots;	 /* first one */
	__u32 slot_mask; /* number of slots - 1 */
	__u32 flows;	 /* first bucket, in `flows` or (NAT) `nat_flows` */
	__u32 flow_mask; /* number of buckets - 1 */
	__u8 mode;	 /* enum weir_mode */
	__u8 flags;	 /* WEIR_S_* */
	__u8 family;
	__u8 proto;
	__u16 mss;	    /* clamp to this; 0: leave */
	__be16 port;	    /* 0: any */
	__u32 idle;	    /* ticks after which a flow may be forgotten */
	__u32 idle_closing; /* the same, once its end was seen */
	__be32 address[4];
	__u32 vip;
	__u32 pad;
	__u64 flow_seed; /* the head's, odd */
};

/* ---- slots ----
 *
 * bits 0-23 owner, bits 24-47 owner before the slot began to move (0: it is not moving), bits 48-63
 * tick: TCP, when a packet last needed the owner before; UDP, when the slot began to move. The first
 * WEIR_MIN_SLOTS words belong to no service: word 0 is the generation; while
 * WEIR_HOLD_WORD is not 0, no flow is remembered that was not: flows are being copied.
 */
#define WEIR_HOLD_WORD 1u
/* From here on a bit for each service, by index: some of its slots may be moving. Of no concern to
 * the program: it saves the loader from looking at all slots. */
#define WEIR_MOVING_WORD	 2u
#define WEIR_SLOT_OWNER(slot)	 ((__u32)(slot)&WEIR_MAX_INDEX)
#define WEIR_SLOT_PREVIOUS(slot) ((__u32)((slot) >> 24) & WEIR_MAX_INDEX)
#define WEIR_SLOT_TICK(slot)	 ((__u16)((slot) >> 48))
/* In ticks; what is a little ahead of `now`, as others write it, is of no age. */
#define WEIR_TICKS_AHEAD 64
#define WEIR_SLOT_AGE(slot, now)                                  \
	((__u16)(WEIR_SLOT_TICK(slot) - (now)) < WEIR_TICKS_AHEAD \
		 ? 0                                              \
		 : (__u16)((now)-WEIR_SLOT_TICK(slot)))
#define WEIR_SLOT(owner, previous, tick) \
	((__u64)(owner) | (__u64)(previous) << 24 | (__u64)(__u16)(tick) << 48)

/* ---- backends ---- */

#define WEIR_B_ALIVE	 0x1  /* else it gets nothing */
#define WEIR_B_REACHABLE 0x2  /* the Ethernet addresses are known, maybe not fresh */
#define WEIR_B_VIA_TC	 0x4  /* ifindex takes no XDP frames: TC transmits */
#define WEIR_B_V6	 0x8  /* address is IPv6 */
#define WEIR_B_LOCAL	 0x10 /* this host: its packets go to the stack as they are */

struct weir_backend {
	__u8 dest_mac[6];
	__u8 source_mac[6];
	__u32 ifindex;	   /* egress; 0: no route */
	__u32 fresh_until; /* jiffies, low half: until then the Ethernet addresses are right */
	__u16 mtu;	   /* of the egress device or the route, bytes of layer 3 */
	__u8 flags;	   /* WEIR_B_* */
	__u8 source_bits;  /* dsr-ipip: so many low bits of `source` vary with the flow */
	__be32 address[4];
	__be32 source[4]; /* outer source (dsr-ipip) or what clients are hidden behind (nat) */
	__be16 port;	  /* nat; 0: the port the client asked for */
	__u8 mode;	  /* enum weir_mode of its service */
	__u8 pad;
	__u32 service; /* index */
};

/* The Ethernet addresses and ifindex are read and written as two words: dest_mac is never torn. */

struct weir_backend_counters {
	__u64 packets;	     /* to the backend */
	__u64 bytes;	     /* of their frames as they came in */
	__u64 reply_packets; /* from it: NAT only */
	__u64 reply_bytes;
	__u64 connections; /* TCP: SYNs from clients; UDP: flows begun, where weir tracks them */
	__u64 ended;	   /* TCP: FINs and RSTs from clients */
};

struct weir_service_counters {
	__u64 tracked; /* flows remembered because their slot is moving */
	__u64 untracked; /* new flows that found no room and so went where nothing need be remembered */
	__u64 no_backend;    /* packets dropped because no backend was alive */
	__u64 nat_full;	     /* new NAT flows refused: no room or no port */
	__u64 nat_unknown;   /* NAT packets of no known flow */
	__u64 port_changed;  /* NAT flows that could not keep the client's port */
	__u64 fragments;     /* fragments dropped because their datagram is not known */
	__u64 too_big;	     /* answered or dropped: do not fit behind the outer header */
	__u64 icmp_relayed;  /* ICMP errors handed to the backend of the flow they quote */
	__u64 icmp_answered; /* echo requests: of index 0, as a VIP may have several services */
};

/* ---- flows: DSR ----
 *
 * `tag` is the flow's hash: 0 never used, 1 being written. `place` is changed by compare and swap:
 * bits 0-23 backend, bits 24-31 kind, bits 32-63 tick of last use. Whoever wants another's way claims the tag first,
 * so a reader that finds its tag before and after reading `place` has read its own.
 */
enum weir_flow_kind {
	WEIR_FLOW_SYN = 1, /* only a SYN was seen: in the first ways only */
	WEIR_FLOW_OPEN,
	WEIR_FLOW_CLOSING, /* a FIN or RST was seen, which anybody may have sent */
	WEIR_FLOW_DOUBTED, /* the same, and a packet in a later tick; one in yet another: open */
	WEIR_FLOW_NEW,	   /* all packets so far came in one tick */
};

struct weir_flow {
	__u64 tag;
	__u64 place;
};

#define WEIR_FLOW_FREE	  0ull
#define WEIR_FLOW_CLAIMED 1ull
#define WEIR_FLOW_PLACE(backend, kind, tick) \
	((__u64)(backend) | (__u64)(kind) << 24 | (__u64)(__u32)(tick) << 32)
#define WEIR_PLACE_BACKEND(place) ((__u32)(place)&WEIR_MAX_INDEX)
#define WEIR_PLACE_KIND(place)	  ((__u32)(place) >> 24)
#define WEIR_PLACE_TICK(place)	  ((__u32)((place) >> 32))

#define WEIR_FLOW_WAYS 4
#define WEIR_SYN_WAYS  2
#define WEIR_SYN_TICKS 4 /* a handshake is given so long */
#define WEIR_NEW_TICKS 8 /* a flow of WEIR_FLOW_NEW gives way to others after so long */

struct weir_flow_bucket {
	struct weir_flow way[WEIR_FLOW_WAYS];
};

/* ---- flows: NAT ---- */

enum weir_nat_state {
	WEIR_NAT_FREE,
	WEIR_NAT_CLAIMED, /* being written; free again after WEIR_SYN_TICKS */
	WEIR_NAT_NEW, /* TCP: the client has not answered a reply yet; UDP: no reply yet, and not
			   * sent to for long */
	WEIR_NAT_OPEN,
	WEIR_NAT_CLOSING, /* it was open, and now a FIN each way was seen, or a RST and no segment
			   * behind it */
};

#define WEIR_NAT_FIN_CLIENT  0x1
#define WEIR_NAT_FIN_BACKEND 0x2
#define WEIR_NAT_REPLIED     0x4
#define WEIR_NAT_RESET	     0x8

/* UDP: what was seen is in how many ticks the client sent; so many make it open without a reply. */
#define WEIR_NAT_ONE_WAY_TICKS 3

#define WEIR_NAT_NEW_TICKS 30 /* idle time of a new flow: SYNs are repeated after up to 16 s */

/* `life` is changed by compare and swap: bits 0-7 enum weir_nat_state, bits 8-15 what was seen
 * (WEIR_NAT_FIN_CLIENT ...), bits 32-63 tick of last use. But for where replies go, the rest stays
 * while the state is neither free nor claimed. Numbers in host order. */
struct weir_nat_flow {
	__u64 life;
	__u64 who;	 /* WEIR_NAT_WHO() */
	__u64 client[2]; /* address, as in struct packet */
	__u32 backend;
	__u16 nat_port; /* what the backend sees as the client's */
	__u8 proto;
	__u8 via_tc : 1; /* the client's device takes no XDP frames */
	__u8 tags : 2;	 /* VLAN tags of the client's packets */
	/* Where replies go: back to where the client's packets come from. */
	__u8 own_mac[6];
	__u8 client_mac[6];
	__u32 ifindex;
	__be16 tci[2];	 /* of the tags; 0 where there is none */
	__u32 other_way; /* number of another way a packet came; 0: none. Twice, and it is taken */
};

#define WEIR_NAT_LIFE(state, seen, tick) \
	((__u64)(state) | (__u64)(seen) << 8 | (__u64)(__u32)(tick) << 32)
#define WEIR_LIFE_STATE(life) ((__u32)(life)&0xff)
#define WEIR_LIFE_SEEN(life)  ((__u32)(life) >> 8 & 0xff)
#define WEIR_LIFE_TICK(life)  ((__u32)((life) >> 32))

/* Whose flow it is, but for the address: `asked` is the port at the service. */
#define WEIR_NAT_WHO(service, port, asked) \
	((__u64)(service) | (__u64)(port) << 32 | (__u64)(asked) << 48)
#define WEIR_WHO_SERVICE(who) ((__u32)(who))
#define WEIR_WHO_PORT(who)    ((__u16)((who) >> 32))
#define WEIR_WHO_ASKED(who)   ((__u16)((who) >> 48))

#define WEIR_NAT_WAYS 4

struct weir_nat_bucket {
	struct weir_nat_flow way[WEIR_NAT_WAYS];
};

/* By hash of what a reply shows: bits 0-31 hash, bits 32-63 index of the flow (bucket * ways + way)
 * plus 1. The bucket is the hash & head.nat_port_mask. What an entry says holds only if the flow
 * agrees; if it does not, the entry is free. */
#define WEIR_NAT_PORT_WAYS 8

struct weir_nat_ports {
	__u64 way[WEIR_NAT_PORT_WAYS];
};

/* Ports for flows that cannot keep their own: outside of Linux' ip_local_port_range. */
#define WEIR_NAT_FIRST_PORT 1024u
#define WEIR_NAT_LAST_PORT  32767u

/* ---- fragments ----
 *
 * A datagram is one word, so that two CPUs cannot remember it twice: bits 0-23 target (to a backend:
 * its index; NAT reply: index of the flow plus 1), bit 24: placed without its ports, bits 25-31 tick,
 * bits 32-63 of the hash of addresses, protocol and identification. 0: free.
 */
#define WEIR_FRAGMENT_GUESSED	  (1u << 24)
#define WEIR_FRAGMENT_TARGET(way) ((__u32)(way) & (2 * WEIR_FRAGMENT_GUESSED - 1))
#define WEIR_FRAGMENT_TICK(way)	  ((__u32)(way) >> 25)
#define WEIR_FRAGMENT(hash, tick, target) \
	(((__u64)(hash) >> 32 << 32) | ((__u64)((tick)&0x7f) << 25) | (target))

#define WEIR_FRAGMENT_WAYS    8
#define WEIR_FRAGMENT_BUCKETS 128
#define WEIR_FRAGMENT_TICKS   15

struct weir_fragment_bucket {
	__u64 way[WEIR_FRAGMENT_WAYS];
};

/* ---- what `weir explain` is told, by the program itself ---- */

enum weir_placed {
	WEIR_PLACED_NOT,      /* no backend was asked for */
	WEIR_PLACED_SLOT,     /* the slot is not moving: its owner */
	WEIR_PLACED_FLOW,     /* moving: the flow is remembered */
	WEIR_PLACED_NEW,      /* moving: a new flow, remembered at the owner */
	WEIR_PLACED_PREVIOUS, /* moving: not remembered, so begun before: the previous owner */
	WEIR_PLACED_OWNER,    /* moving: the previous owner is dead: the owner */
	WEIR_PLACED_NO_ROOM, /* moving: a new flow without room to remember it: the previous owner */
	WEIR_PLACED_NAT,     /* a known NAT flow */
	WEIR_PLACED_FRAGMENT, /* a fragment of a known datagram */
};

struct weir_explanation {
	__u32 rule;    /* slot of the rule that matched, plus 1; 0: none */
	__u32 service; /* index */
	__u32 slot;    /* of the service, plus 1; 0: none */
	__u32 owner, previous;
	__u32 placed; /* enum weir_placed */
	__u32 backend;
	__u32 verdict, reason, class;
	__u32 egress; /* ifindex */
	__u32 reply;  /* 1: NAT, from the backend */
	__be16 nat_port;
	__be16 pad;
	__be32 pad2;
	__u64 hash;
};

_Static_assert(WEIR_MOVING_WORD + WEIR_MAX_SERVICES / 64 <= WEIR_MIN_SLOTS, "bits of services");
_Static_assert(sizeof(struct weir_service_head) == 96, "service head");
_Static_assert(sizeof(struct weir_service) == 64, "service: one line");
_Static_assert(sizeof(struct weir_backend) == 64, "backend: one line");
_Static_assert(sizeof(struct weir_flow_bucket) == 64, "flow bucket: one line");
_Static_assert(sizeof(struct weir_nat_flow) == 64, "NAT flow: one line");
_Static_assert(sizeof(struct weir_nat_ports) == 64, "NAT ports: one line");
_Static_assert(sizeof(struct weir_fragment_bucket) == 64, "fragments: one line");

#endif
