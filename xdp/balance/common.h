/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The common packet: TCP or UDP right behind its IP header, to no VIP, or to a DSR service where the
 * slot is not moving and the backend is ready. It is decided by the steps of balance() and with the
 * same answer, but its fields stay in registers and the address family is a constant. Whatever is
 * found uncommon on the way is left to balance_all(), before anything was changed.
 */
#ifndef WEIR_COMMON_H
#define WEIR_COMMON_H

#include "../count.h"
#include "forward.h"
#include "tcp.h"

#define UNCOMMON -1

struct common {
	struct packet packet;
	__u32 class;
	__u32 bytes;
	__u32 phase;
	bool udp;
};

static __always_inline int deliver_common(struct xdp_md *ctx, const struct common *f, __u64 hash,
					  __u32 index)
{
	struct weir_backend *b = bpf_map_lookup_elem(&backends, &index);
	__u32 reason = WEIR_REASONS;

	if (!b || (b->flags & (WEIR_B_ALIVE | WEIR_B_VIA_TC)) != WEIR_B_ALIVE || !is_fresh(b))
		return UNCOMMON;
	if (config.modes & 1u << WEIR_DSR_IPIP && b->mode == WEIR_DSR_IPIP) {
		reason = encapsulate(ctx, &f->packet, b, hash);
		if (reason == WEIR_BY_TOO_BIG || reason == WEIR_BY_TTL)
			return UNCOMMON;
	} else if (packet_size(&f->packet) > b->mtu) {
		return UNCOMMON;
	}
	count_backend(index, f->bytes, f->phase);
	if (reason != WEIR_REASONS)
		return count_decided(f->class, f->bytes, dropped(reason));
	if (!write_link(ctx, b))
		return count_decided(f->class, f->bytes, dropped(WEIR_BY_NO_ROUTE));
	return count_decided(f->class, f->bytes, leave_by(ctx, b->ifindex, false));
}

static __always_inline int serve_common(struct xdp_md *ctx, const struct weir_service_head *t,
					const struct common *f)
{
	const struct packet *p = &f->packet;
	__u32 address, service, index;
	const struct weir_service *s;
	const __u64 *slot;
	__u64 hash, seen;

	address = find_address(t, p->family, p->dest, p->dest_low);
	if (!address)
		return count_decided(f->class, f->bytes, passed());
	if ((f->phase == PHASE_BEGIN || f->udp) && is_martian(p))
		return UNCOMMON;
	service = find_by_port(t, address, f->udp, p->dport);
	if (!service)
		return UNCOMMON;
	s = service_at(t, service);
	if (f->phase == PHASE_BEGIN && s->mss)
		return UNCOMMON;
	hash = hash_flow(p->source, p->source_low, p->family, ports_of(p->sport, p->dport),
			 s->flags & WEIR_S_BY_SOURCE);
	index = s->slots + slot_of_hash(hash, s->slot_mask);
	slot = bpf_map_lookup_elem(&slots, &index);
	if (!slot)
		return UNCOMMON;
	seen = *(volatile const __u64 *)slot;
	if (!is_settled(seen))
		return UNCOMMON;
	return deliver_common(ctx, f, hash, WEIR_SLOT_OWNER(seen));
}

/* The cursor is at the IP header. */
static __always_inline int balance_ip(struct xdp_md *ctx, const struct weir_service_head *t,
				      struct cursor *c, const __u32 family)
{
	const __u32 tcp = family == 4 ? WEIR_TCP4 : WEIR_TCP6;
	struct common f = {.packet = {.l3 = c->offset}, .bytes = c->length};

	f.class = family == 4 ? parse_ip4(&f.packet, c, DETAILS_COMMON)
			      : parse_ip6(&f.packet, c, ctx, DETAILS_COMMON);
	if (f.class == tcp) {
		if (!has(c, TCP_FLAGS_AT + 1))
			return UNCOMMON;
		f.phase = phase_by(*(__u8 *)(c->at + TCP_FLAGS_AT));
	} else if (f.class == tcp - WEIR_TCP4 + WEIR_UDP4) {
		f.udp = true;
	} else {
		return UNCOMMON;
	}
	return serve_common(ctx, t, &f);
}

/* XDP_*, or UNCOMMON. */
static __always_inline int balance_common(struct xdp_md *ctx)
{
	/* The table is looked up before there is anything to be kept over it in memory. */
	const struct weir_service_head *t = service_table();
	struct cursor c = whole_frame(ctx);
	__be16 proto;

	if (!t)
		return UNCOMMON;
	proto = parse_link(&c, true);
	if (proto == bpf_htons(ETH_P_IP))
		return balance_ip(ctx, t, &c, 4);
	return proto == bpf_htons(ETH_P_IPV6) ? balance_ip(ctx, t, &c, 6) : UNCOMMON;
}

#endif
