/* SPDX-License-Identifier: GPL-2.0 */
/*
 * ICMP errors made out of the packets they are about: too big, time exceeded. They come from the
 * address the packet was for, as the balancer need not have one of its own that the sender knows.
 */
#ifndef WEIR_ERROR_H
#define WEIR_ERROR_H

#include "encap.h"

/* All of an error: RFC 1812 4.3.2.3 and RFC 4443 3.2. */
#define ERROR_MOST4 576
#define ERROR_MOST6 1280
/* No route is narrower, whatever somebody says: RFC 791 and RFC 8200 5. */
#define MTU_LEAST4 68
#define MTU_LEAST6 1280

#define ERROR_HOPS 64
#define ERROR_TOS4 0xc0 /* internetwork control: RFC 1812 4.3.2.5 */

#define IP4_DONT_FRAGMENT 0x4000

#define ICMP4_UNREACHABLE   3
#define ICMP4_FRAG_NEEDED   4 /* code */
#define ICMP4_TIME_EXCEEDED 11
#define ICMP4_BAD_PARAMETER 12
#define ICMP6_UNREACHABLE   1
#define ICMP6_TOO_BIG	    2
#define ICMP6_TIME_EXCEEDED 3
#define ICMP6_BAD_PARAMETER 4

struct icmp_header {
	__u8 type;
	__u8 code;
	__u16 check;
	__be32 rest;
};

/* Each CPU makes so many in a tick and, after a silence, so many at once; a packet beyond that is
 * dropped for the same reason, without an answer. */
#define ERRORS_PER_TICK 1000
#define ERRORS_AT_ONCE	256

/* A leaky bucket in whole numbers: an error puts as much in as a tick has jiffies, and of that
 * ERRORS_PER_TICK leak out in each. */
struct error_bucket {
	__u64 level;
	__u32 at; /* jiffies, low half */
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct error_bucket);
} error_bucket SEC(".maps");

static __always_inline bool may_answer_now(void)
{
	__u64 one = 1ull << (config.tick_shift & 31), leaked;
	__u32 key = 0, now = bpf_jiffies64();
	struct error_bucket *bucket;

	if (config.explain)
		return true;
	bucket = bpf_map_lookup_elem(&error_bucket, &key);
	if (!bucket)
		return false;
	leaked = (__u64)(now - bucket->at) * ERRORS_PER_TICK;
	bucket->level -= leaked < bucket->level ? leaked : bucket->level;
	bucket->at = now;
	if (bucket->level + one > ERRORS_AT_ONCE * one)
		return false;
	bucket->level += one;
	return true;
}

/* Neither unspecified nor loopback nor several hosts' (RFC 1122 3.2.2, RFC 4443 2.4). */
static __always_inline bool is_one_host(__u32 family, __u64 high, __u64 low)
{
	__u32 top = high >> 56;

	if (family == 4)
		return top && top != 127 && top < 224;
	return top != 0xff && (high || low > 1);
}

/* Nobody can be answered there (RFC 1812 5.3.7), or the packet claims to come from where it
 * goes. */
static __always_inline bool is_martian(const struct packet *p)
{
	return (p->source == p->dest && p->source_low == p->dest_low) ||
	       !is_one_host(p->family, p->source, p->source_low);
}

/* Whether its sender may be answered at all. */
static __always_inline bool is_answerable(struct xdp_md *ctx, const struct packet *p)
{
	const struct link_header *link = header_at(ctx, 0, sizeof(*link));

	return link && !(link->dest[0] & 1) && !is_martian(p) &&
	       is_one_host(p->family, p->dest, p->dest_low);
}

/* Not about ICMP and not about later fragments: neither shows ports. */
static __always_inline bool may_be_told(struct xdp_md *ctx, const struct packet *p, __u32 reason)
{
	const struct iphdr *ip;

	if (!(p->flags & WEIR_P_PORTS) || !is_answerable(ctx, p))
		return false;
	if (p->family == 6 || reason != WEIR_BY_TOO_BIG)
		return true;
	ip = header_at(ctx, p->l3, sizeof(*ip));
	return ip && ip->frag_off & bpf_htons(IP4_DONT_FRAGMENT);
}

/* Leaves only what is quoted of the packet, at most `most` bytes and all of it in front of
 * data_end. Returns how much that is, 0 on failure. */
static __always_inline __u32 cut_to_quote(struct xdp_md *ctx, const struct packet *p, __u32 most)
{
	__u32 readable = (void *)(long)ctx->data_end - (void *)(long)ctx->data;
	__u32 length = config.frags ? bpf_xdp_get_buff_len(ctx) : readable;
	__u32 quote = packet_size(p);

	if (quote > most)
		quote = most;
	if (p->l3 > readable)
		return 0;
	if (quote > readable - p->l3)
		quote = readable - p->l3;
	if (p->l3 + quote < length && bpf_xdp_adjust_tail(ctx, (int)(p->l3 + quote - length)))
		return 0;
	return quote;
}

/* Room in front of the IP header; the link-layer header moves along. */
static __always_inline bool make_room(struct xdp_md *ctx, const __u32 size)
{
	const __u32 link = ETH_HLEN + WEIR_VLAN_TAGS * sizeof(struct vlan_tag);
	void *data;

	if (bpf_xdp_adjust_head(ctx, -(int)size))
		return false;
	data = (void *)(long)ctx->data;
	if (data + size + link > (void *)(long)ctx->data_end)
		return false;
	/* Maybe a few bytes more, where the IP header is written next. */
	__builtin_memcpy(data, data + size, link);
	return true;
}

