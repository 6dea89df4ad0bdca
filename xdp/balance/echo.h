/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Answers echo requests to a VIP out of the request itself. A VIP is more than one service, so what
 * is answered is counted at service 0.
 *
 * The stack gets what would need more than that: a request with IPv4 options or IPv6 extension
 * headers, among them all fragments; and one that came by link-layer broadcast or multicast.
 */
#ifndef WEIR_ECHO_H
#define WEIR_ECHO_H

#include "error.h"
#include "outcome.h"

#define ECHO_HOPS     64
#define ECHO_REQUEST4 0x0800 /* type and code */
#define ECHO_REPLY4   0x0000
#define ECHO_REQUEST6 0x8000
#define ECHO_REPLY6   0x8100

static __always_inline bool is_echo_request(const struct packet *p, const struct icmp_header *icmp)
{
	return *(const __be16 *)icmp ==
	       (p->family == 4 ? bpf_htons(ECHO_REQUEST4) : bpf_htons(ECHO_REQUEST6));
}

/* The sum of the message's bytes falls by what its type falls by, so its complement rises.
 * Adding to the complement with end-around carry never makes 0 out of the sum of an answer that
 * is all zero. */
static __always_inline void answer_message(struct icmp_header *icmp, __u32 request, __u32 reply)
{
	__u32 sum = icmp->check + bpf_htons(request) + (__u16)~bpf_htons(reply);

	*(__be16 *)icmp = bpf_htons(reply);
	icmp->check = fold(sum);
}

static __always_inline bool answer_echo4(struct xdp_md *ctx, const struct packet *p)
{
	struct iphdr *ip = header_at(ctx, p->l3, sizeof(*ip) + sizeof(struct icmp_header));
	struct icmp_header *icmp;
	__be16 *hops, before;
	__be32 source;

	if (!ip || p->l4 - p->l3 != sizeof(*ip) ||
	    ip->frag_off & bpf_htons(IP4_OFFSET_MASK | IP4_MORE))
		return false;
	icmp = (void *)(ip + 1);
	answer_message(icmp, ECHO_REQUEST4, ECHO_REPLY4);
	hops = (__be16 *)&ip->ttl;
	before = *hops;
	ip->ttl = ECHO_HOPS;
	ip->check = ~fold((__u64)(__u16)~ip->check + (__u16)~before + *hops);
	source = ip->saddr;
	ip->saddr = ip->daddr;
	ip->daddr = source;
	return true;
}

static __always_inline bool answer_echo6(struct xdp_md *ctx, const struct packet *p)
{
	struct ipv6hdr *ip = header_at(ctx, p->l3, sizeof(*ip) + sizeof(struct icmp_header));
	struct in6_addr source;

	if (!ip || p->l4 - p->l3 != sizeof(*ip))
		return false;
	answer_message((void *)(ip + 1), ECHO_REQUEST6, ECHO_REPLY6);
	ip->hop_limit = ECHO_HOPS;
	source = ip->saddr;
	ip->saddr = ip->daddr;
	ip->daddr = source;
	return true;
}

static __always_inline __u32 answer_echo(struct xdp_md *ctx, const struct packet *p)
{
	const struct link_header *link = header_at(ctx, 0, sizeof(*link));

	if (!link || link->dest[0] & 1)
		return TO_STACK;
	if (!is_answerable(ctx, p))
		return TO_NOWHERE(WEIR_BY_MARTIAN);
	if (!(p->family == 4 ? answer_echo4(ctx, p) : answer_echo6(ctx, p)))
		return TO_STACK;
	count_for_service(0, icmp_answered);
	return TO_SENDER;
}

#endif
