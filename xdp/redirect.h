/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Sends a frame out of another device: by the devmap where the target takes XDP frames, else by
 * handing the frame to weir's TC program on this device, which transmits it as an ordinary packet.
 */
#ifndef WEIR_REDIRECT_H
#define WEIR_REDIRECT_H

#include "checksum.h"
#include "classify.h"

#define WEIR_REDIRECT_DEVS 256

/* From ifindex to the same. A hash, because a plain devmap is not shared by programs with and
 * without xdp.frags. */
struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP_HASH);
	__uint(max_entries, WEIR_REDIRECT_DEVS);
	__type(key, __u32);
	__type(value, __u32);
} redirect_devs SEC(".maps");

static __always_inline struct decision redirected(__u32 code)
{
	return (struct decision){code, WEIR_REDIRECT, WEIR_REASONS};
}

static __always_inline struct decision hand_to_tc(struct xdp_md *ctx, __u32 target)
{
	struct weir_meta *meta;

	if (bpf_xdp_adjust_meta(ctx, -(int)sizeof(*meta)))
		return dropped(WEIR_BY_REDIRECT);
	meta = (void *)(long)ctx->data_meta;
	if ((void *)(meta + 1) > (void *)(long)ctx->data)
		return dropped(WEIR_BY_REDIRECT);
	meta->magic = WEIR_META_MAGIC;
	meta->netns = config.netns;
	meta->ifindex = config.ifindex;
	meta->target = target;
	return redirected(XDP_PASS);
}

/* The packet's pointers are not valid afterwards. */
static __always_inline struct decision redirect(struct xdp_md *ctx, const struct packet *p,
						__u8 flags, const struct weir_match *m)
{
	if (flags & WEIR_R_VIA_TC || config.via_tc)
		return hand_to_tc(ctx, m->target);
	if (config.partial_sums && !weir_finish_checksum(ctx, p))
		return hand_to_tc(ctx, m->target);
	if (bpf_redirect_map(&redirect_devs, m->target, XDP_DROP) != XDP_REDIRECT)
		return dropped(WEIR_BY_REDIRECT);
	return redirected(XDP_REDIRECT);
}

#endif
