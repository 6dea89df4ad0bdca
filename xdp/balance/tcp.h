/* SPDX-License-Identifier: GPL-2.0 */
/* The flags of a TCP header. */
#ifndef WEIR_TCP_H
#define WEIR_TCP_H

#include "churn.h"

#define TCP_FLAGS_AT 13
#define TCP_FIN	     0x01
#define TCP_SYN	     0x02
#define TCP_RST	     0x04
#define TCP_ACK	     0x10

/* 0 for other protocols. */
static __always_inline __u32 tcp_flags(struct xdp_md *ctx, const struct packet *p)
{
	const __u8 *flags;

	if (p->proto != IPPROTO_TCP)
		return 0;
	flags = header_at(ctx, p->l4 + TCP_FLAGS_AT, 1);
	return flags ? *flags : 0;
}

static __always_inline __u32 phase_by(__u32 flags)
{
	if (!(flags & (TCP_FIN | TCP_SYN | TCP_RST)))
		return PHASE_ANY;
	return flags & (TCP_FIN | TCP_RST) ? PHASE_END : PHASE_BEGIN;
}

static __always_inline __u32 phase_of(struct xdp_md *ctx, const struct packet *p)
{
	return phase_by(tcp_flags(ctx, p));
}

#endif
