/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The parser of both packet programs, XDP and TC: the one header that BPF folders share. The
 * includer defines PACKET_CONTEXT as its context type (struct xdp_md or struct __sk_buff).
 *
 * A cursor walks Ethernet, up to two VLAN tags, ARP, IPv4 with options, IPv6 with a bounded
 * number of extension headers, and stops at the transport header. The IP length, never the
 * frame length, bounds what belongs to the packet: short frames carry padding (RFC 894).
 *
 * A parsed packet holds offsets and numbers, no pointers, and settle() makes the verifier forget
 * by which of the many paths it was found: what follows is verified once, not once per path.
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
	void *end;    /* of what may be read */
	__u32 offset; /* of `at` in the frame */
	__u32 length; /* of the frame; may reach behind `end` (frags, non-linear skbs) */
};

#define WEIR_P_PORTS 0x1 /* sport and dport are valid */
#define WEIR_P_FIRST 0x2 /* the first of several fragments: there is more than this */

struct packet {
	__u32 l3;     /* offset of the IP header */
	__u32 l4;     /* offset of the transport header, of which only the ports were checked */
	__u32 l4_len; /* bytes the IP length gives to transport header and payload */
	__u32 proto;  /* IP protocol number, or WEIR_PROTO_ARP */
	__u32 family; /* 4, 6, or 0 */
	__u32 class;  /* enum weir_class */
	__u32 flags;  /* WEIR_P_* */
	__be16 sport;
	__be16 dport;
};

#define WEIR_L3_MASK 0x1f
#define WEIR_L4_MASK 0x3fff

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
	c->offset += size;
	return at;
}

/* Bytes of the frame from the cursor on. */
static __always_inline __u32 left(const struct cursor *c)
{
	return c->length - c->offset;
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
static __always_inline __u32 transport_header(__u32 proto)
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
static __always_inline bool parse_transport(struct packet *p, struct ports *ports, void *end)
{
	__u32 size = transport_header(p->proto);

	if (p->flags & WEIR_P_FIRST && size > sizeof(*ports))
		size = sizeof(*ports);
	if (p->l4_len < size)
		return false;
	if (!size || p->proto == IPPROTO_ICMP || p->proto == IPPROTO_ICMPV6)
		return true;
	if ((void *)(ports + 1) > end)
		return false;
	p->sport = ports->source;
	p->dport = ports->dest;
	p->flags |= WEIR_P_PORTS;
	return true;
}

static __always_inline __u32 parse_ip4(struct packet *p, struct cursor *c)
{
	struct iphdr *ip = c->at;
	__u32 header, total;
	__u16 fragment;

	if (c->at + sizeof(*ip) > c->end || ip->version != 4)
		return WEIR_MALFORMED;
	header = ip->ihl * 4;
	total = bpf_ntohs(ip->tot_len);
	if (!total) /* only GSO packets above 64 KiB have no length */
		total = left(c);
	if (header < sizeof(*ip) || total < header || total > left(c) || !take(c, header))
		return WEIR_MALFORMED;
	p->family = 4;
	p->proto = ip->protocol;
	p->l4 = c->offset;
	p->l4_len = total - header;
	fragment = bpf_ntohs(ip->frag_off);
	if (fragment & IP4_OFFSET_MASK)
		return WEIR_FRAGMENT4;
	if (fragment & IP4_MORE)
		p->flags = WEIR_P_FIRST;
	if (!parse_transport(p, c->at, c->end))
		return WEIR_MALFORMED;
	switch (p->proto) {
	case IPPROTO_TCP: return WEIR_TCP4;
	case IPPROTO_UDP: return WEIR_UDP4;
	case IPPROTO_ICMP: return WEIR_ICMP4;
	default: return WEIR_OTHER4;
	}
}

static __always_inline bool is_extension(__u32 proto)
{
	switch (proto) {
	case IPPROTO_HOPOPTS:
	case IPPROTO_ROUTING:
	case IPPROTO_DSTOPTS:
	case IPPROTO_FRAGMENT:
	case IPPROTO_AH:
	case IPPROTO_MH: return true;
	default: return false;
	}
}

static __always_inline __u32 extension_size(__u32 proto, __u32 len)
{
	if (proto == IPPROTO_FRAGMENT)
		return sizeof(struct extension);
	return proto == IPPROTO_AH ? (len + 2) * 4 : (len + 1) * 8;
}

#define EXT_MALFORMED 0x01000000
#define EXT_UNDECIDED 0x02000000
#define EXT_FIRST     0x04000000
#define EXT_FRAGMENT  0x08000000

/*
 * Walks from `offset` to the transport header or behind a non-first fragment header; `stop` is
 * where the IP length ends. Returns its offset in bits 0-15, the protocol in bits 16-23, EXT_*.
 * A global function: verified once, whatever calls it.
 */
__noinline __u32 weir_extensions(struct PACKET_CONTEXT *ctx, __u32 offset, __u32 proto,
				 __u32 stop)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 flags = 0;

	for (int i = 0; i < WEIR_EXTENSION_LIMIT; i++) {
		struct extension *ext;

		proto &= 0xff;
		if (!is_extension(proto))
			return offset | proto << 16 | flags;
		offset &= WEIR_L4_MASK;
		ext = data + offset;
		if ((void *)(ext + 1) > end)
			return EXT_MALFORMED;
		if (proto == IPPROTO_FRAGMENT) {
			if (ext->offset & bpf_htons(IP6_OFFSET_MASK))
				flags = EXT_FRAGMENT;
			else if (ext->offset & bpf_htons(IP6_MORE))
				flags = EXT_FIRST;
		}
		offset += extension_size(proto, ext->len);
		if (offset > stop || offset > WEIR_L4_MASK)
			return EXT_MALFORMED;
		proto = ext->next;
		if (flags & EXT_FRAGMENT)
			return offset | proto << 16 | flags;
	}
	return is_extension(proto) ? EXT_UNDECIDED : offset | (proto & 0xff) << 16 | flags;
}

