/* SPDX-License-Identifier: GPL-2.0 */
/* The balancer's stage of the pipeline: service, place, forward. */
#ifndef WEIR_BALANCE_H
#define WEIR_BALANCE_H

#include "forward.h"

#define TCP_FLAGS_AT 13
#define TCP_FIN	     0x01
#define TCP_SYN	     0x02
#define TCP_RST	     0x04

static __always_inline __u32 phase_of(struct xdp_md *ctx, const struct packet *p)
{
	const __u8 *flags;

	if (p->proto != IPPROTO_TCP)
		return PHASE_ANY;
	flags = header_at(ctx, p->l4 + TCP_FLAGS_AT, 1);
	if (!flags || !(*flags & (TCP_FIN | TCP_SYN | TCP_RST)))
		return PHASE_ANY;
	return *flags & (TCP_FIN | TCP_RST) ? PHASE_END : PHASE_BEGIN;
}

/* Everything that shows its ports. */
static __always_inline struct decision serve(struct xdp_md *ctx, const struct frame *f,
					     const struct weir_service_head *t, __u32 address)
{
	const struct packet *p = &f->packet;
	__u32 index = find_service(t, address, p->proto, p->dport);
	struct flow flow = {};

	if (!index)
		return passed();
	explain(service, index);
	flow_of(&flow, service_at(t, index), index, p, phase_of(ctx, p));
	return deliver(ctx, f, &flow, place(&flow));
}

static __always_inline struct decision balance(struct xdp_md *ctx, const struct frame *f)
{
	const struct packet *p = &f->packet;
	const struct weir_service_head *t;
	__u32 address;

	if (!p->family)
		return passed();
	t = service_table();
	if (!t)
		return passed();
	address = find_address(t, p->family, p->dest, p->dest_low);
	if (!address)
		return passed();
	if (p->flags != WEIR_P_PORTS)
		return passed();
	return serve(ctx, f, t, address);
}

#endif
