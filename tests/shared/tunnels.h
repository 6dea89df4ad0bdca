/* SPDX-License-Identifier: GPL-2.0 */
/* Packets in packets, the program that unpacks them, and what should come out. */
#ifndef WEIR_TESTS_TUNNELS_H
#define WEIR_TESTS_TUNNELS_H

#include "packets.h"
#include "xdp_run.h"

#define TUNNEL_HERE4 "203.0.113.9" /* where tunnels end */
#define TUNNEL_HERE6 "2001:db8:9::9"
#define TUNNEL_CE    3
#define TUNNEL_DROP  4 /* among codepoints */

struct tunnel {
	struct packet_layout outer; /* family, tags, options, chain, padding... */
	struct packet_layout inner;
};

/* Both packets as they are, the inner one bare, and the frame with one in the other. */
struct packed {
	struct packet inner;
	struct packet frame;
};

/* With --decap, for the usual addresses of this host. */
void tunnel_open(struct xdp_run *to, const struct weir_xdp_config *more, const struct rule_set *set,
		 const struct table_names *names);
void tunnel_put_address(struct weir_local_address *to, const char *text);
/* What are this host's addresses; the usual ones are those above and servers'. */
void tunnel_set_ends(struct xdp_run *to, const char *const *ends, size_t count);
void tunnel_set_usual_ends(struct xdp_run *to);

/* A TCP segment in a packet of this family. */
struct tunnel tunnel_of(__u8 outer, __u8 inner);
/* The outer packet says what it holds and goes to this host, unless `outer` says otherwise. */
void tunnel_pack(struct packed *p, const struct tunnel *t);

void tunnel_set_ecn(struct packet *packet, __u32 l3, __u8 ecn);
__u8 tunnel_ecn(const __u8 *ip);
void tunnel_sum_ip4(__u8 *ip); /* the right checksum of this header */

/* RFC 6040, figure 4: rows inner, columns outer, of Not-ECT, ECT(1), ECT(0), CE. */
extern const __u8 tunnel_merged_ecn[4][4];
/* The frame without the headers from l3 to l4. */
void tunnel_cut_out(struct packet *want, const struct packet *frame, __u32 l3, __u32 l4);

#endif
