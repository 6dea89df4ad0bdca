/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Full NAT: the client sees the service, the backend sees an address of this balancer, and both
 * directions pass here.
 */
#ifndef WEIR_NAT_H
#define WEIR_NAT_H

#include "../balance/fragment.h"
#include "nat_begin.h"
#include "nat_rewrite.h"

/*
 * What becomes of a packet, as one number: each direction is a global function, so that the
 * verifier looks at it once and its stack is not always there.
 */
enum {
	NAT_UNKNOWN, /* of no known flow */
	NAT_LEAVE,
	NAT_REFUSE,
	NAT_DROP,
};

#define NAT_RESULT(what, low, high) ((what) | (__u32)(low) << 4 | (__u64)(high) << 32)
#define RESULT_WHAT(result)	    ((__u32)(result)&0xf)
#define RESULT_LOW(result)	    ((__u32)(result) >> 4)
#define RESULT_HIGH(result)	    ((__u32)((result) >> 32))

/* NAT_LEAVE: the device, whether TC transmits, and the flow that a datagram belongs to, plus 1. */
#define NAT_LEAVES(ifindex, via_tc, number) \
	NAT_RESULT(NAT_LEAVE, !!(via_tc) | (number) << 1, ifindex)
#define RESULT_VIA_TC(result) (RESULT_LOW(result) & 1)
#define RESULT_FLOW(result)   (RESULT_LOW(result) >> 1)

static __always_inline __u64 nat_drops(__u32 reason)
{
	return NAT_RESULT(NAT_DROP, reason, 0);
}

static __always_inline struct decision nat_decides(struct xdp_md *ctx, const struct packet *p,
						   __u64 result)
{
	switch (RESULT_WHAT(result)) {
	case NAT_LEAVE: return leave_by(ctx, RESULT_HIGH(result), RESULT_VIA_TC(result));
	case NAT_REFUSE: return refuse(ctx, p, RESULT_LOW(result), RESULT_HIGH(result));
	default: return dropped(RESULT_LOW(result));
	}
}

static __always_inline bool has_nat_ports(const struct packet *p)
{
	return p->flags & WEIR_P_PORTS && (p->proto == IPPROTO_TCP || p->proto == IPPROTO_UDP);
}

/* Whether the packet ends a handshake. */
static __always_inline bool opens(__u64 life, __u64 next, const struct packet *p)
{
	return p->proto == IPPROTO_TCP && WEIR_LIFE_STATE(life) == WEIR_NAT_NEW &&
	       WEIR_LIFE_STATE(next) == WEIR_NAT_OPEN;
}

/* A flow that goes on: writes what the packet makes of it. False: its record may no longer be used.
 * The other direction may have done the same on another CPU, hence twice. */
static __always_inline bool go_on(struct xdp_md *ctx, struct weir_nat_flow *flow, __u32 number,
				  const struct weir_service *s, const struct packet *p, __u32 flags,
				  bool reply)
{
	__u64 life = life_of(flow), who = flow->who, client = flow->client[0], next;
	__u32 now = ticks();

	for (int i = 0; i < 2; i++) {
		if (!is_known(life) || nat_is_over(life, s, now))
			return false;
		next = next_life(life, p->proto, flags, reply, now);
		if (touch_nat(flow, life, next)) {
			if (!reply && (WEIR_LIFE_TICK(life) != now || opens(life, next, p)))
				weir_follow_way(ctx, p, number, opens(life, next, p));
			return true;
		}
		life = life_of(flow);
		if (flow->who != who || flow->client[0] != client)
			return false;
	}
	return false;
}

/* NAT's datagrams in the table of fragments: the target is a flow, and no backend. */
static __always_inline __u64 nat_datagram(struct xdp_md *ctx, const struct packet *p)
{
	__u64 datagram = datagram_of(ctx, p);

	return datagram ? mix_flow(~datagram) | 1 : 0;
}

