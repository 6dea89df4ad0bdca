/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Puts a packet into an outer IP header: IPv4 in IPv4 (RFC 2003), IPv6 or IPv4 in IPv6 (RFC 2473).
 * Class and ECN are copied (RFC 6040, normal mode), the inner hop limit goes down by one, the outer
 * packet may not be fragmented. VLAN tags stay.
 */
#ifndef WEIR_ENCAP_H
#define WEIR_ENCAP_H

#include "../checksum.h"
#include "churn.h"

#define OUTER_HOPS 64

static __always_inline __u32 outer_size(const struct weir_backend *b)
{
	return b->flags & WEIR_B_V6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
}

/* Bytes from the IP header on, without the frame's padding. */
static __always_inline __u32 packet_size(const struct packet *p)
{
	return p->l4 - p->l3 + p->l4_len;
}

/* Class, ECN and, for IPv6, flow label of the inner packet as the first word of an IPv6 header;
 * with its hop limit decremented. 0: the packet may go no further. */
static __always_inline __u32 leave_host(struct xdp_md *ctx, const struct packet *p)
{
	if (p->family == 4) {
		struct iphdr *ip = header_at(ctx, p->l3, sizeof(*ip));
		__u32 sum;

		if (!ip || ip->ttl <= 1)
			return 0;
		ip->ttl--;
		sum = ip->check + bpf_htons(0x0100);
		ip->check = sum + (sum >> 16);
		return 6u << 28 | (__u32)ip->tos << 20;
	} else {
		struct ipv6hdr *ip = header_at(ctx, p->l3, sizeof(*ip));

		if (!ip || ip->hop_limit <= 1)
			return 0;
		ip->hop_limit--;
		return bpf_ntohl(*(__be32 *)ip) & 0xfff00000;
	}
}

/* The link-layer header comes along to the front: its Ethernet addresses are yet to be written. */
static __always_inline void move_link(void *data, __u32 l3, __u32 distance, __be16 proto)
{
	if (l3 == ETH_HLEN + 4) {
		*(__u32 *)(data + 12) = *(__u32 *)(data + distance + 12);
		*(__be16 *)(data + 16) = proto;
	} else if (l3 == ETH_HLEN + 8) {
		*(__u32 *)(data + 12) = *(__u32 *)(data + distance + 12);
		*(__u32 *)(data + 16) = *(__u32 *)(data + distance + 16);
		*(__be16 *)(data + 20) = proto;
	} else {
		*(__be16 *)(data + 12) = proto;
	}
}

static __always_inline void write_outer4(struct iphdr *ip, const struct weir_backend *b, __u32 size,
					 __u32 first, __u32 vary)
{
	__u32 tos = first >> 20 & 0xff;
	__u64 sum;

	ip->version = 4;
	ip->ihl = 5;
	ip->tos = tos;
	ip->tot_len = bpf_htons(size + sizeof(*ip));
	ip->id = 0;
	ip->frag_off = bpf_htons(0x4000);
	ip->ttl = OUTER_HOPS;
	ip->protocol = IPPROTO_IPIP;
	ip->saddr = b->source[0] | bpf_htonl(vary);
	ip->daddr = b->address[0];
	sum = bpf_htons(0x4500 | tos) + ip->tot_len + bpf_htons(0x4000) +
	      bpf_htons(OUTER_HOPS << 8 | IPPROTO_IPIP) + (__u64)ip->saddr + ip->daddr;
	ip->check = ~fold(sum);
}

/* The flow label varies with the flow (RFC 6438), so that equal-cost paths and receive queues
 * do. */
static __always_inline void write_outer6(struct ipv6hdr *ip, const struct weir_backend *b,
					 __u32 size, __u32 first, __u32 vary, __u32 label,
					 __u8 inner)
{
	*(__be32 *)ip = bpf_htonl(first | (label & 0xfffff));
	ip->payload_len = bpf_htons(size);
	ip->nexthdr = inner;
	ip->hop_limit = OUTER_HOPS;
	__builtin_memcpy(&ip->saddr, b->source, 16);
	ip->saddr.s6_addr32[3] |= bpf_htonl(vary);
	__builtin_memcpy(&ip->daddr, b->address, 16);
}

/* `over6` is a constant: what is checked below are sizes that the verifier knows. */
static __always_inline __u32 encapsulate_in(struct xdp_md *ctx, const struct packet *p,
					    const struct weir_backend *b, __u64 hash,
					    const bool over6)
{
	const __u32 distance = over6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
	__u32 vary = (__u32)hash & ((1u << (b->source_bits & 31)) - 1);
	__u32 size = packet_size(p), l3 = p->l3 & WEIR_L3_MASK, first;
	void *data, *end, *outer;

	if (size + distance > b->mtu)
		return WEIR_BY_TOO_BIG;
	first = leave_host(ctx, p);
	if (!first)
		return WEIR_BY_TTL;
	if (bpf_xdp_adjust_head(ctx, -(int)distance))
		return WEIR_BY_HEADROOM;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	outer = data + l3;
	if (data + ETH_HLEN + distance + sizeof(struct iphdr) > end || outer + distance > end)
		return WEIR_BY_HEADROOM;
	move_link(data, l3, distance, over6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP));
	if (over6)
		write_outer6(outer, b, size, first, vary, hash >> 20,
			     p->family == 6 ? IPPROTO_IPV6 : IPPROTO_IPIP);
	else
		write_outer4(outer, b, size, first, vary);
	return WEIR_REASONS;
}

/* WEIR_REASONS: done. The packet's offsets are then those of the inner packet before; pointers
 * are not valid. */
static __always_inline __u32 encapsulate(struct xdp_md *ctx, const struct packet *p,
					 const struct weir_backend *b, __u64 hash)
{
	return b->flags & WEIR_B_V6 ? encapsulate_in(ctx, p, b, hash, true)
				    : encapsulate_in(ctx, p, b, hash, false);
}

#endif
