// SPDX-License-Identifier: GPL-2.0
/* What replaces probe_part(): one leaves the packet's data where they are, as probe_part() does,
 * one may move them. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("freplace/probe_part")
int probe_replacement(struct xdp_md *ctx)
{
	return ctx ? XDP_PASS : XDP_ABORTED;
}

SEC("freplace/probe_part")
int probe_mover(struct xdp_md *ctx)
{
	return bpf_xdp_adjust_meta(ctx, 0) ? XDP_ABORTED : XDP_PASS;
}

char _license[] SEC("license") = "GPL";