/* Of a first fragment; else 0. */
static __always_inline __u64 begun_datagram(struct xdp_md *ctx, const struct packet *p)
{
	return p->flags & WEIR_P_FIRST ? nat_datagram(ctx, p) : 0;
}

/* The other fragments of the datagram follow the first one. */
static __always_inline void remember_datagram(__u64 datagram, __u64 result)
{
	if (datagram && RESULT_WHAT(result) == NAT_LEAVE && RESULT_FLOW(result))
		weir_remember_fragment(datagram, RESULT_FLOW(result));
}

/* With the flow, where it is asked for. */
static __always_inline __u64 with_flow(__u64 result, const struct packet *p, __u32 number)
{
	if (!(p->flags & WEIR_P_FIRST) || RESULT_WHAT(result) != NAT_LEAVE ||
	    number + 1 >= WEIR_FRAGMENT_GUESSED)
		return result;
	return NAT_LEAVES(RESULT_HIGH(result), RESULT_VIA_TC(result), number + 1);
}

/* ---- to the backend ---- */

static __always_inline __u32 way_to(struct xdp_md *ctx, const struct weir_backend *b, __u32 index)
{
	return is_fresh(b) ? WAY_READY : weir_next_hop(ctx, index);
}

/* TC cuts what the kernel had put together, so the length of TCP says nothing there. */
static __always_inline bool fits(const struct packet *p, const struct weir_backend *b)
{
	if (config.via_tc && p->proto == IPPROTO_TCP)
		return true;
	return packet_size(p) <= b->mtu;
}

/* Where a packet of a flow goes. */
#define NAT_WAY(backend, port) ((__u64)(port) << 32 | (backend))
#define WAY_BACKEND(way)       ((__u32)(way))
#define WAY_PORT(way)	       ((__u16)((way) >> 32))

static __always_inline __u64 leave_to_backend(struct xdp_md *ctx, const struct weir_backend *b)
{
	if (!write_link(ctx, b))
		return nat_drops(WEIR_BY_NO_ROUTE);
	return NAT_LEAVES(egress_of(b), leaves_by_tc(b), 0);
}

static __always_inline __u64 send_to_backend(struct xdp_md *ctx, const struct frame *f,
					     const struct weir_service *s, __u64 way, __u32 flags)
{
	const struct packet *p = &f->packet;
	__u32 index = WAY_BACKEND(way);
	struct weir_backend *b = bpf_map_lookup_elem(&backends, &index);
	struct translation x;

	explain(backend, index);
	explain(nat_port, bpf_htons(WAY_PORT(way)));
	if (!b)
		return nat_drops(WEIR_BY_NO_BACKEND);
	if (!fits(p, b)) {
		count_for_service(b->service, too_big);
		return NAT_RESULT(NAT_REFUSE, WEIR_BY_TOO_BIG, b->mtu);
	}
	if (!may_go_on(ctx, p))
		return NAT_RESULT(NAT_REFUSE, WEIR_BY_TTL, 0);
	if (way_to(ctx, b, index) != WAY_READY)
		return nat_drops(WEIR_BY_NO_ROUTE);
	count_backend(index, f->bytes, phase_by(flags));
	x.sum = sum_for(ctx, p, leaves_by_tc(b));
	if (x.sum == SUM_UNKNOWN)
		return nat_drops(WEIR_BY_CHECKSUM);
	if (s->mss && flags & TCP_SYN)
		clamp_syn(ctx, p, s->mss, x.sum);
	to_backend(&x, b, p->dport, WAY_PORT(way));
	if (!translate(ctx, p, &x))
		return nat_drops(WEIR_BY_CHECKSUM);
	return leave_to_backend(ctx, b);
}

