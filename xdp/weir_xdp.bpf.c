// SPDX-License-Identifier: GPL-2.0
/*
 * The XDP program. One copy is loaded per device, specialised by `config`: the verifier removes
 * whatever the device's switches leave out.
 */
#include "count.h"
#include "rules.h"

SEC("xdp")
int weir_xdp(struct xdp_md *ctx)
{
	struct decision decision = passed();
	struct frame frame = {};

	parse(&frame, ctx);
	if (config.fields)
		decision = apply_rules(ctx, &frame);
	return count(&frame, decision);
}

char _license[] SEC("license") = "GPL";
