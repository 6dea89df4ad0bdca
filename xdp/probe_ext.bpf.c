// SPDX-License-Identifier: GPL-2.0
/* What replaces probe_part(). */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("freplace/probe_part")
int probe_replacement(struct xdp_md *ctx)
{
	return ctx ? XDP_PASS : XDP_ABORTED;
}

char _license[] SEC("license") = "GPL";
