// SPDX-License-Identifier: GPL-2.0
/*
 * The XDP program. One copy is loaded per device, specialised by `config`: the verifier removes
 * whatever the device's switches leave out.
 */
#include "balance/balance.h"
#include "balance/common.h"
#include "balance/decap.h"
#include "count.h"
#include "rules.h"

#include <xdp/xdp_helpers.h>

/* A frame of its own on each branch: what nothing looks into is not even stored. */
static __always_inline int count_only(struct xdp_md *ctx)
{
	struct frame frame = {};

	parse(&frame, ctx, DETAILS_NONE);
	return count(frame.class, frame.bytes, passed());
}

static __always_inline int filter(struct xdp_md *ctx, bool redirects)
{
	struct decision decision;
	struct frame frame = {};

	parse(&frame, ctx, DETAILS_ALL);
	decision = apply_rules(ctx, &frame, redirects);
	return count(frame.class, frame.bytes, decision);
}

SEC("xdp")
int weir_xdp(struct xdp_md *ctx)
{
	return config.fields ? filter(ctx, false) : count_only(ctx);
}

/* While rules redirect. A program of its own, because since 6.12 libxdp's dispatcher takes none
 * that may move packet data, as handing over to TC does, even where the verifier would remove
 * it. */
SEC("xdp")
int weir_redirect(struct xdp_md *ctx)
{
	return filter(ctx, true);
}

/* Rules hold for the tunnel and for what is in it: neither may bring in what the other does not. */
static __always_inline int balance_all(struct xdp_md *ctx)
{
	struct decision decision = passed();
	struct frame frame = {};
	bool arrived = false;

	parse(&frame, ctx, DETAILS_ALL);
	if (config.fields)
		decision = apply_rules(ctx, &frame, config.redirects);
	if (config.decap && decision.verdict == WEIR_PASS)
		arrived = decapsulate(ctx, &frame, &decision);
	if (config.fields && arrived)
		decision = apply_rules(ctx, &frame, config.redirects);
	if (config.modes && !arrived && decision.verdict == WEIR_PASS)
		decision = balance(ctx, &frame);
	return count(frame.class, frame.bytes, decision);
}

/* While there are services, or tunnels end here. */
SEC("xdp")
int weir_balance(struct xdp_md *ctx)
{
	int code = config.common && !config.explain ? balance_common(ctx) : UNCOMMON;

	return code == UNCOMMON ? balance_all(ctx) : code;
}

struct {
	__uint(priority, 50);
	__uint(XDP_PASS, 1);
} XDP_RUN_CONFIG(weir_xdp);

struct {
	__uint(priority, 50);
	__uint(XDP_PASS, 1);
} XDP_RUN_CONFIG(weir_redirect);

struct {
	__uint(priority, 50);
	__uint(XDP_PASS, 1);
} XDP_RUN_CONFIG(weir_balance);

char _license[] SEC("license") = "GPL";
