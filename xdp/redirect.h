/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Sends a frame out of another device: by the devmap where the target takes XDP frames, else by
 * handing the frame to weir's TC program on this device, which transmits it as an ordinary packet.
 */
#ifndef WEIR_REDIRECT_H
#define WEIR_REDIRECT_H

#include "checksum.h"
#include "classify.h"

#define WEIR_REDIRECT_PORTS 256

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, WEIR_REDIRECT_PORTS);
	__type(key, __u32);
	__type(value, __u32);
} redirect_ports SEC(".maps");

static __always_inline struct decision redirected(__u32 code)
{
	return (struct decision){code, WEIR_REDIRECT, WEIR_REASONS};
}

static __always_inline struct decision hand_to_tc(struct xdp_md *ctx, __u32 ifindex)
{
	struct weir_meta *meta;

	if (bpf_xdp_adjust_meta(ctx, -(int)sizeof(*meta)))
		return dropped(WEIR_BY_REDIRECT);
	meta = (void *)(long)ctx->data_meta;
	if ((void *)(meta + 1) > (void *)(long)ctx->data)
		return dropped(WEIR_BY_REDIRECT);
	meta->magic = WEIR_META_MAGIC;
	meta->ifindex = ifindex;
	return redirected(XDP_PASS);
}

/* The packet's pointers are not valid afterwards. */
static __always_inline struct decision redirect(struct xdp_md *ctx, const struct packet *p,
						__u8 flags, const struct weir_match *m)
{
	if (flags & WEIR_R_VIA_TC || config.via_tc)
		return hand_to_tc(ctx, m->target_port);
	if (config.partial_sums && !weir_finish_checksum(ctx, p))
		return dropped(WEIR_BY_REDIRECT);
	if (bpf_redirect_map(&redirect_ports, m->target_port >> 32, XDP_DROP) != XDP_REDIRECT)
		return dropped(WEIR_BY_REDIRECT);
	return redirected(XDP_REDIRECT);
}

#endif
