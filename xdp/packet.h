/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The parser of both packet programs, XDP and TC: the one header that BPF folders share. The
 * includer defines PACKET_CONTEXT as its context type (struct xdp_md or struct __sk_buff).
 *
 * A cursor walks Ethernet, up to two VLAN tags, ARP, IPv4 with options, IPv6 with a bounded
 * number of extension headers, and stops at the transport header. The IP length, never the
 * frame length, bounds what belongs to the packet: short frames carry padding (RFC 894).
 *
 * A parsed packet holds offsets and numbers, no pointers, so that it can be handed to global
 * functions, which the verifier looks at once and not once for each way through the parser.
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

/* In host byte order; an IPv4 address is the upper half of the first word. */
struct packet {
	__u64 source, source_low;
	__u64 dest, dest_low;
	__u32 l3;     /* offset of the IP header */
	__u32 l4;     /* offset of the transport header, of which only the ports were checked */
	__u32 l4_len; /* bytes the IP length gives to transport header and payload */
	__u16 proto;  /* IP protocol number, or WEIR_PROTO_ARP */
	__u8 family;  /* 4, 6, or 0 */
	__u8 flags;   /* WEIR_P_* */
	__u16 sport;
	__u16 dport;
	__u32 fragment; /* IPv6: offset of the fragment header; 0: none */
};

/* What the parser fills in besides the class, a constant. */
enum details {
	DETAILS_NONE,
	DETAILS_ALL,
	/* parse_ip4() and parse_ip6() only: of common packets, in registers. What would make another
	 * way through the parser is WEIR_UNCOMMON, as the verifier follows each way to the end. */
	DETAILS_COMMON,
};

#define WEIR_UNCOMMON WEIR_CLASSES

#define WEIR_L3_MASK 0x1f
#define WEIR_L4_MASK 0x3fff

