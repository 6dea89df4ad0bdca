/* SPDX-License-Identifier: GPL-2.0 */
/*
 * ICMP that comes to a VIP. Echo requests are answered. An error about a packet that a backend sent
 * from the VIP to a client goes to that backend, whichever router it comes from: the packet it
 * quotes, read in the other direction, is the client's flow. All else is the stack's: neighbour
 * discovery, redirects, source quench (RFC 6633), errors about something else.
 */
#ifndef WEIR_ICMP_H
#define WEIR_ICMP_H

#include "echo.h"

static __always_inline bool is_error(const struct packet *p, const struct icmp_header *icmp)
{
	__u32 type = icmp->type;

	if (p->family == 4)
		return type == ICMP4_UNREACHABLE || type == ICMP4_TIME_EXCEEDED ||
		       type == ICMP4_BAD_PARAMETER;
	return type >= ICMP6_UNREACHABLE && type <= ICMP6_BAD_PARAMETER;
}

/* A first fragment is of the class of its protocol. */
static __always_inline bool is_whole(struct xdp_md *ctx, const struct packet *p)
{
	if (p->family == 4) {
		const struct iphdr *ip = header_at(ctx, p->l3, sizeof(*ip));

		return ip && !(ip->frag_off & bpf_htons(IP4_OFFSET_MASK | IP4_MORE));
	} else {
		const struct ipv6hdr *ip = header_at(ctx, p->l3, sizeof(*ip));

		return ip && (ip->nexthdr == IPPROTO_ICMPV6 ||
			      !(weir_extensions(ctx, p->l3 + sizeof(*ip), ip->nexthdr,
						p->l4 + p->l4_len) &
				(EXT_FIRST | EXT_FRAGMENT)));
	}
}

/* Offset of the quoted transport header; 0: none is there. `r`, reversed: who sent the packet is
 * who the flow goes to. */
static __always_inline __u32 read_quote4(struct xdp_md *ctx, struct packet *r, __u32 at)
{
	const struct iphdr *ip = header_at(ctx, at, sizeof(*ip));
	__u32 header;

	if (!ip)
		return 0;
	header = (*(const __u8 *)ip & 0xf) * 4;
	if (*(const __u8 *)ip >> 4 != 4 || header < sizeof(*ip) ||
	    ip->frag_off & bpf_htons(IP4_OFFSET_MASK))
		return 0;
	r->dest = (__u64)bpf_ntohl(ip->saddr) << 32;
	r->source = (__u64)bpf_ntohl(ip->daddr) << 32;
	r->proto = ip->protocol;
	return at + header;
}

static __always_inline __u32 read_quote6(struct xdp_md *ctx, struct packet *r, __u32 at, __u32 stop)
{
	const struct ipv6hdr *ip = header_at(ctx, at, sizeof(*ip));
	__u32 found;

	if (!ip || ip->version != 6)
		return 0;
	r->dest = be64_at(&ip->saddr);
	r->dest_low = be64_at((const void *)&ip->saddr + 8);
	r->source = be64_at(&ip->daddr);
	r->source_low = be64_at((const void *)&ip->daddr + 8);
	r->proto = ip->nexthdr;
	at += sizeof(*ip);
	if (!is_extension(r->proto))
		return at;
	found = weir_extensions(ctx, at, r->proto, stop);
	if (found & (EXT_MALFORMED | EXT_UNDECIDED | EXT_FRAGMENT))
		return 0;
	r->proto = found >> 16 & 0xff;
	return found & 0xffff;
}

/* The compiler, which knows that an offset is small, would leave the mask in header_at() out; the
 * verifier of 6.1 does not know it in the register that is used. */
static __always_inline __u32 unbound(__u32 offset)
{
	asm volatile("" : "+r"(offset));
	return offset;
}

/* The quoted packet, reversed. Of its transport header only the ports need be there. */
static __always_inline bool read_quote(struct xdp_md *ctx, const struct packet *p, struct packet *r)
{
	__u32 at = p->l4 + ICMP_HEADER, stop = p->l4 + p->l4_len;
	const struct ports *ports;

	if (at > WEIR_L4_MASK)
		return false;
	at = unbound(at);
	r->family = p->family;
	at = p->family == 4 ? read_quote4(ctx, r, at) : read_quote6(ctx, r, at, stop);
	if (!at || at > WEIR_L4_MASK || at + sizeof(*ports) > stop)
		return false;
	at = unbound(at);
	ports = header_at(ctx, at, sizeof(*ports));
	if (!ports)
		return false;
	r->l3 = p->l4 + ICMP_HEADER;
	r->l4 = at;
	r->sport = bpf_ntohs(ports->dest);
	r->dport = bpf_ntohs(ports->source);
	return r->dest == p->dest && r->dest_low == p->dest_low;
}

/* Places the flow as a packet of it in mid-stream would be: that keeps what is remembered of it. */
static __always_inline __u32 relay_error(struct xdp_md *ctx, const struct packet *p,
					 struct flow *flow)
{
	const struct weir_service_head *t = service_table();
	const struct weir_service *s;
	struct packet r = {};
	__u32 index, backend;

	if (!t || !is_whole(ctx, p) || !read_quote(ctx, p, &r))
		return TO_STACK;
	index = find_service(t, find_address(t, p->family, p->dest, p->dest_low), r.proto, r.dport);
	if (!index)
		return TO_STACK;
	s = service_at(t, index);
	if (s->mode == WEIR_NAT)
		return TO_STACK;
	flow_of(flow, s, index, &r, PHASE_ANY);
	backend = place_in(s, flow);
	if (backend)
		count_for_service(index, icmp_relayed);
	return backend;
}

/* For ICMP to a VIP: its outcome and, where that is a backend, the flow it belongs to. A global
 * function: off the way of all flows. */
__noinline __u32 weir_icmp(struct xdp_md *ctx, const struct packet *p, struct flow *flow)
{
	const struct icmp_header *icmp;

	if (!config.modes || !p || !flow)
		return TO_STACK;
	icmp = header_at(ctx, p->l4, sizeof(*icmp));
	if (!icmp)
		return TO_STACK;
	if (is_echo_request(p, icmp))
		return answer_echo(ctx, p);
	return is_error(p, icmp) ? relay_error(ctx, p, flow) : TO_STACK;
}

#endif
