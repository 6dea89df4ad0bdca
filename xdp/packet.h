/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The parser of both packet programs, XDP and TC: the one header that BPF folders share.
 *
 * A cursor walks Ethernet, up to two VLAN tags, ARP, IPv4 with options, IPv6 with a bounded
 * number of extension headers, and stops at the transport header. The IP length, never the
 * frame length, bounds what belongs to the packet: short frames carry padding (RFC 894).
 */
#ifndef WEIR_PACKET_H
#define WEIR_PACKET_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <stdbool.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "abi.h"

#define WEIR_VLAN_TAGS	     2
#define WEIR_EXTENSION_LIMIT 6

struct cursor {
	void *at;
	void *end;  /* of what may be read */
	__u32 left; /* bytes of the frame from `at`; may reach behind `end` (frags, non-linear skbs) */
};

struct packet {
	struct iphdr *ip4; /* set when family is 4 */
	struct ipv6hdr *ip6;
	void *l4;	 /* transport header; readable bytes are not checked yet */
	__u32 l4_len;	 /* bytes the IP length gives to transport header and payload */
	__be16 sport;
	__be16 dport;
	__u16 proto;	 /* IP protocol number, or WEIR_PROTO_ARP */
	__u8 family;	 /* 4, 6, or 0 */
	__u8 class;	 /* enum weir_class */
	bool has_ports;
	bool first;	 /* first of several fragments: the packet is longer than this */
};

struct vlan_tag {
	__be16 tci;
	__be16 proto;
};

struct extension {
	__u8 next;
	__u8 len;
	__be16 offset; /* fragment header only */
	__be32 rest;
};

struct ports {
	__be16 source;
	__be16 dest;
};

#define IP4_OFFSET_MASK 0x1fff
#define IP4_MORE	0x2000
#define IP6_OFFSET_MASK 0xfff8
#define IP6_MORE	0x0001

static __always_inline void *take(struct cursor *c, __u32 size)
{
	void *at = c->at;

	if (at + size > c->end)
		return NULL;
	c->at = at + size;
	c->left -= size;
	return at;
}

static __always_inline bool is_vlan(__be16 proto)
{
	return proto == bpf_htons(ETH_P_8021Q) || proto == bpf_htons(ETH_P_8021AD);
}

/* Returns the EtherType in network order, 0 when the frame ends too soon, or still a VLAN type
 * when there are more tags than the parser follows. */
static __always_inline __be16 parse_link(struct cursor *c, bool ethernet)
{
	struct ethhdr *eth;
	__be16 proto;

	if (!ethernet) {
		__u8 *version = c->at;

		if (c->at + 1 > c->end)
			return 0;
		return *version >> 4 == 6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
	}
	eth = take(c, sizeof(*eth));
	if (!eth)
		return 0;
	proto = eth->h_proto;
#pragma unroll
	for (int i = 0; i < WEIR_VLAN_TAGS; i++) {
		struct vlan_tag *tag;

		if (!is_vlan(proto))
			break;
		tag = take(c, sizeof(*tag));
		if (!tag)
			return 0;
		proto = tag->proto;
	}
	return proto;
}

/* The least size of a transport header that rules or counters look into; 0: not looked into. */
static __always_inline __u32 transport_header(__u8 proto)
{
	switch (proto) {
	case IPPROTO_TCP: return 20;
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE:
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6: return 8;
	case IPPROTO_SCTP:
	case IPPROTO_DCCP: return 12;
	default: return 0;
	}
}

/* Returns false when the packet is shorter than the header its protocol number promises. The
 * first of several fragments must hold the ports, or rules on ports could be evaded (RFC 3128). */
static __always_inline bool parse_transport(struct packet *p, struct cursor *c)
{
	__u32 size = transport_header(p->proto);
	struct ports *ports = c->at;

	p->l4 = c->at;
	if (p->l4_len < (p->first && size > sizeof(*ports) ? sizeof(*ports) : size))
		return false;
	if (!size || p->proto == IPPROTO_ICMP || p->proto == IPPROTO_ICMPV6)
		return true;
	if (c->at + sizeof(*ports) > c->end)
		return false;
	p->sport = ports->source;
	p->dport = ports->dest;
	p->has_ports = true;
	return true;
}

