/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Unpacks what comes in IP tunnels to an address of this host: IPv4 or IPv6 in either (RFC 2003,
 * RFC 2473, RFC 4213). The rest of the pipeline and the stack see the inner packet, behind the
 * link-layer header of the outer one. Whoever knows the address may send tunnels, so what comes out
 * is for this host only, and is not balanced again.
 */
#ifndef WEIR_DECAP_H
#define WEIR_DECAP_H

#include "../checksum.h"
#include "../count.h"
#include "error.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, WEIR_LOCAL_ADDRESSES);
	__type(key, struct weir_local_address);
	__type(value, __u32);
} local_addresses SEC(".maps");

enum unpacked {
	UNPACKED_NOT, /* for the stack as it is */
	UNPACKED,
	UNPACKED_BAD,
};

#define ECN_MASK 3
#define ECN_ECT1 1
#define ECN_ECT0 2
#define ECN_CE	 3
#define ECN_DROP 0xff

/* RFC 6040 4.2: the inner codepoint after the tunnel, or ECN_DROP. */
static __always_inline __u32 merge_ecn(__u32 outer, __u32 inner)
{
	if (outer == ECN_CE)
		return inner ? ECN_CE : ECN_DROP;
	return outer == ECN_ECT1 && inner == ECN_ECT0 ? ECN_ECT1 : inner;
}

static __always_inline bool is_local(const struct weir_local_address *a)
{
	return bpf_map_lookup_elem(&local_addresses, a);
}

static __always_inline struct weir_local_address address4(__be32 address)
{
	return (struct weir_local_address){
		.family = 4,
		.high = (__u64)bpf_ntohl(address) << 32,
	};
}

static __always_inline struct weir_local_address address6(const struct in6_addr *a)
{
	const __be32 *word = a->in6_u.u6_addr32;

	return (struct weir_local_address){
		.family = 6,
		.high = (__u64)bpf_ntohl(word[0]) << 32 | bpf_ntohl(word[1]),
		.low = (__u64)bpf_ntohl(word[2]) << 32 | bpf_ntohl(word[3]),
	};
}

/* Nor does a link's own address come from anywhere but that link. */
static __always_inline bool is_possible_source(const struct weir_local_address *a)
{
	return is_one_host(a->family, a->high, a->low) &&
	       (a->family == 4 || a->high >> 54 != 0xfe80 >> 6);
}

/* The tunnel of a fragment ends where the packet is put together again. */
static __always_inline bool is_whole_outer(struct xdp_md *ctx, const struct packet *p)
{
	if (p->family == 4) {
		const struct iphdr *ip = header_at(ctx, p->l3, sizeof(*ip));

		return ip && !(ip->frag_off & bpf_htons(IP4_OFFSET_MASK | IP4_MORE));
	} else {
		const struct extension *ext;

		if (!p->fragment)
			return true;
		ext = header_at(ctx, p->fragment, sizeof(*ext));
		return ext && !(ext->offset & bpf_htons(IP6_OFFSET_MASK | IP6_MORE));
	}
}

/* ECN of the outer header; ECN_DROP: not there. */
static __always_inline __u32 outer_ecn(struct xdp_md *ctx, const struct packet *p)
{
	const __u8 *ip;

	reload_bounds();
	ip = header_at(ctx, p->l3, 2);
	if (!ip)
		return ECN_DROP;
	return (p->family == 4 ? ip[1] : ip[1] >> 4) & ECN_MASK;
}

struct inner {
	struct weir_local_address source, dest;
};

/* Whether a whole IPv4 packet is there. */
static __always_inline bool read4(struct xdp_md *ctx, const struct packet *p, struct inner *inner)
{
	const struct iphdr *ip = header_at(ctx, p->l4, sizeof(*ip));
	__u32 header, length;

	if (!ip || p->l4_len < sizeof(*ip))
		return false;
	header = (*(__u8 *)ip & 0xf) * 4;
	length = bpf_ntohs(ip->tot_len);
	if (*(__u8 *)ip >> 4 != 4 || header < sizeof(*ip) || length < header || length > p->l4_len)
		return false;
	inner->source = address4(ip->saddr);
	inner->dest = address4(ip->daddr);
	return true;
}

static __always_inline bool read6(struct xdp_md *ctx, const struct packet *p, struct inner *inner)
{
	const struct ipv6hdr *ip = header_at(ctx, p->l4, sizeof(*ip));

	if (!ip || p->l4_len < sizeof(*ip) || *(__u8 *)ip >> 4 != 6 ||
	    bpf_ntohs(ip->payload_len) > p->l4_len - sizeof(*ip))
		return false;
	inner->source = address6(&ip->saddr);
	inner->dest = address6(&ip->daddr);
	return true;
}

