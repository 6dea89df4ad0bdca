/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What shows no ports of its own and still belongs to a NAT flow: later fragments, whose addresses
 * change, and ICMP errors, where the packet they quote changes as well. They say where they come
 * from by the side they are sent to, as RFC 5508 and the kernel's NAT do: towards the client from
 * the service, towards the backend from this balancer, so that both know the address.
 */
#ifndef WEIR_NAT_ICMP_H
#define WEIR_NAT_ICMP_H

#include "../balance/icmp.h"
#include "nat.h"

/* Which way the packet goes, and by which records. */
struct nat_pass {
	const struct weir_nat_flow *flow;
	const struct weir_service *s;
	struct weir_backend *b;
	__u32 backend;
	bool reply;
};

static __always_inline bool find_pass(struct nat_pass *pass, const struct weir_service_head *t,
				      const struct weir_nat_flow *flow)
{
	__u64 life = life_of(flow);

	pass->flow = flow;
	pass->s = service_at(t, WEIR_WHO_SERVICE(flow->who));
	pass->backend = flow->backend;
	pass->b = bpf_map_lookup_elem(&backends, &pass->backend);
	return pass->b && is_known(life) && !nat_is_over(life, pass->s, ticks());
}

static __always_inline void explain_pass(const struct nat_pass *pass, __u32 placed)
{
	explain(placed, placed);
	explain(reply, pass->reply);
	explain(service, WEIR_WHO_SERVICE(pass->flow->who));
	explain(backend, pass->backend);
	explain(nat_port, bpf_htons(pass->flow->nat_port));
}

static __always_inline void translation_of(struct translation *x, const struct nat_pass *pass)
{
	x->sum = SUM_FINISHED;
	if (pass->reply)
		to_client(x, pass->s, pass->flow);
	else
		to_backend(x, pass->b, WEIR_WHO_ASKED(pass->flow->who), pass->flow->nat_port);
}

static __always_inline __u64 leave_on(struct xdp_md *ctx, const struct packet *p,
				      const struct nat_pass *pass)
{
	return pass->reply ? leave_to_client(ctx, p, pass->flow) : leave_to_backend(ctx, pass->b);
}

/* 0: it may go. */
static __always_inline __u64 may_pass(struct xdp_md *ctx, const struct packet *p,
				      const struct nat_pass *pass)
{
	if (!may_go_on(ctx, p))
		return NAT_RESULT(NAT_REFUSE, WEIR_BY_TTL, 0);
	if (pass->reply)
		return too_small_mtu(ctx, p, pass->flow) ? nat_drops(WEIR_BY_TOO_BIG) : 0;
	if (!(pass->b->flags & WEIR_B_ALIVE))
		return nat_drops(WEIR_BY_NO_BACKEND);
	if (packet_size(p) > pass->b->mtu)
		return nat_drops(WEIR_BY_TOO_BIG);
	return way_to(ctx, pass->b, pass->backend) == WAY_READY ? 0 : nat_drops(WEIR_BY_NO_ROUTE);
}

/* ---- fragments ---- */

static __always_inline bool is_from_client(const struct nat_pass *pass, const struct packet *p)
{
	return pass->flow->client[0] == p->source && pass->flow->client[1] == p->source_low &&
	       be64_at(&pass->s->address[0]) == p->dest &&
	       be64_at(&pass->s->address[2]) == p->dest_low;
}

static __always_inline bool is_from_backend(const struct nat_pass *pass, const struct packet *p)
{
	return be64_at(&pass->b->address[0]) == p->source &&
	       be64_at(&pass->b->address[2]) == p->source_low &&
	       be64_at(&pass->b->source[0]) == p->dest &&
	       be64_at(&pass->b->source[2]) == p->dest_low;
}

/* A later fragment, either way. NAT_UNKNOWN: its first one was none of NAT's, or comes later. */
__noinline __u64 weir_nat_fragment(struct xdp_md *ctx, const struct frame *f)
{
	const struct weir_service_head *t;
	const struct weir_nat_flow *flow;
	struct nat_pass pass = {};
	struct translation x;
	__u32 known;
	__u64 unused, result;

	if (!MODES_NAT || !f)
		return NAT_UNKNOWN;
	t = service_table();
	known = weir_recall_fragment(nat_datagram(ctx, &f->packet));
	if (!t || known == FRAGMENT_UNKNOWN || !known)
		return NAT_UNKNOWN;
	flow = nat_flow_at(known - 1);
	if (!flow || !find_pass(&pass, t, flow))
		return NAT_UNKNOWN;
	pass.reply = is_from_backend(&pass, &f->packet);
	if (!pass.reply && !is_from_client(&pass, &f->packet))
		return NAT_UNKNOWN;
	explain_pass(&pass, WEIR_PLACED_FRAGMENT);
	result = may_pass(ctx, &f->packet, &pass);
	if (result)
		return result;
	if (pass.reply)
		count_reply(pass.backend, f->bytes);
	else
		count_backend(pass.backend, f->bytes, PHASE_ANY);
	translation_of(&x, &pass);
	if (!translate_ip(ctx, &f->packet, &x, &unused))
		return nat_drops(WEIR_BY_FRAGMENT);
	return leave_on(ctx, &f->packet, &pass);
}

/* ---- ICMP errors ---- */