/* To the backend of its flow; of a flow that has just begun, `begun` says where. */
__noinline __u64 weir_nat_forward(struct xdp_md *ctx, const struct frame *f,
				  const struct weir_service *s, __u32 service, __u64 begun)
{
	struct weir_nat_flow *flow;
	__u32 flags, number = 0;

	if (!MODES_NAT || !f || !s)
		return NAT_UNKNOWN;
	flags = tcp_flags(ctx, &f->packet);
	if (!begun) {
		flow = find_nat_by_client(s, service, &f->packet, &number);
		if (!flow || !goes_on(flow, life_of(flow), flags) ||
		    !go_on(ctx, flow, number, s, &f->packet, flags, false))
			return NAT_UNKNOWN;
		explain(placed, WEIR_PLACED_NAT);
		begun = NAT_WAY(flow->backend, flow->nat_port);
	}
	return with_flow(send_to_backend(ctx, f, s, begun, flags), &f->packet, number);
}

static __always_inline void count_refused(__u32 service, __u32 reason)
{
	if (reason == WEIR_BY_NAT_FULL)
		count_for_service(service, nat_full);
	else if (reason == WEIR_BY_NAT_UNKNOWN)
		count_for_service(service, nat_unknown);
	else
		count_for_service(service, no_backend);
}

/* UDP: TCP's are counted by their SYNs. */
static __always_inline void count_begun(__u32 backend)
{
	struct weir_backend_counters *c = counters_of_backend(backend);

	if (c)
		c->connections++;
}

/* A flow that is not known. The steps are called one after the other and not one by the other, as
 * the stacks of callers add up. Returns enum weir_reason. */
static __always_inline __u32 nat_begin(struct xdp_md *ctx, const struct packet *p, __u32 service,
				       __u64 *way)
{
	__u64 claim = weir_claim_nat(ctx, p, service);
	__u32 reason = CLAIM_REASON(claim), backend = CLAIM_BACKEND(claim), port;
	const struct weir_nat_flow *flow;

	if (reason == CLAIM_KNOWN) {
		flow = nat_flow_at(CLAIM_INDEX(claim));
		if (!flow)
			return WEIR_BY_NAT_UNKNOWN;
		*way = NAT_WAY(flow->backend, flow->nat_port);
		return WEIR_REASONS;
	}
	if (reason != WEIR_REASONS)
		return reason;
	port = weir_choose_port(ctx, CLAIM_INDEX(claim), backend, who_of(service, p),
				claim >> 32 ^ ticks() * 0x9e3779b1u);
	reason = weir_open_nat(ctx, p, CLAIM_INDEX(claim), port);
	if (reason != WEIR_REASONS)
		return reason;
	if (port != p->sport)
		count_for_service(service, port_changed);
	if (p->proto == IPPROTO_UDP)
		count_begun(backend);
	*way = NAT_WAY(backend, port);
	return WEIR_REASONS;
}

/* A packet to a service in mode nat. */
static __always_inline struct decision nat_forward(struct xdp_md *ctx, const struct frame *f,
						   const struct weir_service *s, __u32 service)
{
	const struct packet *p = &f->packet;
	__u64 datagram = begun_datagram(ctx, p);
	__u64 result = weir_nat_forward(ctx, f, s, service, 0), way = 0;
	__u32 reason;

	explain(service, service);
	if (result == NAT_UNKNOWN) {
		reason = nat_begin(ctx, p, service, &way);
		if (reason != WEIR_REASONS) {
			count_refused(service, reason);
			return dropped(reason);
		}
		/* A datagram is remembered with the record, so that must be found. */
		if (p->flags & WEIR_P_FIRST && !config.explain)
			way = 0;
		result = weir_nat_forward(ctx, f, s, service, way);
	}
	remember_datagram(datagram, result);
	return nat_decides(ctx, p, result);
}

/* ---- to the client ---- */

static __always_inline void count_reply(__u32 backend, __u32 bytes)
{
	struct weir_backend_counters *c = counters_of_backend(backend);

	if (c) {
		c->reply_packets++;
		c->reply_bytes += bytes;
	}
}

