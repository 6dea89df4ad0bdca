/* SPDX-License-Identifier: GPL-2.0 */
/* Sends a packet to its backend, or back to where it came from. */
#ifndef WEIR_FORWARD_H
#define WEIR_FORWARD_H

#include "../redirect.h"
#include "encap.h"
#include "error.h"
#include "mss.h"
#include "nexthop.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_backend_counters);
} backend_counters SEC(".maps");

/* From ifindex to the same. */
struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP_HASH);
	__uint(max_entries, WEIR_EGRESS_DEVS);
	__type(key, __u32);
	__type(value, __u32);
} egress_devs SEC(".maps");

static __always_inline struct decision sent(void)
{
	return (struct decision){XDP_TX, WEIR_TX, WEIR_REASONS};
}

static __always_inline struct decision leave_by(struct xdp_md *ctx, __u32 ifindex, bool via_tc)
{
	struct decision d;

	explain(egress, ifindex);
	if (config.via_tc || via_tc)
		return hand_to_tc(ctx, ifindex);
	if (ifindex == config.ifindex && !config.no_tx)
		return sent();
	if (bpf_redirect_map(&egress_devs, ifindex, XDP_DROP) != XDP_REDIRECT)
		return dropped(WEIR_BY_REDIRECT);
	d = redirected(XDP_REDIRECT);
	if (ifindex == config.ifindex)
		d.verdict = WEIR_TX;
	return d;
}

/* An answer that was made out of the packet: it goes back with the Ethernet addresses exchanged. */
static __always_inline struct decision send_back(struct xdp_md *ctx)
{
	struct link_header *link = header_at(ctx, 0, sizeof(*link));
	__u8 was[6];

	if (!link)
		return dropped(WEIR_BY_REDIRECT);
	__builtin_memcpy(was, link->dest, 6);
	__builtin_memcpy(link->dest, link->source, 6);
	__builtin_memcpy(link->source, was, 6);
	return leave_by(ctx, config.ifindex, false);
}

/* The packet goes no further for a reason that its sender is told, if he may be told. */
static __always_inline struct decision refuse(struct xdp_md *ctx, const struct packet *p,
					      __u32 reason, __u32 mtu)
{
	struct decision d;

	if (reason != WEIR_BY_TOO_BIG && reason != WEIR_BY_TTL)
		return dropped(reason);
	if (!weir_make_error(ctx, p, reason, mtu))
		return dropped(reason);
	d = send_back(ctx);
	d.reason = reason;
	return d;
}

static __always_inline struct weir_backend_counters *counters_of_backend(__u32 index)
{
	return config.explain ? NULL : bpf_map_lookup_elem(&backend_counters, &index);
}

static __always_inline void count_backend(__u32 index, __u32 bytes, __u32 phase)
{
	struct weir_backend_counters *c = counters_of_backend(index);

	if (!c)
		return;
	c->packets++;
	c->bytes += bytes;
	if (phase != PHASE_ANY) {
		if (phase == PHASE_BEGIN)
			c->connections++;
		else
			c->ended++;
	}
}

static __always_inline bool write_link(struct xdp_md *ctx, const struct weir_backend *b)
{
	const __u64 *way = (const __u64 *)b;
	__u64 *link = (void *)(long)ctx->data;

	if ((void *)link + ETH_HLEN > (void *)(long)ctx->data_end)
		return false;
	/* In words: the compiler, which knows nothing of alignment here, would copy bytes. */
	link[0] = way[0];
	*(__u32 *)&link[1] = *(const __u32 *)&way[1];
	return true;
}

/* Packets of local senders behind veth. UDP without a checksum needs none. */
static __always_inline bool is_summed(struct xdp_md *ctx, const struct packet *p)
{
	const __u16 *sum;

	if (!config.partial_sums || p->flags != WEIR_P_PORTS || weir_finish_checksum(ctx, p))
		return true;
	sum = header_at(ctx, p->l4 + CHECKSUM_AT_UDP, sizeof(*sum));
	return p->proto == IPPROTO_UDP && sum && !*sum;
}

/* DSR: to this backend, as its service's mode says. */
static __always_inline struct decision deliver(struct xdp_md *ctx, const struct frame *f,
					       const struct flow *flow, __u32 index)
{
	const struct packet *p = &f->packet;
	struct weir_backend *b = bpf_map_lookup_elem(&backends, &index);
	__u32 way, reason;
	bool via_tc;

	explain(backend, index);
	if ((flow->phase == PHASE_BEGIN || p->proto == IPPROTO_UDP) && is_martian(p))
		return dropped(WEIR_BY_MARTIAN);
	if (!index || !b || !(b->flags & WEIR_B_ALIVE)) {
		count_for_service(flow->service, no_backend);
		return dropped(WEIR_BY_NO_BACKEND);
	}
	if (!is_fresh(b)) {
		way = weir_next_hop(ctx, index);
		if (way == WAY_NONE)
			return dropped(WEIR_BY_NO_ROUTE);
		count_backend(index, f->bytes, flow->phase);
		if (way == WAY_LOCAL)
			return passed();
	} else {
		count_backend(index, f->bytes, flow->phase);
	}
	/* Behind TC the kernel still knows that a checksum is unfinished, and would spoil a
	 * finished one. */
	via_tc = config.via_tc || leaves_by_tc(b);
	if (!via_tc && !is_summed(ctx, p))
		return dropped(WEIR_BY_CHECKSUM);
	if (flow->mss && flow->phase == PHASE_BEGIN)
		weir_clamp_mss(ctx, p, flow->mss | (via_tc ? MSS_UNFINISHED : 0));
	if (config.modes & 1u << WEIR_DSR_IPIP && b->mode == WEIR_DSR_IPIP) {
		reason = encapsulate(ctx, p, b, flow->hash);
		if (reason != WEIR_REASONS) {
			if (reason == WEIR_BY_TOO_BIG)
				count_for_service(flow->service, too_big);
			return refuse(ctx, p, reason, b->mtu - outer_size(b));
		}
	}
	/* What TC sends may be several segments in one. */
	if (!via_tc && b->mode == WEIR_DSR_L2 && packet_size(p) > b->mtu)
		return refuse(ctx, p, WEIR_BY_TOO_BIG, b->mtu);
	if (!write_link(ctx, b))
		return dropped(WEIR_BY_NO_ROUTE);
	return leave_by(ctx, egress_of(b), via_tc);
}

#endif