/* As struct ethhdr, but not packed: its fields are read whole. */
struct link_header {
	__u8 dest[6];
	__u8 source[6];
	__be16 proto;
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

static __always_inline bool has(const struct cursor *c, __u32 size)
{
	return c->at + size <= c->end;
}

static __always_inline void skip(struct cursor *c, __u32 size)
{
	c->at += size;
	c->offset += size;
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
	__be16 proto;

	if (!ethernet) {
		__u8 *version = c->at;

		if (!has(c, 1))
			return 0;
		return *version >> 4 == 6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
	}
	if (!has(c, sizeof(struct link_header)))
		return 0;
	proto = ((struct link_header *)c->at)->proto;
	skip(c, sizeof(struct link_header));
#pragma unroll
	for (int i = 0; i < WEIR_VLAN_TAGS; i++) {
		if (!is_vlan(proto))
			break;
		if (!has(c, sizeof(struct vlan_tag)))
			return 0;
		proto = ((struct vlan_tag *)c->at)->proto;
		skip(c, sizeof(struct vlan_tag));
	}
	return proto;
}

/* The least size of the headers that begin with two ports, other than TCP's; 0: no such header. */
static __always_inline __u32 header_with_ports(__u32 proto)
{
	switch (proto) {
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE: return 8;
	case IPPROTO_SCTP:
	case IPPROTO_DCCP: return 12;
	default: return 0;
	}
}

#define ICMP_HEADER 8

/*
 * Everything but the address family's own: the class, which is `tcp`, or the ones behind it in
 * enum weir_class. A packet shorter than the header its protocol number promises is malformed;
 * the first of several fragments must hold the ports, or rules on ports could be evaded (RFC
 * 3128). With `details`, `p` is told the ports.
 */
static __always_inline __u32 parse_transport(struct packet *p, struct cursor *c, __u32 proto,
					     __u32 len, bool first, __u32 tcp, enum details details)
{
	__u32 icmp = tcp == WEIR_TCP4 ? IPPROTO_ICMP : IPPROTO_ICMPV6;
	__u32 class = tcp, size = 20;

	if (details == DETAILS_COMMON && proto != IPPROTO_TCP && proto != IPPROTO_UDP)
		return WEIR_UNCOMMON;
	if (proto != IPPROTO_TCP) {
		class = tcp - WEIR_TCP4 + (proto == IPPROTO_UDP ? WEIR_UDP4 : WEIR_OTHER4);
		size = header_with_ports(proto);
		if (proto == icmp)
			return len < ICMP_HEADER && !first ? WEIR_MALFORMED
							   : tcp - WEIR_TCP4 + WEIR_ICMP4;
		if (!size)
			return class;
	}
	if (len < (first ? sizeof(struct ports) : size))
		return WEIR_MALFORMED;
	if (details) {
		struct ports *ports = c->at;

		if (!has(c, sizeof(*ports)))
			return WEIR_MALFORMED;
		p->sport = bpf_ntohs(ports->source);
		p->dport = bpf_ntohs(ports->dest);
		p->flags = WEIR_P_PORTS | (first ? WEIR_P_FIRST : 0);
	}
	return class;
}

static __always_inline __u32 parse_ip4(struct packet *p, struct cursor *c, enum details details)
{
	__u32 header = sizeof(struct iphdr), len;
	struct iphdr *ip = c->at;
	__u8 version_ihl;
	__u16 fragment;

	if (!has(c, sizeof(*ip)))
		return WEIR_MALFORMED;
	version_ihl = *(__u8 *)ip;
	if (version_ihl != 0x45) {
		if (details == DETAILS_COMMON)
			return WEIR_UNCOMMON;
		header = (version_ihl & 0xf) * 4;
		if (version_ihl >> 4 != 4 || header < sizeof(*ip) || header > left(c))
			return WEIR_MALFORMED;
	}
	len = bpf_ntohs(ip->tot_len) - header;
	skip(c, header);
	if (len > left(c)) {
		if (details == DETAILS_COMMON)
			return WEIR_UNCOMMON;
		/* Only GSO packets above 64 KiB have no length. */
		if (ip->tot_len)
			return WEIR_MALFORMED;
		len = left(c);
	}
	if (details) {
		p->source = (__u64)bpf_ntohl(ip->saddr) << 32;
		p->dest = (__u64)bpf_ntohl(ip->daddr) << 32;
		p->family = 4;
		p->proto = ip->protocol;
		p->l4 = c->offset;
		p->l4_len = len;
	}
	fragment = ip->frag_off & bpf_htons(IP4_OFFSET_MASK | IP4_MORE);
	if (details == DETAILS_COMMON && fragment)
		return WEIR_UNCOMMON;
	if (fragment & bpf_htons(IP4_OFFSET_MASK))
		return WEIR_FRAGMENT4;
	return parse_transport(p, c, ip->protocol, len, fragment, WEIR_TCP4, details);
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
 * where the IP length ends. Returns its offset in bits 0-15, the protocol in bits 16-23, EXT_*, and
 * in bits 32-47 the offset of the fragment header. A global function: verified once, whatever calls
 * it.
 */
__noinline __u64 weir_extensions(struct PACKET_CONTEXT *ctx, __u32 offset, __u32 proto, __u32 stop)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u64 flags = 0;

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
			flags = (flags & EXT_FIRST) | (__u64)offset << 32;
			if (ext->offset & bpf_htons(IP6_OFFSET_MASK))
				flags |= EXT_FRAGMENT;
			else if (ext->offset & bpf_htons(IP6_MORE))
				flags |= EXT_FIRST;
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

static __always_inline __u64 be64_at(const void *at)
{
	const __be32 *half = at;

	return (__u64)bpf_ntohl(half[0]) << 32 | bpf_ntohl(half[1]);
}

static __always_inline __u32 parse_ip6(struct packet *p, struct cursor *c,
				       struct PACKET_CONTEXT *ctx, enum details details)
{
	struct ipv6hdr *ip = c->at;
	__u32 proto, payload;
	bool first = false;
	__u64 found;

	if (!has(c, sizeof(*ip)) || ip->version != 6)
		return WEIR_MALFORMED;
	skip(c, sizeof(*ip));
	payload = bpf_ntohs(ip->payload_len);
	if (details == DETAILS_COMMON && !payload)
		return WEIR_UNCOMMON;
	if (!payload) /* a jumbogram (RFC 2675) or a GSO packet above 64 KiB */
		payload = left(c);
	if (payload > left(c))
		return WEIR_MALFORMED;
	proto = ip->nexthdr;
	found = c->offset | proto << 16;
	if (details == DETAILS_COMMON && proto != IPPROTO_TCP && proto != IPPROTO_UDP)
		return WEIR_UNCOMMON;
	if (is_extension(proto)) {
		found = weir_extensions(ctx, c->offset, proto, c->offset + payload);
		if (found & (EXT_MALFORMED | EXT_UNDECIDED))
			return found & EXT_MALFORMED ? WEIR_MALFORMED : WEIR_UNDECIDED;
		proto = found >> 16 & 0xff;
		payload -= (found & WEIR_L4_MASK) - c->offset;
		first = found & EXT_FIRST;
		if (details)
			p->fragment = found >> 32;
		c->at = (void *)(long)ctx->data + (found & WEIR_L4_MASK);
	}
	if (details) {
		p->source = be64_at(&ip->saddr);
		p->source_low = be64_at((void *)&ip->saddr + 8);
		p->dest = be64_at(&ip->daddr);
		p->dest_low = be64_at((void *)&ip->daddr + 8);
		p->family = 6;
		p->proto = proto;
		p->l4 = found & WEIR_L4_MASK;
		p->l4_len = payload;
	}
	if (found & EXT_FRAGMENT)
		return WEIR_FRAGMENT6;
	return parse_transport(p, c, proto, payload, first, WEIR_TCP6, details);
}

/* Exclusive-or with the same unknown number twice: the value stays, what the verifier knows of it
 * goes. */
static __always_inline __u64 forget(__u64 value, __u64 unknown)
{
	asm volatile("%0 ^= %1; %0 ^= %1" : "+r"(value) : "r"(unknown));
	return value;
}

/* The class of the frame. With details, `p` is filled, which must be zeroed; the fields that a class
 * has not got stay 0. */
static __always_inline __u32 parse_packet(struct packet *p, struct cursor *c,
					  struct PACKET_CONTEXT *ctx, bool ethernet,
					  enum details details)
{
	__be16 proto;

	/* Keeps the packet in memory: in registers, each branch of the parser would carry all of
	 * its fields along. */
	if (details == DETAILS_ALL)
		asm volatile("" : : "r"(p) : "memory");
	proto = parse_link(c, ethernet);
	if (details)
		p->l3 = c->offset;
	if (proto == bpf_htons(ETH_P_IP))
		return parse_ip4(p, c, details);
	if (proto == bpf_htons(ETH_P_IPV6))
		return parse_ip6(p, c, ctx, details);
	if (proto == bpf_htons(ETH_P_ARP)) {
		if (details)
			p->proto = WEIR_PROTO_ARP;
		return WEIR_ARP;
	}
	if (!proto)
		return WEIR_MALFORMED;
	return is_vlan(proto) ? WEIR_UNDECIDED : WEIR_NON_IP;
}

/* Has the packet's bounds read from the context again. The compiler may keep them over a branch
 * in a way that makes them plain numbers to the verifier. */
static __always_inline void reload_bounds(void)
{
	asm volatile("" : : : "memory");
}

/* The header at an offset found by the parser, or NULL when `size` bytes of it are not there. */
static __always_inline void *header_at(const struct PACKET_CONTEXT *ctx, __u32 offset, __u32 size)
{
	void *at = (void *)(long)ctx->data + (offset & WEIR_L4_MASK);

	return at + size > (void *)(long)ctx->data_end ? NULL : at;
}

#endif
