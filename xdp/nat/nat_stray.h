/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What comes to an address that NAT flows leave from and belongs to none: this host's own, be it
 * for its sockets, for what it forwards or masquerades, or for nobody. But a backend's packet of a
 * flow which another balancer with the same address began, and whose client has not sent anything
 * here yet, would get a RST from the stack, which ends the flow. It is dropped: the client's next
 * packet makes the flow known.
 */
#ifndef WEIR_NAT_STRAY_H
#define WEIR_NAT_STRAY_H

#include "nat.h"

#define KEY_BITS 25 /* of the number of backends, and one more */

static __always_inline bool has_nat_backend(const struct weir_service_head *t, __u64 key)
{
	__u64 first = t->nat_backends, count = t->nat_backend_count;

	for (int i = 0; i < KEY_BITS && count; i++) {
		__u64 half = count / 2, at = service_word(t, first + half);

		if (at == key)
			return true;
		if (at < key) {
			first += half + 1;
			count -= half + 1;
		} else {
			count = half;
		}
	}
	return false;
}

/* From the address and port of a backend over TCP. */
static __always_inline bool is_from_nat_backend(const struct packet *p)
{
	const struct weir_service_head *t = service_table();

	return t && (has_nat_backend(
			     t, nat_backend_key(p->source, p->source_low, p->family, p->sport)) ||
		     has_nat_backend(t, nat_backend_key(p->source, p->source_low, p->family, 0)));
}

__noinline int weir_is_stray(struct xdp_md *ctx, const struct packet *p)
{
	struct socket_ends ends;

	if (!MODES_NAT || !p || p->proto != IPPROTO_TCP || p->flags != WEIR_P_PORTS)
		return 0;
	if ((tcp_flags(ctx, p) & (TCP_SYN | TCP_ACK)) == TCP_SYN || !is_from_nat_backend(p))
		return 0;
	ends = (struct socket_ends){
		.source = p->source,
		.source_low = p->source_low,
		.dest = p->dest,
		.dest_low = p->dest_low,
		.sport = p->sport,
		.dport = p->dport,
		.family = p->family,
	};
	return !has_socket(ctx, &ends, true);
}

static __always_inline struct decision nat_stray(struct xdp_md *ctx, const struct packet *p)
{
	return weir_is_stray(ctx, p) ? dropped(WEIR_BY_NAT_UNKNOWN) : passed();
}

#endif