static __always_inline void write_icmp(struct icmp_header *icmp, __u32 type, __u32 code, __u32 rest,
				       __u64 sum)
{
	icmp->type = type;
	icmp->code = code;
	icmp->rest = bpf_htonl(rest);
	sum += bpf_htons(type << 8 | code) + (__u64)icmp->rest;
	icmp->check = ~fold(sum);
}

static __always_inline bool write_error4(struct xdp_md *ctx, const struct packet *p, __u32 reason,
					 __u32 mtu, __u32 quote, __u64 sum)
{
	const __u32 size = sizeof(struct iphdr) + sizeof(struct icmp_header);
	bool too_big = reason == WEIR_BY_TOO_BIG;
	struct iphdr *ip;

	if (!make_room(ctx, size))
		return false;
	ip = header_at(ctx, p->l3 & WEIR_L3_MASK, size);
	if (!ip)
		return false;
	ip->version = 4;
	ip->ihl = 5;
	ip->tos = ERROR_TOS4;
	ip->tot_len = bpf_htons(size + quote);
	ip->id = 0;
	ip->frag_off = bpf_htons(IP4_DONT_FRAGMENT);
	ip->ttl = ERROR_HOPS;
	ip->protocol = IPPROTO_ICMP;
	ip->saddr = bpf_htonl(p->dest >> 32);
	ip->daddr = bpf_htonl(p->source >> 32);
	ip->check =
		~fold(bpf_htons(0x4500 | ERROR_TOS4) + ip->tot_len + bpf_htons(IP4_DONT_FRAGMENT) +
		      bpf_htons(ERROR_HOPS << 8 | IPPROTO_ICMP) + (__u64)ip->saddr + ip->daddr);
	write_icmp((void *)(ip + 1), too_big ? ICMP4_UNREACHABLE : ICMP4_TIME_EXCEEDED,
		   too_big ? ICMP4_FRAG_NEEDED : 0, too_big ? mtu : 0, sum);
	return true;
}

static __always_inline bool write_error6(struct xdp_md *ctx, const struct packet *p, __u32 reason,
					 __u32 mtu, __u32 quote, __u64 sum)
{
	const __u32 size = sizeof(struct ipv6hdr) + sizeof(struct icmp_header);
	bool too_big = reason == WEIR_BY_TOO_BIG;
	struct ipv6hdr *ip;
	__be32 *address;

	if (!make_room(ctx, size))
		return false;
	ip = header_at(ctx, p->l3 & WEIR_L3_MASK, size);
	if (!ip)
		return false;
	*(__be32 *)ip = bpf_htonl(6u << 28);
	ip->payload_len = bpf_htons(sizeof(struct icmp_header) + quote);
	ip->nexthdr = IPPROTO_ICMPV6;
	ip->hop_limit = ERROR_HOPS;
	address = ip->saddr.s6_addr32;
	address[0] = bpf_htonl(p->dest >> 32);
	address[1] = bpf_htonl(p->dest);
	address[2] = bpf_htonl(p->dest_low >> 32);
	address[3] = bpf_htonl(p->dest_low);
	address = ip->daddr.s6_addr32;
	address[0] = bpf_htonl(p->source >> 32);
	address[1] = bpf_htonl(p->source);
	address[2] = bpf_htonl(p->source_low >> 32);
	address[3] = bpf_htonl(p->source_low);
	address = ip->saddr.s6_addr32;
#pragma unroll
	for (int i = 0; i < 8; i++)
		sum += address[i];
	sum += bpf_htons(IPPROTO_ICMPV6) + (__u64)ip->payload_len;
	write_icmp((void *)(ip + 1), too_big ? ICMP6_TOO_BIG : ICMP6_TIME_EXCEEDED, 0,
		   too_big ? mtu : 0, sum);
	return true;
}

/*
 * Makes the packet the error about itself that its sender is told, for WEIR_BY_TOO_BIG (`mtu`: of
 * layer 3, for packets of this family) or WEIR_BY_TTL; false when it must not be told, and the
 * packet is to be dropped. The packet's offsets are not valid afterwards.
 */
__noinline bool weir_make_error(struct xdp_md *ctx, const struct packet *p, __u32 reason, __u32 mtu)
{
	__u32 least, quote;
	struct run r = {};

	if (!config.modes || !p || !may_be_told(ctx, p, reason) || !may_answer_now())
		return false;
	least = p->family == 6 ? MTU_LEAST6 : MTU_LEAST4;
	if ((__s32)mtu < (__s32)least)
		mtu = least;
	quote = cut_to_quote(ctx, p,
			     p->family == 6 ? ERROR_MOST6 - sizeof(struct ipv6hdr) - ICMP_HEADER
					    : ERROR_MOST4 - sizeof(struct iphdr) - ICMP_HEADER);
	r.at = header_at(ctx, p->l3 & WEIR_L3_MASK, 1);
	r.end = (void *)(long)ctx->data_end;
	r.left = quote;
	if (!quote || !r.at || !sum_packet(&r))
		return false;
	if (p->family == 6)
		return write_error6(ctx, p, reason, mtu, quote, r.sum);
	return write_error4(ctx, p, reason, mtu, quote, r.sum);
}

#endif