/* Makes ECN what it is after the tunnel; false: to be dropped. */
static __always_inline bool mark4(struct xdp_md *ctx, const struct packet *p, __u32 outer)
{
	struct iphdr *ip = header_at(ctx, p->l4, sizeof(*ip));
	__u32 ecn, sum;

	if (!ip)
		return false;
	ecn = merge_ecn(outer, ip->tos & ECN_MASK);
	if (ecn == ECN_DROP)
		return false;
	if (ecn != (ip->tos & ECN_MASK)) {
		sum = (__u16)~ip->check + (__u16)~bpf_htons(ip->tos);
		ip->tos = (ip->tos & ~ECN_MASK) | ecn;
		ip->check = ~fold(sum + bpf_htons(ip->tos));
	}
	return true;
}

static __always_inline bool mark6(struct xdp_md *ctx, const struct packet *p, __u32 outer)
{
	struct ipv6hdr *ip = header_at(ctx, p->l4, sizeof(*ip));
	__u8 *class;
	__u32 ecn;

	if (!ip)
		return false;
	class = (__u8 *)ip + 1;
	ecn = merge_ecn(outer, *class >> 4 & ECN_MASK);
	if (ecn == ECN_DROP)
		return false;
	*class = (*class & ~(ECN_MASK << 4)) | ecn << 4;
	return true;
}

/* Ethernet addresses and up to two VLAN tags. */
struct link_copy {
	__u32 word[5];
};

/* Cuts the outer header out from under the link-layer header. */
static __always_inline bool cut(struct xdp_md *ctx, __u32 l3, __u32 distance, __be16 proto)
{
	struct link_copy copy;
	__u32 *link = header_at(ctx, 0, sizeof(copy));

	if (!link)
		return false;
	if (l3 < ETH_HLEN)
		return !bpf_xdp_adjust_head(ctx, distance);
#pragma unroll
	for (int i = 0; i < 5; i++)
		copy.word[i] = link[i];
	if (bpf_xdp_adjust_head(ctx, distance))
		return false;
	link = header_at(ctx, 0, sizeof(copy) + sizeof(proto));
	if (!link)
		return false;
#pragma unroll
	for (int i = 0; i < 3; i++)
		link[i] = copy.word[i];
	if (l3 > ETH_HLEN)
		link[3] = copy.word[3];
	if (l3 > ETH_HLEN + 4)
		link[4] = copy.word[4];
	*(__be16 *)((void *)link + (l3 == ETH_HLEN ? 12 : l3 == ETH_HLEN + 4 ? 16 : 20)) = proto;
	return true;
}

static __always_inline enum unpacked judge(struct xdp_md *ctx, const struct packet *p, bool inner6)
{
	struct weir_local_address end = {.high = p->dest, .low = p->dest_low, .family = p->family};
	struct inner inner;

	if (!is_local(&end) || !is_whole_outer(ctx, p))
		return UNPACKED_NOT;
	reload_bounds();
	if (!(inner6 ? read6(ctx, p, &inner) : read4(ctx, p, &inner)))
		return UNPACKED_BAD;
	if (!is_local(&inner.dest))
		return UNPACKED_NOT;
	return is_possible_source(&inner.source) ? UNPACKED : UNPACKED_BAD;
}

/* A global function: off the way of packets that come in no tunnel. */
__noinline int weir_unpack(struct xdp_md *ctx, const struct packet *p)
{
	enum unpacked judged;
	bool inner6;
	__u32 outer;

	if (!config.decap || !p)
		return UNPACKED_NOT;
	inner6 = p->proto == IPPROTO_IPV6;
	judged = judge(ctx, p, inner6);
	if (judged != UNPACKED)
		return judged;
	outer = outer_ecn(ctx, p);
	if (outer == ECN_DROP)
		return UNPACKED_BAD;
	reload_bounds();
	if (!(inner6 ? mark6(ctx, p, outer) : mark4(ctx, p, outer)))
		return UNPACKED_BAD;
	reload_bounds();
	if (!cut(ctx, p->l3, (p->l4 - p->l3) & WEIR_L4_MASK,
		 inner6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP)))
		return UNPACKED_BAD;
	return UNPACKED;
}

/* The parser once more, for the inner packet. */
__noinline int weir_parse_inner(struct xdp_md *ctx, struct frame *f)
{
	if (!config.decap || !f)
		return 0;
	__builtin_memset(f, 0, sizeof(*f));
	parse(f, ctx, true);
	return 0;
}

static __always_inline void count_decapsulated(__u32 bytes)
{
	struct weir_device_counters *c = config.explain ? NULL : device_counters();

	if (c)
		add(&c->decapsulated, bytes);
}

static __always_inline bool is_tunnel(const struct frame *f)
{
	return (f->class == WEIR_OTHER4 || f->class == WEIR_OTHER6) &&
	       (f->packet.proto == IPPROTO_IPIP || f->packet.proto == IPPROTO_IPV6);
}

/* Whether `f` is the inner packet afterwards; else `d` may say that it is dropped. */
static __always_inline bool decapsulate(struct xdp_md *ctx, struct frame *f, struct decision *d)
{
	if (!is_tunnel(f))
		return false;
	switch (weir_unpack(ctx, &f->packet)) {
	case UNPACKED_BAD: *d = dropped(WEIR_BY_BAD_TUNNEL); return false;
	case UNPACKED:
		count_decapsulated(f->bytes);
		weir_parse_inner(ctx, f);
		return true;
	}
	return false;
}

#endif
