// SPDX-License-Identifier: GPL-2.0
/* Tells the loader the programs' only clock, which user space cannot read. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

__u64 jiffies_now;

SEC("xdp")
int weir_clock(struct xdp_md *ctx __attribute__((unused)))
{
	jiffies_now = bpf_jiffies64();
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
