// SPDX-License-Identifier: GPL-2.0
/* The smallest program that another one can replace a part of: shows whether libxdp's dispatcher
 * can work on this kernel. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

__noinline int probe_part(struct xdp_md *ctx)
{
	volatile int result = XDP_PASS;

	return ctx ? result : XDP_ABORTED;
}

SEC("xdp")
int probe_whole(struct xdp_md *ctx)
{
	return probe_part(ctx);
}

char _license[] SEC("license") = "GPL";