/* What the device that the reply came by took fits it on the way out as well. 0: it fits. */
static __always_inline __u32 too_small_mtu(struct xdp_md *ctx, const struct packet *p,
					   const struct weir_nat_flow *flow)
{
	__u32 mtu;

	if (flow->ifindex == config.ifindex || (config.via_tc && p->proto == IPPROTO_TCP))
		return 0;
	mtu = packet_size(p);
	return bpf_check_mtu(ctx, flow->ifindex, &mtu, 0, 0) == BPF_MTU_CHK_RET_FRAG_NEEDED ? mtu
											    : 0;
}

static __always_inline __u64 leave_to_client(struct xdp_md *ctx, const struct packet *p,
					     const struct weir_nat_flow *flow)
{
	__u8 *link;

	if (!change_tags(ctx, p, flow))
		return nat_drops(WEIR_BY_NO_ROUTE);
	link = header_at(ctx, 0, ETH_HLEN);
	if (!link)
		return nat_drops(WEIR_BY_NO_ROUTE);
	__builtin_memcpy(link, flow->client_mac, 6);
	__builtin_memcpy(link + 6, flow->own_mac, 6);
	return NAT_LEAVES(flow->ifindex, flow->via_tc, 0);
}

static __always_inline __u64 send_to_client(struct xdp_md *ctx, const struct frame *f,
					    const struct weir_service *s,
					    const struct weir_nat_flow *flow, __u32 flags)
{
	const struct packet *p = &f->packet;
	__u32 mtu = too_small_mtu(ctx, p, flow);
	struct translation x;

	if (mtu) {
		count_for_service(WEIR_WHO_SERVICE(flow->who), too_big);
		return NAT_RESULT(NAT_REFUSE, WEIR_BY_TOO_BIG, mtu);
	}
	if (!may_go_on(ctx, p))
		return NAT_RESULT(NAT_REFUSE, WEIR_BY_TTL, 0);
	count_reply(flow->backend, f->bytes);
	x.sum = sum_for(ctx, p, flow->via_tc);
	if (x.sum == SUM_UNKNOWN)
		return nat_drops(WEIR_BY_CHECKSUM);
	if (s->mss && flags & TCP_SYN)
		clamp_syn(ctx, p, s->mss, x.sum);
	to_client(&x, s, flow);
	if (!translate(ctx, p, &x))
		return nat_drops(WEIR_BY_CHECKSUM);
	return leave_to_client(ctx, p, flow);
}

/* A packet to an address that NAT flows leave from: to the client of its flow. */
__noinline __u64 weir_nat_reply(struct xdp_md *ctx, const struct frame *f)
{
	const struct weir_service_head *t;
	const struct weir_service *s;
	struct weir_nat_flow *flow;
	__u32 flags, number = 0;

	if (!MODES_NAT || !f || !has_nat_ports(&f->packet))
		return NAT_UNKNOWN;
	t = service_table();
	if (!t)
		return NAT_UNKNOWN;
	flow = find_nat_by_reply(t, &f->packet, &number);
	if (!flow)
		return NAT_UNKNOWN;
	flags = tcp_flags(ctx, &f->packet);
	s = service_at(t, WEIR_WHO_SERVICE(flow->who));
	if (!go_on(ctx, flow, number, s, &f->packet, flags, true))
		return NAT_UNKNOWN;
	explain(placed, WEIR_PLACED_NAT);
	explain(reply, 1);
	explain(service, WEIR_WHO_SERVICE(flow->who));
	explain(backend, flow->backend);
	explain(nat_port, bpf_htons(flow->nat_port));
	return with_flow(send_to_client(ctx, f, s, flow, flags), &f->packet, number);
}

/* False: of no flow, so it is this host's own, or a VIP's. */
static __always_inline bool nat_reply(struct xdp_md *ctx, const struct frame *f, struct decision *d)
{
	__u64 datagram = begun_datagram(ctx, &f->packet);
	__u64 result = weir_nat_reply(ctx, f);

	if (result == NAT_UNKNOWN)
		return false;
	remember_datagram(datagram, result);
	*d = nat_decides(ctx, &f->packet, result);
	return true;
}

#endif
