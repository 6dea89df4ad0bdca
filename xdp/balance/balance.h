/* SPDX-License-Identifier: GPL-2.0 */
/* The balancer's stage of the pipeline: service, place, forward. */
#ifndef WEIR_BALANCE_H
#define WEIR_BALANCE_H

#include "forward.h"
#include "fragment.h"
#include "icmp.h"
#include "../nat/nat_icmp.h"
#include "../nat/nat_stray.h"

/* What shows no ports. */
static __always_inline __u32 place_others(struct xdp_md *ctx, const struct frame *f, __u32 address,
					  struct flow *flow)
{
	if (address & WEIR_IS_VIP && (f->class == WEIR_ICMP4 || f->class == WEIR_ICMP6))
		return weir_icmp(ctx, &f->packet, flow);
	if (address & WEIR_IS_VIP && is_fragment(f)) {
		if (f->packet.flags & WEIR_P_FIRST)
			flow->phase = phase_of(ctx, &f->packet);
		return weir_fragment(ctx, &f->packet, flow, address);
	}
	return TO_STACK;
}

/* The flow of everything else is where NAT's is not: their stacks need not add up. */
static __always_inline struct decision serve_others(struct xdp_md *ctx, const struct frame *f,
						    const struct weir_service *s, __u32 index,
						    __u32 address)
{
	const struct packet *p = &f->packet;
	struct flow flow = {};
	__u32 outcome;

	if (s) {
		flow_of(&flow, s, index, p, phase_of(ctx, p));
		outcome = place_in(s, &flow);
	} else {
		outcome = place_others(ctx, f, address, &flow);
	}
	if (IS_BACKEND(outcome))
		return deliver(ctx, f, &flow, outcome);
	if (outcome == TO_STACK)
		return passed();
	return outcome == TO_SENDER ? send_back(ctx) : dropped(OUTCOME_REASON(outcome));
}

static __always_inline struct decision serve(struct xdp_md *ctx, const struct frame *f,
					     const struct weir_service_head *t, __u32 address)
{
	const struct packet *p = &f->packet;
	const struct weir_service *s = NULL;
	__u32 index = 0;

	if (p->flags == WEIR_P_PORTS) {
		index = find_service(t, address, p->proto, p->dport);
		if (!index)
			return passed();
		s = service_at(t, index);
		if (MODES_NAT && s->mode == WEIR_NAT)
			return nat_forward(ctx, f, s, index);
	}
	return serve_others(ctx, f, s, index, address);
}

static __always_inline struct decision balance(struct xdp_md *ctx, const struct frame *f)
{
	const struct packet *p = &f->packet;
	const struct weir_service_head *t;
	struct decision d;
	__u32 address;

	if (!p->family)
		return passed();
	t = service_table();
	if (!t)
		return passed();
	address = find_address(t, p->family, p->dest, p->dest_low);
	if (MODES_NAT && address) {
		if (address & WEIR_IS_NAT_SOURCE && nat_reply(ctx, f, &d))
			return d;
		if (p->flags != WEIR_P_PORTS && nat_others(ctx, f, t, address, &d))
			return d;
		if (!(address & WEIR_IS_VIP))
			return nat_stray(ctx, p);
	}
	return address ? serve(ctx, f, t, address) : passed();
}

#endif