static __always_inline __u8 parse_ip4(struct packet *p, struct cursor *c)
{
	struct iphdr *ip = c->at;
	__u32 header, total;
	__u16 fragment;

	if (c->at + sizeof(*ip) > c->end || ip->version != 4)
		return WEIR_MALFORMED;
	header = ip->ihl * 4;
	total = bpf_ntohs(ip->tot_len);
	if (!total) /* only GSO packets above 64 KiB have no length */
		total = c->left;
	if (header < sizeof(*ip) || total < header || total > c->left || !take(c, header))
		return WEIR_MALFORMED;
	p->ip4 = ip;
	p->family = 4;
	p->proto = ip->protocol;
	p->l4_len = total - header;
	fragment = bpf_ntohs(ip->frag_off);
	if (fragment & IP4_OFFSET_MASK)
		return WEIR_FRAGMENT4;
	p->first = fragment & IP4_MORE;
	if (!parse_transport(p, c))
		return WEIR_MALFORMED;
	switch (p->proto) {
	case IPPROTO_TCP: return WEIR_TCP4;
	case IPPROTO_UDP: return WEIR_UDP4;
	case IPPROTO_ICMP: return WEIR_ICMP4;
	default: return WEIR_OTHER4;
	}
}

/* Walks to the transport header. Returns false when it is not to be found: a header is cut off
 * (class malformed) or there are too many (undecided). Stops behind a non-first fragment header. */
static __always_inline bool skip_extensions(struct packet *p, struct cursor *c, bool *fragment)
{
	for (int i = 0; i < WEIR_EXTENSION_LIMIT; i++) {
		struct extension *ext = c->at;
		__u32 size;

		switch (p->proto) {
		case IPPROTO_HOPOPTS:
		case IPPROTO_ROUTING:
		case IPPROTO_DSTOPTS:
		case IPPROTO_FRAGMENT:
		case IPPROTO_AH:
		case IPPROTO_MH: break;
		default: return true;
		}
		p->class = WEIR_MALFORMED;
		if (c->at + sizeof(*ext) > c->end)
			return false;
		size = p->proto == IPPROTO_AH	      ? (ext->len + 2) * 4
		       : p->proto == IPPROTO_FRAGMENT ? sizeof(*ext)
						      : (ext->len + 1) * 8;
		if (size > p->l4_len || !take(c, size))
			return false;
		p->l4_len -= size;
		if (p->proto == IPPROTO_FRAGMENT) {
			*fragment = ext->offset & bpf_htons(IP6_OFFSET_MASK);
			p->first = !*fragment && ext->offset & bpf_htons(IP6_MORE);
		}
		p->proto = ext->next;
		if (*fragment)
			return true;
	}
	p->class = WEIR_UNDECIDED;
	return false;
}

static __always_inline __u8 parse_ip6(struct packet *p, struct cursor *c)
{
	struct ipv6hdr *ip = take(c, sizeof(*ip));
	bool fragment = false;

	if (!ip || ip->version != 6)
		return WEIR_MALFORMED;
	p->l4_len = bpf_ntohs(ip->payload_len);
	if (!p->l4_len) /* a jumbogram (RFC 2675) or a GSO packet above 64 KiB */
		p->l4_len = c->left;
	if (p->l4_len > c->left)
		return WEIR_MALFORMED;
	p->ip6 = ip;
	p->family = 6;
	p->proto = ip->nexthdr;
	if (!skip_extensions(p, c, &fragment))
		return p->class;
	if (fragment)
		return WEIR_FRAGMENT6;
	if (!parse_transport(p, c))
		return WEIR_MALFORMED;
	switch (p->proto) {
	case IPPROTO_TCP: return WEIR_TCP6;
	case IPPROTO_UDP: return WEIR_UDP6;
	case IPPROTO_ICMPV6: return WEIR_ICMP6;
	default: return WEIR_OTHER6;
	}
}

/* `p` must be zeroed. */
static __always_inline void parse_packet(struct packet *p, struct cursor *c, bool ethernet)
{
	__be16 proto = parse_link(c, ethernet);

	if (proto == bpf_htons(ETH_P_IP)) {
		p->class = parse_ip4(p, c);
	} else if (proto == bpf_htons(ETH_P_IPV6)) {
		p->class = parse_ip6(p, c);
	} else if (proto == bpf_htons(ETH_P_ARP)) {
		p->class = WEIR_ARP;
		p->proto = WEIR_PROTO_ARP;
	} else if (!proto) {
		p->class = WEIR_MALFORMED;
	} else {
		p->class = is_vlan(proto) ? WEIR_UNDECIDED : WEIR_NON_IP;
	}
}

#endif