static __always_inline __u32 parse_ip6(struct packet *p, struct cursor *c,
				       struct PACKET_CONTEXT *ctx)
{
	struct ipv6hdr *ip = take(c, sizeof(*ip));
	__u32 payload;

	if (!ip || ip->version != 6)
		return WEIR_MALFORMED;
	payload = bpf_ntohs(ip->payload_len);
	if (!payload) /* a jumbogram (RFC 2675) or a GSO packet above 64 KiB */
		payload = left(c);
	if (payload > left(c))
		return WEIR_MALFORMED;
	p->family = 6;
	p->proto = ip->nexthdr;
	p->l4 = c->offset;
	p->l4_len = payload;
	if (is_extension(p->proto)) {
		__u32 found = weir_extensions(ctx, p->l4, p->proto, p->l4 + payload);

		if (found & (EXT_MALFORMED | EXT_UNDECIDED))
			return found & EXT_MALFORMED ? WEIR_MALFORMED : WEIR_UNDECIDED;
		p->proto = found >> 16 & 0xff;
		p->l4_len -= (found & WEIR_L4_MASK) - p->l4;
		p->l4 = found & WEIR_L4_MASK;
		if (found & EXT_FRAGMENT)
			return WEIR_FRAGMENT6;
		if (found & EXT_FIRST)
			p->flags = WEIR_P_FIRST;
		c->at = (void *)(long)ctx->data + p->l4;
	}
	if (!parse_transport(p, c->at, c->end))
		return WEIR_MALFORMED;
	switch (p->proto) {
	case IPPROTO_TCP: return WEIR_TCP6;
	case IPPROTO_UDP: return WEIR_UDP6;
	case IPPROTO_ICMPV6: return WEIR_ICMP6;
	default: return WEIR_OTHER6;
	}
}

/* Exclusive-or with the same unknown number twice: the value stays, what the verifier knows of it
 * goes. */
static __always_inline __u64 forget(__u64 value, __u64 unknown)
{
	asm volatile("%0 ^= %1; %0 ^= %1" : "+r"(value) : "r"(unknown));
	return value;
}

static __always_inline void settle(struct packet *p, __u32 unknown)
{
	p->l3 = forget(p->l3, unknown) & WEIR_L3_MASK;
	p->l4 = forget(p->l4, unknown) & WEIR_L4_MASK;
	p->l4_len = forget(p->l4_len, unknown);
	p->proto = forget(p->proto, unknown) & 0x1ff;
	p->family = forget(p->family, unknown) & 0xf;
	p->class = forget(p->class, unknown) & 0xf;
	p->flags = forget(p->flags, unknown) & 0x3;
	p->sport = forget(p->sport, unknown);
	p->dport = forget(p->dport, unknown);
}

/* `p` must be zeroed. */
static __always_inline void parse_packet(struct packet *p, struct cursor *c,
					 struct PACKET_CONTEXT *ctx, bool ethernet)
{
	__be16 proto = parse_link(c, ethernet);

	p->l3 = c->offset;
	if (proto == bpf_htons(ETH_P_IP)) {
		p->class = parse_ip4(p, c);
	} else if (proto == bpf_htons(ETH_P_IPV6)) {
		p->class = parse_ip6(p, c, ctx);
	} else if (proto == bpf_htons(ETH_P_ARP)) {
		p->class = WEIR_ARP;
		p->proto = WEIR_PROTO_ARP;
	} else if (!proto) {
		p->class = WEIR_MALFORMED;
	} else {
		p->class = is_vlan(proto) ? WEIR_UNDECIDED : WEIR_NON_IP;
	}
	settle(p, c->length);
}

/* The header at an offset found by the parser, or NULL when `size` bytes of it are not there. */
static __always_inline void *header_at(const struct PACKET_CONTEXT *ctx, __u32 offset, __u32 size)
{
	void *at = (void *)(long)ctx->data + (offset & WEIR_L4_MASK);

	return at + size > (void *)(long)ctx->data_end ? NULL : at;
}

#endif
