/* SPDX-License-Identifier: GPL-2.0 */
/* Builds the frames that the bench sends through the programs. */
#ifndef WEIR_BENCH_PACKETS_H
#define WEIR_BENCH_PACKETS_H

#include <linux/types.h>

#define PACKET_ROOM    256
#define PACKET_CLIENT  "198.51.100.7"
#define PACKET_SERVER  "192.0.2.1"
#define PACKET_CLIENT6 "2001:db8:7::7"
#define PACKET_SERVER6 "2001:db8::1"

struct packet {
	__u8 bytes[PACKET_ROOM];
	__u32 length;
};

enum packet_tcp {
	PACKET_SYN = 0x02,
	PACKET_SYNACK = 0x12,
	PACKET_ACK = 0x10,
	PACKET_DATA = 0x18, /* PSH and ACK */
};

struct packet_layout {
	__u8 family; /* 4 or 6 */
	__u8 proto;  /* IPPROTO_TCP or IPPROTO_UDP */
	enum packet_tcp flags;
	const char *source; /* textual addresses; NULL: the client's and the server's */
	const char *destination;
	__u16 sport, dport;
	__u32 seq, ack;
	__u32 payload; /* bytes */
};

/* A frame with Ethernet header (all addresses zero, as on the loopback device), TCP options as
 * Linux sends them, and right checksums. */
void packet_build(struct packet *packet, const struct packet_layout *layout);

/* Changes the IPv4 or IPv6 source address, given in network order, and its checksums. */
void packet_set_source(struct packet *packet, const __be32 *address);

#endif