/* The quoted packet went the other way, so its source becomes what is the error's destination. */
static __always_inline bool translate_quoted_ip(struct xdp_md *ctx, const struct packet *r,
						const struct translation *x, __u64 *addresses,
						__u64 *sum)
{
	if (r->family == 4) {
		struct iphdr *ip = header_at(ctx, r->l3, sizeof(*ip));
		__u16 was;

		if (!ip)
			return false;
		was = ip->check;
		*addresses = change_addresses(&ip->saddr, x->dest, x->source, 1);
		ip->check = ~fold((__u16)~was + *addresses);
		*sum = *addresses + (__u16)~was + ip->check;
	} else {
		struct ipv6hdr *ip = header_at(ctx, r->l3, sizeof(*ip));

		if (!ip)
			return false;
		*addresses = change_addresses(ip->saddr.s6_addr32, x->dest, x->source, 4);
		*sum = *addresses;
	}
	return true;
}

/* Says by how much the sum of the ICMP message changes. The quoted checksum may be cut off. */
static __always_inline bool translate_quote(struct xdp_md *ctx, const struct packet *p,
					    const struct packet *r, const struct translation *x,
					    __u64 *sum)
{
	__u32 check_at = r->l4 + (r->proto == IPPROTO_TCP ? CHECKSUM_AT_TCP : CHECKSUM_AT_UDP);
	__u64 addresses, changed;
	struct ports *ports;
	__u16 *check, was;

	if (!translate_quoted_ip(ctx, r, x, &addresses, sum))
		return false;
	ports = header_at(ctx, r->l4, sizeof(*ports));
	if (!ports)
		return false;
	changed = (__u64)(__u16)~ports->source + (__u16)~ports->dest + x->sport + x->dport;
	ports->source = x->dport;
	ports->dest = x->sport;
	*sum += changed;
	check = header_at(ctx, check_at, sizeof(*check));
	if (!check || check_at + sizeof(*check) > p->l4 + p->l4_len)
		return true;
	was = *check;
	change_check(check, r->proto, SUM_FINISHED, addresses, changed);
	*sum += (__u64)(__u16)~was + *check;
	return true;
}

static __always_inline bool translate_error(struct xdp_md *ctx, const struct packet *p,
					    const struct packet *r, const struct translation *x)
{
	struct icmp_header *icmp;
	__u64 addresses, sum;

	if (!translate_quote(ctx, p, r, x, &sum) || !translate_ip(ctx, p, x, &addresses))
		return false;
	icmp = header_at(ctx, p->l4, sizeof(*icmp));
	if (!icmp)
		return false;
	if (p->family == 6)
		sum += addresses;
	icmp->check = ~fold((__u16)~icmp->check + sum);
	return true;
}

/* The flow of the quoted packet, which is read in the other direction. */
static __always_inline struct weir_nat_flow *
quoted_flow(const struct weir_service_head *t, const struct packet *r, __u32 address, bool *reply)
{
	struct weir_nat_flow *flow = NULL;
	const struct weir_service *s;
	__u32 index, unused = 0;

	if (address & WEIR_IS_NAT_SOURCE)
		flow = find_nat_by_reply(t, r, &unused);
	*reply = flow;
	if (flow || !(address & WEIR_IS_VIP))
		return flow;
	index = find_service(t, address, r->proto, r->dport);
	if (!index)
		return NULL;
	s = service_at(t, index);
	return s->mode == WEIR_NAT ? find_nat_by_client(s, index, r, &unused) : NULL;
}

/* An ICMP error about a packet of a flow, either way. NAT_UNKNOWN: it is none. */
__noinline __u64 weir_nat_icmp(struct xdp_md *ctx, const struct frame *f, __u32 address)
{
	const struct weir_service_head *t;
	const struct icmp_header *icmp;
	struct weir_nat_flow *flow;
	struct nat_pass pass = {};
	struct packet r = {};
	struct translation x;
	__u64 result;

	if (!MODES_NAT || !f)
		return NAT_UNKNOWN;
	t = service_table();
	icmp = header_at(ctx, f->packet.l4, sizeof(*icmp));
	if (!t || !icmp || !is_error(&f->packet, icmp) || !is_whole(ctx, &f->packet) ||
	    !read_quote(ctx, &f->packet, &r))
		return NAT_UNKNOWN;
	flow = quoted_flow(t, &r, address, &pass.reply);
	if (!flow || !find_pass(&pass, t, flow))
		return NAT_UNKNOWN;
	explain_pass(&pass, WEIR_PLACED_NAT);
	result = may_pass(ctx, &f->packet, &pass);
	if (result)
		return result;
	count_for_service(WEIR_WHO_SERVICE(flow->who), icmp_relayed);
	translation_of(&x, &pass);
	if (!translate_error(ctx, &f->packet, &r, &x))
		return nat_drops(WEIR_BY_CHECKSUM);
	return leave_on(ctx, &f->packet, &pass);
}

static __always_inline bool is_icmp(const struct frame *f)
{
	return f->class == WEIR_ICMP4 || f->class == WEIR_ICMP6;
}

/* Fragments and ICMP. False: none of NAT's. */
static __always_inline bool nat_others(struct xdp_md *ctx, const struct frame *f,
				       const struct weir_service_head *t, __u32 address,
				       struct decision *d)
{
	const struct packet *p = &f->packet;
	__u64 result = NAT_UNKNOWN;
	const struct weir_service *s;
	__u32 index;

	if (p->flags & WEIR_P_FIRST) {
		index = address & WEIR_IS_VIP ? find_service(t, address, p->proto, p->dport) : 0;
		s = service_at(t, index);
		if (!index || s->mode != WEIR_NAT)
			return false;
		*d = nat_forward(ctx, f, s, index);
		return true;
	}
	if (is_icmp(f))
		result = weir_nat_icmp(ctx, f, address);
	else if (is_fragment(f))
		result = weir_nat_fragment(ctx, f);
	if (result == NAT_UNKNOWN)
		return false;
	*d = nat_decides(ctx, p, result);
	return true;
}

#endif
