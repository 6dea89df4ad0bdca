// SPDX-License-Identifier: GPL-2.0
/*
 * The XDP program. One copy is loaded per device, specialised by `config`: the verifier removes
 * whatever the device's switches leave out.
 */
#include "count.h"
#include "rules.h"

/* A frame of its own on each branch: what nothing looks into is not even stored. */
static __always_inline int count_only(struct xdp_md *ctx)
{
	struct frame frame = {};

	parse(&frame, ctx, false);
	return count(frame.class, frame.bytes, passed());
}

static __always_inline int filter(struct xdp_md *ctx)
{
	struct decision decision;
	struct frame frame = {};

	parse(&frame, ctx, true);
	decision = apply_rules(ctx, &frame);
	return count(frame.class, frame.bytes, decision);
}

SEC("xdp")
int weir_xdp(struct xdp_md *ctx)
{
	return config.fields ? filter(ctx) : count_only(ctx);
}

char _license[] SEC("license") = "GPL";
