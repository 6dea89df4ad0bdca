/* SPDX-License-Identifier: GPL-2.0 */
/* Builds the frames that tests and bench send through the programs. */
#ifndef WEIR_TESTS_PACKETS_H
#define WEIR_TESTS_PACKETS_H

#include <linux/types.h>
#include <stdbool.h>

#define PACKET_ROOM    9216
#define PACKET_CLIENT  "198.51.100.7"
#define PACKET_SERVER  "192.0.2.1"
#define PACKET_CLIENT6 "2001:db8:7::7"
#define PACKET_SERVER6 "2001:db8::1"

struct packet {
	__u8 bytes[PACKET_ROOM];
	__u32 length;
	__u32 l3;  /* offset of the IP header */
	__u32 l4;  /* of the transport header, or of what a fragment has in its place */
	__u32 end; /* of the IP packet; padding follows */
};

enum packet_tcp {
	PACKET_FIN = 0x01,
	PACKET_SYN = 0x02,
	PACKET_RST = 0x04,
	PACKET_PSH = 0x08,
	PACKET_ACK = 0x10,
	PACKET_SYNACK = PACKET_SYN | PACKET_ACK,
	PACKET_DATA = PACKET_PSH | PACKET_ACK,
};

/* Zero means the plain case: Ethernet without tags, no options, no fragment, no payload. */
struct packet_layout {
	__u8 family;	    /* 4 or 6 */
	__u8 proto;	    /* any; those without ports have just payload behind the IP header */
	__u8 flags;	    /* of TCP */
	const char *source; /* textual addresses; NULL: the client's and the server's */
	const char *destination;
	__u16 sport, dport;
	__u32 seq, ack;
	__u32 payload; /* bytes, of value `fill` */
	__u8 fill;
	__s8 tcp_options; /* bytes of no-operation; 0: what Linux sends; < 0: none */

	bool bare;	   /* begins with the IP header */
	const char *tags;  /* VLAN tags, outermost first: 'q' 802.1Q, 'a' 802.1ad */
	__u8 ip_options;   /* IPv4: bytes, a multiple of 4 */
	const char *chain; /* IPv6 extension headers in order, see packet_extension() */
	__u8 tos;	   /* IPv6: traffic class */
	__u8 ttl;	   /* IPv6: hop limit; 0: 64 */
	__u32 label;	   /* IPv6: flow label */
	__u16 fragment;	   /* offset in units of 8 bytes */
	bool more;	   /* more fragments follow; IPv6 has then an 'f' in its chain */
	__u32 padding;	   /* bytes behind the IP packet */
};

/* Right checksums; Ethernet addresses are zero, as on the loopback device. */
void packet_build(struct packet *packet, const struct packet_layout *layout);

/* The protocol number of an extension header in a chain: 'h' hop-by-hop, 'r' routing, 'd'
 * destination options, 'D' the same of 24 bytes, 'a' authentication, 'm' mobility, 'f' fragment. */
__u8 packet_extension(char letter);

/* Changes the IPv4 or IPv6 source address, given in network order, and its checksums. */
void packet_set_source(struct packet *packet, const __be32 *address);

/* What the transport checksum should be over the bytes as they are now, network order; and where
 * it is, NULL for a protocol that has none. */
__be16 packet_checksum(const struct packet *packet, __u8 proto);
void *packet_checksum_field(struct packet *packet, __u8 proto);
/* The sum of the pseudo header alone, not complemented: what a sender with offload leaves. */
__be16 packet_partial_sum(const struct packet *packet, __u8 proto);

#endif
